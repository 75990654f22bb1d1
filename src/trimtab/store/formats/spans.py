"""Spans: calls of models out of spans, in the words of OpenTelemetry's GenAI conventions and of OpenInference.

Both generations: messages as attributes in parts (`gen_ai.input.messages`), and as events or numbered attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from trimtab.store.formats import conversation
from trimtab.store.formats.drafting import Draft, taken
from trimtab.store.formats.reading import Reading, Taken
from trimtab.store.formats.usage import number_of, raw_usage
from trimtab.trace import EndState

# What else agents and frameworks emit in the same words; it is no call of a model.
_CALLS = frozenset(("chat", "text_completion", "generate_content", "embeddings", "completion", "messages", "responses"))
_KINDS = {"LLM": "chat", "EMBEDDING": "embeddings"}
_OTHER = "spans that are no calls of a model, passed over"
_ENDS = {end.value: end for end in EndState}


class Event(msgspec.Struct):
    name: str
    attributes: dict[str, Any]


class Span(msgspec.Struct):
    """A span as any exporter has it; times in Unix ns, attributes by their dotted names."""

    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    failed: bool = False
    message: str = ""
    attributes: dict[str, Any] = {}
    events: list[Event] = []
    resource: dict[str, Any] = {}


def calls(spans: Iterable[Span], source: str, reading: Reading) -> list[Taken]:
    """The calls among `spans`; an agent that only an enclosing span of the same batch names is its calls' agent."""
    batch = list(spans)
    by_id = {span.span_id: span for span in batch}
    found = []
    for span in batch:
        if operation := _operation(span.attributes):
            found.append(taken(_draft(span, operation, source, _agent(span, by_id)), reading))
        else:
            reading.report.remark(_OTHER)
    return found


def _operation(attributes: Mapping[str, Any]) -> str:
    """The operation of a call of a model; '' where it is none."""
    named = attributes.get("gen_ai.operation.name")
    if isinstance(named, str) and named:
        return named if named in _CALLS else ""
    kind = attributes.get("openinference.span.kind")
    if isinstance(kind, str):
        return _KINDS.get(kind.upper(), "")
    has_model = any(name in attributes for name in ("gen_ai.request.model", "gen_ai.response.model"))
    return "chat" if has_model and "gen_ai.tool.name" not in attributes else ""


def _agent(span: Span, by_id: Mapping[str, Span]) -> str:
    place: Span | None = span
    for _ in range(32):
        if place is None:
            break
        for name in ("gen_ai.agent.name", "agent.name"):
            if held := _text(place.attributes, name):
                return held
        place = by_id.get(place.parent_id)
    return _text(span.attributes, "trimtab.agent_fingerprint")


def _draft(span: Span, operation: str, source: str, agent: str) -> Draft:
    held = span.attributes
    failed = span.failed or bool(held.get("error.type"))
    ttft = number_of(held, "gen_ai.response.time_to_first_chunk", "trimtab.ttft_s")
    request, response, reason = conversation.bodies(held, [(event.name, event.attributes) for event in span.events])
    draft = Draft(
        source=source,
        text=f"{span.trace_id}/{span.span_id}/{span.start_ns}".encode(),
        id=_text(held, "trimtab.call_id") or span.span_id,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id or _text(held, "trimtab.parent") or None,
        started_ns=span.start_ns or None,
        ended_ns=span.end_ns or None,
        ttft_ms=None if ttft is None else ttft * 1000,
        workflow=_text(held, "trimtab.workflow") or _text(span.resource, "service.name"),
        agent=agent,
        session=_first(held, "gen_ai.conversation.id", "session.id"),
        user=_first(held, "user.id", "enduser.id"),
        operation=operation,
        endpoint=_first(held, "trimtab.endpoint", "server.address"),
        request_model=_first(held, "gen_ai.request.model", "llm.request.model_name", "llm.model_name",
                             "embedding.model_name"),
        response_model=_first(held, "gen_ai.response.model", "llm.response.model_name", "llm.model_name"),
        stream=held.get("gen_ai.request.stream") is True or held.get("trimtab.stream") is True,
        end=_ENDS.get(_text(held, "trimtab.end")),
        status=_status(held),
        error=(span.message or _text(held, "error.type") or "failed") if failed else None,
        finish_reason=_reason(held) or reason,
        raw_usage=_usage(held),
        logged_usd=number_of(held, "trimtab.cost_usd", "gen_ai.usage.cost", "llm.cost.total"),
        request=request,
        response=response,
    )  # fmt: skip
    if draft.end is None and draft.error is None and draft.finish_reason == "error":
        draft.end = EndState.CUT
    return draft


# Names of each count, the newer first.
_COUNTS = {
    "asked": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "answered": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
    "read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "trimtab.cache_read_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "written": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "trimtab.cache_write_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "trimtab.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
}
_COUNTED = {name: word for word, names in _COUNTS.items() for name in names}


def _usage(held: Mapping[str, Any]) -> dict[str, Any] | None:
    words = {_COUNTED[name] for name in _COUNTED.keys() & held.keys()}
    counts = {word: number_of(held, *_COUNTS[word]) for word in words}
    return raw_usage(counts.pop("asked", None), counts.pop("answered", None), **counts)


def _status(held: Mapping[str, Any]) -> int:
    status = number_of(held, "http.response.status_code", "error.type")
    return int(status) if status is not None and 100 <= status <= 599 else 200


def _reason(held: Mapping[str, Any]) -> str | None:
    for name in ("gen_ai.response.finish_reasons", "llm.finish_reason", "gen_ai.completion.0.finish_reason"):
        reasons = held.get(name)
        one = reasons[0] if isinstance(reasons, list) and reasons else reasons
        if isinstance(one, str) and one:
            return one
    return None


def _first(held: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = held.get(name)
        if value and isinstance(value, str):
            return value
    return ""


def _text(held: Mapping[str, Any], name: str) -> str:
    value = held.get(name)
    return value if isinstance(value, str) else ""
