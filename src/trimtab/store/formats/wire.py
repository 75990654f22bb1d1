"""Protobuf's wire format, and OTLP's spans in it: bytes in, spans out. Reads the few fields that are asked for.

Field numbers: opentelemetry-proto, trace/v1/trace.proto and common/v1/common.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from trimtab.errors import FormatError
from trimtab.store.formats.reading import Piece
from trimtab.store.formats.spans import Event, Span

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LARGEST = 64 << 20
_DEEPEST = 64
_DOUBLE = struct.Struct("<d")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise FormatError("not protobuf: a number has no end")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place
        shift += 7


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, value) of each field of a message: an int, or bytes for a string or a message of its own."""
    found: list[tuple[int, Any]] = []
    place, end = 0, len(data)
    while place < end:
        # Nearly every key is one byte, and so is nearly every length; the rest goes the long way.
        key = data[place]
        place += 1
        if key >= 0x80:
            key, place = _varint(data, place - 1)
        kind = key & 7
        if kind == _BYTES and place < end and data[place] < 0x80:
            size = data[place]
            place += 1
        elif kind in (_BYTES, _VARINT):
            size, place = _varint(data, place)
            if kind == _VARINT:
                found.append((key >> 3, size))
                continue
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise FormatError(f"not protobuf: no field has the kind {kind}")
        if key < 8 or size > end - place:
            raise FormatError("not protobuf: a field is longer than what holds it")
        held = data[place : place + size]
        place += size
        found.append((key >> 3, held if kind == _BYTES else int.from_bytes(held, "little")))
    return found


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise FormatError("not OTLP: a field is of another kind")
    return value


def _int(value: Any) -> int:
    if not isinstance(value, int):
        raise FormatError("not OTLP: a field is of another kind")
    return value


def _text(value: Any) -> str:
    return (value if type(value) is bytes else _bytes(value)).decode("utf-8", "replace")


def _any(data: bytes, depth: int = 0) -> Any:
    """AnyValue."""
    if depth > _DEEPEST:
        raise FormatError("nested too deeply")
    # Most are a text and nothing else.
    if data[:1] == b"\x0a":
        size, place = _varint(data, 1)
        if place + size == len(data):
            return data[place:].decode("utf-8", "replace")
    held: Any = None
    for number, value in fields(data):
        if number == 1:
            held = _text(value)
        elif number == 2:
            held = bool(value)
        elif number == 3:
            held = _int(value) - (1 << 64) if _int(value) >= 1 << 63 else value
        elif number == 4:
            held = _DOUBLE.unpack(_int(value).to_bytes(8, "little"))[0]
        elif number == 5:
            held = [_any(_bytes(one), depth + 1) for field, one in fields(_bytes(value)) if field == 1]
        elif number == 6:
            held = dict(_pair(_bytes(one), depth + 1) for field, one in fields(_bytes(value)) if field == 1)
        elif number == 7:
            held = _bytes(value).hex()
    return held


def _pair(data: bytes, depth: int = 0) -> tuple[str, Any]:
    """KeyValue."""
    # Nearly all are a short key and then a value, and nothing else.
    if data[:1] == b"\x0a" and len(data) > 2 and data[1] < 0x80 and (end := data[1] + 2) < len(data):
        size, place = _varint(data, end + 1) if data[end] == 0x12 else (0, 0)
        if place and place + size == len(data):
            return data[2:end].decode("utf-8", "replace"), _any(data[place:], depth)
    key: str = ""
    held: Any = None
    for number, value in fields(data):
        if number == 1:
            key = _text(value)
        elif number == 2:
            held = _any(_bytes(value), depth)
    return key, held


def _event(data: bytes) -> Event:
    name, attributes = "", {}
    for number, value in fields(data):
        if number == 2:
            name = _text(value)
        elif number == 3:
            key, held = _pair(_bytes(value))
            attributes[key] = held
    return Event(name, attributes)


_IDS = {1: "trace_id", 2: "span_id", 4: "parent_id"}


def _span(data: bytes, resource: dict[str, Any]) -> Span:
    span = Span(resource=resource)
    for number, value in fields(data):
        if number == 9:
            key, held = _pair(value if type(value) is bytes else _bytes(value))
            span.attributes[key] = held
        elif number == 11:
            span.events.append(_event(_bytes(value)))
        elif number in _IDS:
            setattr(span, _IDS[number], _bytes(value).hex())
        elif number == 5:
            span.name = _text(value)
        elif number == 7:
            span.start_ns = _int(value)
        elif number == 8:
            span.end_ns = _int(value)
        elif number == 15:
            for field, held in fields(_bytes(value)):
                if field == 2:
                    span.message = _text(held)
                elif field == 3:
                    span.failed = held == 2
    return span


def spans_of(resource_spans: bytes) -> list[Span]:
    """The spans of one ResourceSpans message; FormatError where it is none."""
    resource: dict[str, Any] = {}
    scopes: list[bytes] = []
    for number, value in fields(resource_spans):
        if number == 1:
            resource |= dict(_pair(_bytes(one)) for field, one in fields(_bytes(value)) if field == 1)
        elif number == 2:
            scopes.append(_bytes(value))
    return [
        _span(_bytes(one), resource) for scope in scopes for field, one in fields(scope) if field == 2
    ]  # fmt: skip


def begins(head: bytes) -> bool:
    """Whether a file may hold OTLP in protobuf: a resource, or the length of a request and one in it."""
    held = head[4:] if head[:1] == b"\0" else head
    return held[:1] == b"\x0a" and len(held) > 2 and b"\x12" in held


def pieces(file: BinaryIO, position: Any) -> Iterator[Piece]:
    """Each ResourceSpans of the file: of one request after another as they stand, or with each request's length before
    it, in four bytes, as the collector's file exporter writes them. What cannot be read ends the reading."""
    number = 0
    try:
        for text in _messages(file):
            number += 1
            yield Piece(f"resource {number}", number, text, position())
    except FormatError as error:
        yield Piece(f"after resource {number}", number + 1, b"", position(), str(error))


def _messages(file: BinaryIO) -> Iterator[bytes]:
    while head := file.read(1):
        if head == b"\x0a":
            size = _size(file)
            if size > _LARGEST:
                raise FormatError(f"longer than {_LARGEST >> 20} MiB, or not protobuf")
            yield _exactly(file, size)
        else:
            size = int.from_bytes(head + _exactly(file, 3), "big")
            if not 0 < size <= _LARGEST:
                raise FormatError("not OTLP in protobuf")
            for number, value in fields(_exactly(file, size)):
                if number == 1:
                    yield _bytes(value)


def _size(file: BinaryIO) -> int:
    held = b""
    while len(held) < 10:
        held += _exactly(file, 1)
        if held[-1] < 0x80:
            return _varint(held, 0)[0]
    raise FormatError("not protobuf: a number has no end")


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise FormatError("the file is cut off")
    return data
