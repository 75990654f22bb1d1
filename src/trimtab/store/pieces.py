"""Pieces: a log's lines, rows or objects as JSON texts, one at a time. Knows no format of calls."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from trimtab.store.formats.reading import Piece

_CHUNK = 1 << 20
# No honest call is larger; a file without line ends or closing braces must not fill the memory.
_LARGEST = 64 << 20
_BETWEEN = b" \t\r\n,[]\xef\xbb\xbf"

# In JSON text, the next brace that stands in no string. Possessive: what was passed over is never tried again.
_NEXT = re.compile(rb'[^"{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}]*+)*+[{}]', re.DOTALL)

Position = Callable[[], int]


def lines(file: BinaryIO, position: Position) -> Iterator[Piece]:
    """Each line that is not blank."""
    number = 0
    while line := file.readline(_LARGEST + 1):
        number += 1
        if len(line) > _LARGEST:
            while not line.endswith(b"\n") and (line := file.readline(_CHUNK)):
                pass
            yield Piece(f"line {number}", number, b"", position(), f"longer than {_LARGEST >> 20} MiB")
        elif not line.isspace():
            yield Piece(f"line {number}", number, line, position())


def rows(file: BinaryIO, position: Position) -> Iterator[Piece]:
    """Each row of a CSV file, as a JSON object of its cells that are not empty, by the names of the first row."""
    csv.field_size_limit(_LARGEST)
    reader = csv.reader(_texts(file), strict=False)
    names: list[str] = []
    number = 0
    while True:
        number += 1
        where = f"row {number}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield Piece(where, number, b"", position(), f"not a row: {error}")
            continue
        if row is None:
            return
        if not names:
            names = [name.strip() for name in row]
        elif row:
            yield _row(where, number, names, row)._replace(position=position())


def _row(where: str, number: int, names: list[str], row: list[str]) -> Piece:
    if len(row) != len(names):
        return Piece(where, number, b"", 0, f"{len(row)} cells where the first row has {len(names)}")
    try:
        text = msgspec.json.encode({name: cell for name, cell in zip(names, row, strict=True) if cell})
    except UnicodeEncodeError:
        return Piece(where, number, b"", 0, "not UTF-8")
    return Piece(where, number, text, 0)


def _texts(file: BinaryIO) -> Iterator[str]:
    while line := file.readline(_LARGEST + 1):
        yield line.decode("utf-8", "surrogateescape")


def objects(file: BinaryIO, position: Position) -> Iterator[Piece]:
    """The outermost {...} of a JSON array, or of lines, one at a time; what stands between them, commas and brackets
    apart, is a piece of its own, and so is an object that never ends."""
    for number, text in enumerate(_outermost(file), 1):
        error = "" if len(text) <= _LARGEST else f"longer than {_LARGEST >> 20} MiB"
        yield Piece(f"object {number}", number, b"" if error else text, position(), error)


def outermost(text: bytes) -> Iterator[bytes]:
    """The outermost objects that end in `text`, and what stands between them."""
    return _Scan().feed(text)


def _outermost(file: BinaryIO) -> Iterator[bytes]:
    scan = _Scan()
    # The longer what is held, the more is read at once: each byte is looked at a few times at most.
    while chunk := file.read(max(_CHUNK, len(scan.held))):
        yield from scan.feed(chunk)
        if len(scan.held) > _LARGEST:
            break
    if _is_junk(scan.held):
        yield bytes(scan.held)


class _Scan:
    """Where in the text it stands: how deep, and what of the piece begun is read."""

    def __init__(self) -> None:
        self.held = bytearray()
        self._seen = 0  # how much of `held` was looked at
        self._depth = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        self.held += chunk
        text, start, cursor = bytes(self.held), 0, self._seen
        while match := _NEXT.match(text, cursor):
            cursor = match.end()
            if text[cursor - 1] == 0x7B:
                if self._depth == 0:
                    if _is_junk(text[start : cursor - 1]):
                        yield text[start : cursor - 1]
                    start = cursor - 1
                self._depth += 1
            elif self._depth <= 1:
                yield text[start:cursor]
                start, self._depth = cursor, 0
            else:
                self._depth -= 1
        self.held = bytearray(text[start:])
        self._seen = cursor - start


def _is_junk(text: bytes | bytearray) -> bool:
    return bool(text.strip(_BETWEEN))
