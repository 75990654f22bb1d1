"""Phoenix: its spans as its interface and client give them, nested or as a data frame's columns, in JSON or CSV.

Names: `Span` in phoenix.server.api.routers.v1.spans (20.26) and the columns of `get_spans_dataframe`; the attributes
are OpenInference's, see `formats.spans`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats import bodies, spans
from trimtab.store.formats.drafting import time_ns
from trimtab.store.formats.reading import Format, Reader, Reading
from trimtab.store.formats.spans import Event, Span

_DECODER = msgspec.json.Decoder(dict[str, Any])
_CONTEXT = ("context", "context.span_id")
_MOST = 100_000


def _reader(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> Any:
        bodies.utf8(text)
        return spans.calls([_span(_DECODER.decode(text))], "phoenix", reading)

    return read


def _span(row: Mapping[str, Any]) -> Span:
    """A span, whether `context` and `attributes` are objects or columns with dots in their names."""
    flat = dict(flattened({name: value for name, value in row.items() if name != "events"}))
    attributes = {name.removeprefix("attributes."): value for name, value in flat.items() if name.startswith("attrib")}
    kind = flat.get("span_kind")
    attributes.setdefault("openinference.span.kind", kind if isinstance(kind, str) else "")
    span_id, trace_id = (_text(flat, f"context.{name}") or _text(flat, name) for name in ("span_id", "trace_id"))
    if not span_id or not trace_id:
        raise FormatError("a span without context.span_id and context.trace_id")
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_text(flat, "parent_id"),
        name=_text(flat, "name"),
        start_ns=time_ns(row.get("start_time")) or 0,
        end_ns=time_ns(row.get("end_time")) or 0,
        failed=_text(flat, "status_code") == "ERROR",
        message=_text(flat, "status_message"),
        attributes=attributes,
        events=_events(row.get("events")),
    )


def _events(held: Any) -> list[Event]:
    found = held if isinstance(held, list) else []
    return [
        Event(str(one.get("name") or ""), one["attributes"])
        for one in found
        if isinstance(one, dict) and isinstance(one.get("attributes"), dict)
    ]


def flattened(held: Mapping[str, Any]) -> dict[str, Any]:
    """Every value that is no object by its dotted path; texts that hold an object in JSON are opened too."""
    made: dict[str, Any] = {}
    pending: list[tuple[str, Any]] = list(held.items())
    while pending:
        path, value = pending.pop()
        opened = _opened(path, value)
        if isinstance(opened, dict):
            pending += [(f"{path}.{name}", one) for name, one in opened.items()]
        else:
            made[path] = opened
        if len(made) + len(pending) > _MOST:
            raise FormatError("a span with more attributes than can be")
    return made


# In CSV, and in data frames, these may be texts. Lists of messages are opened where they are read.
_OPENED = ("attributes", "context")


def _opened(path: str, value: Any) -> Any:
    if path in _OPENED and isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return value
    return value


def _text(held: Mapping[str, Any], name: str) -> str:
    value = held.get(name)
    return value if isinstance(value, str) else ""


def _has(names: frozenset[str]) -> bool:
    return "span_kind" in names and bool(names & {"context", "context.span_id", "context.trace_id"})


FORMAT = Format("phoenix", _has, _reader)
