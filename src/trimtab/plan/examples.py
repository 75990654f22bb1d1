"""The calls that the findings point to, with their texts masked and shortened. Finds nothing itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from trimtab.plan.audit import Audit
from trimtab.plan.findings import (
    Break,
    Edge,
    Figure,
    Flow,
    Lost,
    Mode,
    Outcome,
    RepeatedTool,
    Template,
    UnusedTool,
    Use,
)
from trimtab.plan.worth import Weighed
from trimtab.store.redaction import masked
from trimtab.trace import Call, Payload, Trace

MOST = 24
_REASONS = 6
_LONGEST = 2400
_MESSAGE = 900


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One call to look at, its texts shortened, secrets and structured personal data masked; `shows` says which
    findings point to it."""

    id: str
    workflow: str
    agent: str
    model: str
    input_tokens: int
    output_tokens: int
    nanodollars: int | None
    duration_ms: float
    shows: tuple[str, ...]
    request: str
    answer: str


def chosen(audit: Audit, weighed: Weighed, traces: Iterable[Trace]) -> tuple[Example, ...]:
    """At most MOST calls: each finding's first before any finding's second."""
    reasons: dict[str, dict[str, None]] = defaultdict(dict)
    turns: list[list[str]] = [[] for _ in range(5)]
    for ids, why in _pointers(audit, weighed):
        for turn, call_id in enumerate(ids[:5]):
            reasons[call_id].setdefault(why)
            turns[turn].append(call_id)
    order = list(dict.fromkeys(call_id for turn in turns for call_id in turn))
    held = {
        call.id: (call, trace.payloads.get(call.id)) for trace in traces for call in trace.calls if call.id in reasons
    }
    known = [call_id for call_id in order if call_id in held and held[call_id][1] is not None][:MOST]
    return tuple(_example(*held[call_id], tuple(reasons[call_id])[:_REASONS]) for call_id in known)


def _pointers(audit: Audit, weighed: Weighed) -> Iterator[tuple[tuple[str, ...], str]]:
    """(ids, which finding points to them)."""
    for row in weighed.worths:
        yield row.look, f"{row.lever} for {row.agent or 'the unnamed agent'}"
    for holder in (audit.waste, audit.shape, audit.where):
        yield from _below(holder, "")


def _below(value: object, why: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, tuple):
        for one in value:
            yield from _below(one, why)
    elif isinstance(value, msgspec.Struct):
        name = _name(value)
        if (ids := getattr(value, "look_at", ())) and (said := name or why):
            yield ids, said
        for field in value.__struct_fields__:
            held = getattr(value, field)
            words = field.replace("_", " ")
            yield from _below(held, f"{name}: {words}" if name and isinstance(held, Figure) else name or words)


def _name(value: msgspec.Struct) -> str:
    """What a row that stands for itself is called."""
    match value:
        case Use():
            return f"calls of {value.name or 'no name'}"
        case Template():
            return f"a prompt template of {value.agent or 'the unnamed agent'}"
        case Lost():
            return value.kind
        case Mode():
            return value.name
        case RepeatedTool() | UnusedTool():
            return f"tool {value.tool}"
        case Break():
            return f"prefix broken by {value.cause}"
        case Edge():
            return f"hand-off from {value.source} to {value.target}"
        case Flow() | Outcome():
            return f"workflow {value.workflow or 'without a name'}"
    return ""


def _example(call: Call, payload: Payload | None, shows: tuple[str, ...]) -> Example:
    request: Mapping[str, Any] = payload.request if payload else {}
    response = payload.response if payload else None
    return Example(
        id=call.id,
        workflow=masked(call.workflow),
        agent=masked(call.agent),
        model=call.response_model or call.request_model,
        input_tokens=call.usage.input_tokens,
        output_tokens=call.usage.output_tokens,
        nanodollars=call.cost_nanodollars,
        duration_ms=call.duration_ms,
        shows=shows,
        request=_shortened(masked("\n".join(_said(request))), _LONGEST),
        answer=_shortened(masked("\n".join(_answered(response))), _LONGEST) if response else "",
    )


def _said(request: Mapping[str, Any]) -> Iterator[str]:
    """A line or more a message; a request of another shape as JSON."""
    messages = request.get("messages", request.get("input"))
    if not isinstance(messages, list):
        yield _text(messages if messages is not None else request)
        return
    for message in messages:
        if isinstance(message, Mapping):
            yield _shortened(f"{message.get('role', '?')}: {_message(message)}", _MESSAGE)
        else:
            yield _shortened(_text(message), _MESSAGE)


def _answered(response: Mapping[str, Any]) -> Iterator[str]:
    choices = response.get("choices")
    if not isinstance(choices, list):
        yield _text(response.get("content", response.get("output", response)))
        return
    for choice in choices:
        message = choice.get("message") if isinstance(choice, Mapping) else choice
        yield _message(message) if isinstance(message, Mapping) else _text(message)


def _message(message: Mapping[str, Any]) -> str:
    parts = [_text(message.get("content"))] if message.get("content") else []
    parts += [f"→ {_called(call)}" for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    return "\n".join(parts)


def _called(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    return (
        f"{function.get('name')}({_text(function.get('arguments'))})" if isinstance(function, Mapping) else _text(call)
    )


def _text(value: object) -> str:
    """Text as it is, the texts of a list of parts, and all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in value
    ):
        return "\n".join(part["text"] for part in value)
    return msgspec.json.encode(value).decode()


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]}\n[… {len(text) - most:,} characters …]\n{text[head - most :]}"
