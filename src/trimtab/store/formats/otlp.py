"""OTLP: exported spans, in JSON (opentelemetry-proto's mapping) or protobuf. Knows no names of attributes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats import bodies, spans, wire
from trimtab.store.formats.reading import Format, Reader, Reading
from trimtab.store.formats.spans import Event, Span

_DEEPEST = 64


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: dict[str, Any] | None = None
    kvlist_value: dict[str, Any] | None = None


class _Attribute(msgspec.Struct):
    key: str = ""
    value: _Value | None = None


class _Event(msgspec.Struct):
    name: str = ""
    attributes: list[_Attribute] = []


class _Status(msgspec.Struct):
    code: int | str | None = None
    message: str = ""


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = ""
    name: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Attribute] = []
    events: list[_Event] = []
    status: _Status | None = None


class _Scope(msgspec.Struct):
    spans: list[_Span] = []


class _Resource(msgspec.Struct):
    attributes: list[_Attribute] = []


class _ResourceSpans(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_Scope] = []


class _Request(_ResourceSpans, rename="camel"):
    """A whole request, or one of its resources alone."""

    resource_spans: list[_ResourceSpans] | None = None


_DECODER = msgspec.json.Decoder(_Request)


def _reader(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> Any:
        # A line end is how a resource begins in protobuf.
        if text.lstrip(b" \t\r")[:1] != b"{":
            return spans.calls(wire.spans_of(text), "otlp", reading)
        bodies.utf8(text)
        request = _DECODER.decode(text)
        if request.resource_spans is None and not request.scope_spans:
            raise FormatError('no "resourceSpans": give OTLP as its JSON mapping has it')
        held: Iterable[_ResourceSpans] = [request] if request.resource_spans is None else request.resource_spans
        return [call for one in held for call in spans.calls(_spans(one), "otlp", reading)]

    return read


def _spans(held: _ResourceSpans) -> Iterator[Span]:
    resource = _named(held.resource.attributes) if held.resource else {}
    for scope in held.scope_spans:
        for span in scope.spans:
            status = span.status or _Status()
            yield Span(
                trace_id=span.trace_id,
                span_id=span.span_id,
                parent_id=span.parent_span_id or "",
                name=span.name,
                start_ns=_whole(span.start_time_unix_nano),
                end_ns=_whole(span.end_time_unix_nano),
                failed=status.code in (2, "2", "STATUS_CODE_ERROR"),
                message=status.message,
                attributes=_named(span.attributes),
                events=[Event(event.name, _named(event.attributes)) for event in span.events],
                resource=resource,
            )


def _named(attributes: Iterable[_Attribute]) -> dict[str, Any]:
    return {one.key: _held(one.value) for one in attributes if one.value is not None}


def _held(value: _Value, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise FormatError("nested too deeply")
    if value.string_value is not None:
        return value.string_value
    if value.bool_value is not None:
        return value.bool_value
    if value.int_value is not None:
        return _whole(value.int_value)
    if value.double_value is not None:
        number = float(value.double_value)
        return number if math.isfinite(number) else None
    if value.array_value is not None:
        held = msgspec.convert(value.array_value.get("values") or [], list[_Value])
        return [_held(one, depth + 1) for one in held]
    if value.kvlist_value is not None:
        pairs = msgspec.convert(value.kvlist_value.get("values") or [], list[_Attribute])
        return {one.key: None if one.value is None else _held(one.value, depth + 1) for one in pairs}
    return None


def _whole(held: int | str) -> int:
    try:
        return int(held)
    except ValueError:
        raise FormatError(f"no whole number: '{str(held)[:40]}'") from None


FORMAT = Format("otlp", lambda names: bool(names & {"resourceSpans", "scopeSpans"}), _reader)
