"""Unpacking: answers that come gzipped or deflated although they were asked for as they are. Knows no connections."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterator

_CHUNK = 256 * 1024
_PLAIN = (b"", b"identity")


class PackedWrongly(Exception):
    """Bytes that are not packed as their header says, or in a way that is not read here."""


class Unpacker:
    """Feed it packed bytes; it gives them back unpacked, in pieces of a bounded size.

    `coding` is the value of Content-Encoding (RFC 9110): gzip or deflate, with or without zlib's frame.
    """

    def __init__(self, coding: bytes) -> None:
        coding = coding.strip().lower()
        if coding not in (b"gzip", b"x-gzip", b"deflate"):
            raise PackedWrongly(f"it is packed as '{coding.decode('latin-1')[:40]}', which nobody asked for")
        self._deflate = coding == b"deflate"
        self._bits = zlib.MAX_WBITS if self._deflate else zlib.MAX_WBITS | 16
        self._unpack = zlib.decompressobj(self._bits)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bytes that `data` unpacks to; PackedWrongly where it does not."""
        if not self._begun and data:
            self._begun = True
            if self._deflate and data[0] & 0x0F != 8:
                self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)  # some send it without the frame
        full = False
        while data or full:
            try:
                piece = self._unpack.decompress(data, _CHUNK)
            except zlib.error as error:
                raise PackedWrongly("it cannot be unpacked") from error
            full = len(piece) == _CHUNK
            if piece:
                yield piece
            data = self._unpack.unconsumed_tail
            if self._unpack.eof and (data := self._unpack.unused_data):
                self._unpack = zlib.decompressobj(self._bits)  # gzip may hold several members

    @property
    def unfinished(self) -> bool:
        """Whether more should follow."""
        return self._begun and not self._unpack.eof


class Unpacked:
    """Reads what `read` reads, unpacked; nothing at the end. PackedWrongly where it cannot be, or is not whole."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], coding: bytes) -> None:
        self._read = read
        self._unpacker = Unpacker(coding)
        self._pieces: Iterator[bytes] = iter(())

    async def read(self) -> bytes:
        while not (piece := next(self._pieces, b"")):
            data = await self._read()
            if not data:
                if self._unpacker.unfinished:
                    raise PackedWrongly("it is not packed whole")
                return b""
            self._pieces = self._unpacker.feed(data)
        return piece


def is_packed(coding: bytes) -> bool:
    return coding.strip().lower() not in _PLAIN
