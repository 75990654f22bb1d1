"""Langfuse: observations of calls as its interfaces, tables and exports to storage give them, in JSON or CSV.

Names: `ObservationV2` of langfuse 5.0 (camel case) and the field reference of its export to blob storage (snake case).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats import bodies, conversation
from trimtab.store.formats.drafting import Draft, taken, time_ns
from trimtab.store.formats.reading import Format, Reader, Reading, Taken
from trimtab.store.formats.usage import number_of, raw_usage
from trimtab.trace import json_value

_CALLS = frozenset(("GENERATION", "EMBEDDING"))
_OTHER = "observations that are no calls of a model, passed over"
# What a request may have beside its messages.
_PARAMETERS = frozenset(
    ("temperature", "max_tokens", "max_completion_tokens", "top_p", "seed", "stop", "response_format", "tool_choice")
)
_READ = ("input_cached_tokens", "cache_read_input_tokens", "input_cache_read")
_WRITTEN = ("cache_creation_input_tokens", "input_cache_creation", "input_cache_write")
_REASONED = ("output_reasoning_tokens", "reasoning_tokens", "output_reasoning")


class _Row(msgspec.Struct):
    """An observation with its names in snake case."""

    id: str
    trace_id: str | None = None
    type: str | None = None
    name: str | None = None
    start_time: str | float | None = None
    end_time: str | float | None = None
    completion_start_time: str | float | None = None
    time_to_first_token: float | None = None
    parent_observation_id: str | None = None
    level: str | None = None
    status_message: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    trace_name: str | None = None
    environment: str | None = None
    model: str | None = None
    provided_model_name: str | None = None
    prompt_name: str | None = None
    total_cost: float | None = None
    calculated_total_cost: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    usage_details: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")
    model_parameters: msgspec.Raw = msgspec.Raw(b"null")
    input: msgspec.Raw = msgspec.Raw(b"null")
    output: msgspec.Raw = msgspec.Raw(b"null")
    tool_definitions: msgspec.Raw = msgspec.Raw(b"null")


_FIELDS = [
    (field.name, field.type) if field.required else (field.name, field.type, field.default)
    for field in msgspec.structs.fields(_Row)
]
_CamelRow = cast("type[_Row]", msgspec.defstruct("_CamelRow", _FIELDS, rename="camel"))
_SNAKE, _CAMEL = msgspec.json.Decoder(_Row, strict=False), msgspec.json.Decoder(_CamelRow, strict=False)


def _reader(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> list[Taken]:
        bodies.utf8(text)
        is_camel = b'"traceId"' in text or b'"startTime"' in text
        row = (_CAMEL if is_camel else _SNAKE).decode(text)
        # The table of generations leaves the type away.
        if row.type is not None and row.type.upper() not in _CALLS:
            reading.report.remark(_OTHER)
            return []
        if row.trace_id is None and row.start_time is None:
            raise FormatError("an observation without traceId and startTime")
        return [_taken(row, text, reading)]

    return read


def _taken(row: _Row, text: bytes, reading: Reading) -> Taken:
    started = time_ns(row.start_time)
    first = time_ns(row.completion_start_time)
    ttft = None if row.time_to_first_token is None else row.time_to_first_token * 1000
    if ttft is None and first is not None and started is not None:
        ttft = (first - started) / 1e6
    failed = row.level == "ERROR"
    model = row.model or row.provided_model_name or ""
    more = {name: value for name, value in _object(row.model_parameters).items() if name in _PARAMETERS}
    if isinstance(tools := _value(row.tool_definitions), list) and tools:
        more["tools"] = tools
    draft = Draft(
        source="langfuse",
        text=text,
        id=row.id,
        trace_id=row.trace_id or row.id,
        span_id=row.id,
        parent_id=row.parent_observation_id,
        started_ns=started,
        ended_ns=time_ns(row.end_time),
        ttft_ms=ttft,
        workflow=row.trace_name or "",
        agent=row.prompt_name or row.name or "",
        session=row.session_id or "",
        user=row.user_id or "",
        tags={"environment": row.environment} if row.environment else {},
        operation="embeddings" if (row.type or "").upper() == "EMBEDDING" else "chat",
        request_model=model,
        response_model=model,
        stream=first is not None,
        status=500 if failed else 200,
        error=(row.status_message or "failed") if failed else None,
        raw_usage=_usage(row),
        logged_usd=row.total_cost if row.total_cost is not None else row.calculated_total_cost,
        request=conversation.request_body(_value(row.input), model, more),
        response=conversation.answer_body(_value(row.output), None),
    )
    return taken(bodies.told(draft), reading)


def _usage(row: _Row) -> dict[str, Any] | None:
    """Its details add up: 'input' is what no other kind of input counts, and so is 'output'."""
    held = _object(row.usage_details)
    if number_of(held, "input", "output") is None:
        plain = _object(row.usage)
        asked = number_of(plain, "input", "promptTokens", "prompt_tokens", "inputTokens")
        answered = number_of(plain, "output", "completionTokens", "completion_tokens", "outputTokens")
        if asked is None and answered is None:
            asked, answered = row.prompt_tokens, row.completion_tokens
        return raw_usage(asked, answered)
    for name, value in held.items():
        if isinstance(value, int | float) and value < 0:
            raise FormatError(f"a negative count: {name}")
    return raw_usage(
        _sum(held, "input"),
        _sum(held, "output"),
        read=number_of(held, *_READ),
        written=number_of(held, *_WRITTEN),
        reasoning=number_of(held, *_REASONED),
    )


def _sum(held: Mapping[str, Any], kind: str) -> float:
    others = ("cache_read_input_tokens", "cache_creation_input_tokens") if kind == "input" else ("reasoning_tokens",)
    names = [name for name in held if name == kind or name.startswith(f"{kind}_") or name in others]
    return sum(number_of(held, name) or 0 for name in names)


def _object(raw: msgspec.Raw) -> dict[str, Any]:
    value = _value(raw)
    return value if isinstance(value, dict) else {}


def _value(raw: msgspec.Raw) -> Any:
    """The value, or the one in its text, where that is JSON: exports keep inputs and outputs so."""
    held = bodies.plain(raw)
    return json_value(held)


def _has(names: frozenset[str]) -> bool:
    camel = bool(names & {"traceId", "traceName"}) and "startTime" in names
    snake = "trace_id" in names and "start_time" in names and bool(names & {"usage_details", "total_cost", "type"})
    return (camel or snake) and "span_kind" not in names


FORMAT = Format("langfuse", _has, _reader)
