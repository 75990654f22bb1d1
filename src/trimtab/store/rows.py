"""A call as a row and back, a body as compressed JSON and back. Knows no files and no connections."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.money import Usage
from trimtab.trace import Call, EncodedPayload, EndState, Payload, Score, json_value, members

COLUMNS = (
    *("id", "trace_id", "span_id", "parent_id", "started_ns", "duration_ms", "end_state"),
    *("workflow", "agent", "session", "user", "tags", "derived", "operation"),
    *("endpoint", "deployment", "request_model", "response_model"),
    *("stream", "status", "finish_reason", "error", "ttft_ms", "overhead_ms"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("usage_estimated", "raw_usage", "cost_nanodollars", "price_table"),
    *("cache_write_1h_tokens", "batch", "priced_as"),
)
SELECT_CALL = ", ".join(f"calls.{column}" for column in COLUMNS)
INSERT_CALL = f"INSERT OR IGNORE INTO calls ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
INSERT_PAYLOAD = "INSERT OR IGNORE INTO payloads (call_id, request, response) VALUES (?, ?, ?)"
INSERT_SCORE = "INSERT OR REPLACE INTO scores (trace_id, name, source, value, given_ns) VALUES (?, ?, ?, ?, ?)"

# Bytes; below it zlib costs more time than it saves room. An object's "{" is never the first byte of a zlib stream.
_WORTH_COMPRESSING = 768
# ISA-L packs three to six times as fast as zlib, in zlib's format.
_compress: Callable[[bytes, int], bytes] | None = None
with contextlib.suppress(ImportError):
    from isal.isal_zlib import compress as _compress
# Up to so many bytes a small window (as a power of two) and little memory find as much as the largest, which the
# system has to clear for each body: that takes longer than packing it.
_WINDOWS = ((4096, 12, 6), (16_384, 13, 7))
# A body deeper than the interpreter's stack, or with half a character in it, is not worth a lost call.
_UNFIT = {"trimtab": "the body was nested too deeply, or no valid Unicode, and is not kept"}


def row_of(call: Call) -> tuple[Any, ...]:
    """The values of `call` in the order of COLUMNS."""
    usage = call.usage
    return (
        *(call.id, call.trace_id, call.span_id, call.parent_id, call.started_ns, call.duration_ms, call.end.value),
        *(call.workflow, call.agent, call.session, call.user, _text(call.tags or None), call.derived, call.operation),
        *(call.endpoint, call.deployment, call.request_model, call.response_model),
        *(call.stream, call.status, call.finish_reason, call.error, call.ttft_ms, call.overhead_ms),
        *(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        *(usage.reasoning_tokens, usage.estimated, _text(call.raw_usage), call.cost_nanodollars, call.price_table),
        *(usage.cache_write_1h_tokens, usage.batch, call.priced_as),
    )


def call_of(row: Sequence[Any]) -> Call:
    """The call of a row selected by SELECT_CALL; further columns are left alone."""
    value = dict(zip(COLUMNS, row, strict=False))
    usage = Usage(
        input_tokens=value.pop("input_tokens"),
        output_tokens=value.pop("output_tokens"),
        cache_read_tokens=value.pop("cache_read_tokens"),
        cache_write_tokens=value.pop("cache_write_tokens"),
        reasoning_tokens=value.pop("reasoning_tokens"),
        estimated=bool(value.pop("usage_estimated")),
        cache_write_1h_tokens=value.pop("cache_write_1h_tokens"),
        batch=bool(value.pop("batch")),
    )
    tags, raw = value.pop("tags"), value.pop("raw_usage")
    return Call(
        end=EndState(value.pop("end_state")),
        tags=msgspec.json.decode(tags) if tags else {},
        raw_usage=msgspec.json.decode(raw) if raw else None,
        derived=bool(value.pop("derived")),
        stream=bool(value.pop("stream")),
        usage=usage,
        **value,
    )


def payload_row(payload: Payload | EncodedPayload) -> tuple[str, bytes, bytes | None]:
    response = None if payload.response is None else _packed(payload.response)
    return payload.call_id, _packed(payload.request), response


def payload_of(call_id: str, request: bytes, response: bytes | None) -> Payload:
    return Payload(call_id, _unpacked(request), None if response is None else _unpacked(response))


def members_of(packed: bytes) -> dict[str, msgspec.Raw]:
    """The members of a body as it lies in the store, with nothing in them decoded."""
    return members(packed if packed[:1] == b"{" else zlib.decompress(packed))


def score_row(trace_id: str, score: Score, given_ns: int) -> tuple[str, str, str, float, int]:
    return trace_id, score.name, score.source, score.value, given_ns


def _text(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _packed(value: Mapping[str, Any]) -> bytes:
    """Compressed JSON; members that are JSON texts are put together as they are."""
    try:
        plain = msgspec.json.encode(value)
    except (RecursionError, UnicodeError, OverflowError):
        plain = msgspec.json.encode(_UNFIT)
    if len(plain) < _WORTH_COMPRESSING:
        return plain
    if _compress is not None:
        return _compress(plain, 0)
    bits, memory = next((held for size, *held in _WINDOWS if len(plain) <= size), (15, 8))
    packer = zlib.compressobj(1, zlib.DEFLATED, bits, memory)
    return packer.compress(plain) + packer.flush()


def _unpacked(blob: bytes) -> dict[str, Any]:
    value = json_value(blob if blob[:1] == b"{" else zlib.decompress(blob))
    return value if isinstance(value, dict) else {"trimtab": "the body is no JSON object"}
