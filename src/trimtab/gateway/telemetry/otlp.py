"""OTLP in JSON (opentelemetry-proto's JSON mapping): a record as a span, and spans as a request to a collector.

Ids are hex digits, 64-bit integers are texts, enums are numbers. Knows no names of the GenAI conventions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import trimtab
from trimtab.gateway.telemetry import content, facts
from trimtab.gateway.telemetry.facts import Place
from trimtab.gateway.telemetry.semconv import Convention
from trimtab.trace import EndState, Record

_CLIENT = 3
_ERROR = 2
_SPAN_ID = re.compile(r"[0-9a-f]{16}")
_MOST_CHARS = 1024
_MOST_INT = 2**63


def span(record: Record, convention: Convention, where: Place, *, bodies: bool = False) -> bytes:
    """One span in JSON; with the prompts and answers of `record` where `bodies` are wanted."""
    call = record.call
    if record.payload is not None:
        record = Record(call, record.payload.decoded())
    told = facts.facts(record, where)
    told["provider"] = convention.provider(where.provider)
    parent = call.parent_id or ""
    if not _SPAN_ID.fullmatch(parent):
        told["parent"], parent = parent, ""
    held = content.content(record.payload) if bodies and record.payload is not None else {}
    end_ns = call.started_ns + max(0, int(call.duration_ms * 1e6))
    made: dict[str, Any] = {
        "traceId": call.trace_id,
        "spanId": call.span_id,
        "name": f"{call.operation} {call.request_model}".strip(),
        "kind": _CLIENT,
        "startTimeUnixNano": str(call.started_ns),
        "endTimeUnixNano": str(end_ns),
    }
    if parent:
        made["parentSpanId"] = parent
    if call.end is not EndState.COMPLETE:
        made["status"] = {"code": _ERROR, "message": (call.error or call.end.value)[:_MOST_CHARS]}
    if convention.content_in == "attributes":
        told |= {word: text.decode() for word, text in held.items()}
    elif held:
        made["events"] = _events(held, convention.provider(where.provider), call.started_ns, end_ns)
    made["attributes"] = attributes(convention.attributes(told))
    return msgspec.json.encode(made)


def _events(held: Mapping[str, bytes], provider: str, start_ns: int, end_ns: int) -> list[dict[str, Any]]:
    """The messages as events, as conventions had it before they became attributes: one for each message."""
    made = []
    for word, at_ns in (("system_instructions", start_ns), ("input_messages", start_ns), ("output_messages", end_ns)):
        for item in msgspec.json.decode(held[word]) if word in held else ():
            name = "choice" if word == "output_messages" else f"{item.get('role', 'system')}.message"
            said = {"gen_ai.system": provider, "gen_ai.event.content": msgspec.json.encode(item).decode()}
            made.append({"name": f"gen_ai.{name}", "timeUnixNano": str(at_ns), "attributes": attributes(said)})
    return made


def attributes(named: Mapping[str, Any]) -> list[dict[str, Any]]:
    """OTLP's list of keys and values."""
    return [{"key": name, "value": _value(held)} for name, held in named.items()]


def _value(held: Any) -> dict[str, Any]:
    if isinstance(held, str):
        return {"stringValue": held}
    if isinstance(held, bool):
        return {"boolValue": held}
    if isinstance(held, int) and -_MOST_INT <= held < _MOST_INT:
        return {"intValue": str(held)}
    if isinstance(held, int | float):
        return {"doubleValue": float(held)}
    if isinstance(held, tuple | list):
        return {"arrayValue": {"values": [_value(item) for item in held]}}
    return {"stringValue": str(held)}


def request(spans: Sequence[bytes], convention: Convention, service: str) -> bytes:
    """The body of one export: `spans` in JSON, all of one resource and one scope."""
    resource = {"attributes": attributes({"service.name": service, "service.version": trimtab.__version__})}
    scope = {"name": "trimtab.gateway", "version": trimtab.__version__}
    schema = msgspec.json.encode(convention.schema_url)
    return b"".join(
        (
            b'{"resourceSpans":[{"resource":',
            msgspec.json.encode(resource),
            b',"scopeSpans":[{"scope":',
            msgspec.json.encode(scope),
            b',"schemaUrl":',
            schema,
            b',"spans":[',
            b",".join(spans),
            b"]}]}]}",
        )
    )


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int | str = 0


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Partial = msgspec.field(default_factory=_Partial)


def rejected(answer: bytes) -> int:
    """How many spans of an accepted export the collector did not take; 0 where it does not say."""
    try:
        count = int(msgspec.json.decode(answer, type=_Answer).partial_success.rejected_spans) if answer else 0
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return 0
    return max(0, count)
