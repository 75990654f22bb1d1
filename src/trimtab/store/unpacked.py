"""Unpacked: a file's bytes as they are read, whether it lies there plain, gzipped, in zstd or in UTF-16."""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from trimtab.errors import MissingExtra

_CHUNK = 1 << 20
_PART = 4096
# So much at least stands ready when the reading begins, for who must tell what it is.
_HEAD = 1 << 16
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_UTF8_MARK = codecs.BOM_UTF8
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class _Damaged(Exception):
    """Bytes that are not packed as their beginning says."""


class Unpacked(io.RawIOBase):
    """The unpacked bytes of `file`, whatever it is packed in; `packed` is how many of its own bytes were read.

    It never raises for what the bytes hold: where they end too early or are damaged, it ends, and `damage` says why.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.packed = 0
        self.damage = ""
        head = self._take(4)
        self._decode: Callable[[bytes], bytes] | None = None
        self._unpack: _Gzip | _Zstd | None = None
        if head.startswith(_GZIP):
            self._unpack = _Gzip()
        elif head.startswith(_ZSTD):
            self._unpack = _Zstd()
        self._held = b""
        self._ended = False
        self._pending = head
        self._begin()

    def _begin(self) -> None:
        """Take a head's worth of unpacked bytes, and look at the first for a mark of their encoding."""
        while len(self._held) < _HEAD and not self._ended:
            held, self._held = self._held, b""
            self._fill()
            self._held = held + self._held
        if self._held.startswith(_UTF8_MARK):
            self._held = self._held[len(_UTF8_MARK) :]
        elif encoding := _UTF16.get(self._held[:2]):
            decoder = codecs.getincrementaldecoder(encoding)("replace")
            self._decode = lambda data: decoder.decode(data).encode("utf-8", "replace")
            self._held = self._decode(self._held[2:])

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        self.packed += len(data)
        return data

    def _fill(self) -> None:
        """More unpacked bytes into `_held`, at most a few chunks; or the end."""
        while not self._held and not self._ended:
            if self._unpack is not None and (more := self._unpacked(b"")):
                self._held = more
                break
            data, self._pending = self._pending or self._take(_CHUNK), b""
            if not data:
                self._ended = True
                if self._unpack is not None and self._unpack.unfinished and not self.damage:
                    self.damage = "the file is cut off: what it is packed in has no end"
            self._held = data if self._unpack is None else self._unpacked(data)
        if self._decode is not None and self._held:
            self._held = self._decode(self._held)

    def _unpacked(self, data: bytes) -> bytes:
        assert self._unpack is not None
        try:
            return self._unpack.feed(data)
        except _Damaged as error:
            self._ended = True
            self.damage = f"the file is damaged where it is packed: {error}"
            return b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held and not self._ended:
            self._fill()
        piece = self._held[: len(buffer)]
        self._held = self._held[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Parts:
    """Packed bytes in small parts: of a damaged one everything is lost, of those before it nothing."""

    def __init__(self) -> None:
        self._view = memoryview(b"")
        self.held = b""

    def add(self, data: bytes) -> None:
        self._view = memoryview(bytes(self._view) + data) if self._view else memoryview(data)

    def more(self) -> bool:
        """Whether `held` has bytes, the next part's if need be."""
        if not self.held:
            self.held, self._view = bytes(self._view[:_PART]), self._view[_PART:]
        return bool(self.held)


class _Gzip:
    """Members of gzip, one after another; zeros behind the last, which fill up a tape, are left alone."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._parts = _Parts()

    def feed(self, data: bytes) -> bytes:
        """At most a chunk; b'' where it needs more."""
        parts = self._parts
        parts.add(data)
        piece = b""
        while not piece and parts.more():
            if self._unpack.eof:
                parts.held = parts.held.lstrip(b"\0")
                if not parts.held:
                    continue
                self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                piece = self._unpack.decompress(parts.held, _CHUNK)
            except zlib.error as error:
                raise _Damaged(error) from error
            parts.held = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
        return piece

    @property
    def unfinished(self) -> bool:
        return not self._unpack.eof


class _Zstd:
    """Frames of zstd, one after another."""

    def __init__(self) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtra("logs", "zstandard") from error
        self._error = zstandard.ZstdError
        self._open = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj
        self._unpack: Any = self._open()
        self._parts = _Parts()

    def feed(self, data: bytes) -> bytes:
        """What one part holds; b'' where it needs more."""
        parts = self._parts
        parts.add(data)
        piece = b""
        while not piece and parts.more():
            if self._unpack.eof:
                self._unpack = self._open()
            try:
                piece = self._unpack.decompress(parts.held)
            except self._error as error:
                raise _Damaged(error) from error
            parts.held = self._unpack.unused_data if self._unpack.eof else b""
        return piece

    @property
    def unfinished(self) -> bool:
        return not self._unpack.eof


def opened(path: Path) -> tuple[Unpacked, io.BufferedReader]:
    """The unpacked bytes of `path` and a buffered reader of them. OSError where it cannot be opened."""
    raw = Unpacked(path.open("rb", buffering=0))
    return raw, io.BufferedReader(raw, _CHUNK)
