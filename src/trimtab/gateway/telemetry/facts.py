"""Facts: what a record says of one call, in neutral words. `semconv` gives them their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trimtab.endpoint import Endpoint
from trimtab.gateway.telemetry import semconv
from trimtab.trace import Call, EndState, Record

# The attributes of a request that are numbers or short words, by the names that dialects give them.
_NUMBERS = {
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "seed": ("seed",),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "dimensions": ("dimensions",),
}
_WHOLE = frozenset(("max_tokens", "seed", "dimensions"))
_MOST_CHARS = 256
_INFINITE = 1e300


class Place(msgspec.Struct, frozen=True):
    """Where an endpoint is, as far as telemetry tells."""

    provider: str = "openai"
    address: str = ""
    port: int | None = None


def places(endpoints: Iterable[Endpoint]) -> dict[str, Place]:
    """By the endpoints' names."""
    return {endpoint.name: place(endpoint) for endpoint in endpoints}


def place(endpoint: Endpoint) -> Place:
    try:
        split = urlsplit(endpoint.url)
        host, port = split.hostname or "", split.port
    except ValueError:
        host, port, split = "", None, urlsplit("")
    known = {"https": 443, "http": 80}.get(split.scheme)
    return Place(semconv.provider_of(host, endpoint.dialect), host, (port or known) if host else None)


_SETTINGS = frozenset(
    (
        *(name for names in _NUMBERS.values() for name in names),
        *("n", "stop", "stop_sequences", "reasoning_effort", "reasoning", "previous_response_id", "encoding_format"),
        *("response_format", "text", "output_config"),
    )
)


def without_content(record: Record) -> Record:
    """`record` with those parts of its bodies alone that `facts` reads."""
    held = record.payload
    if held is None:
        return record
    asked = {name: value for name, value in held.request.items() if name in _SETTINGS}
    answered = {name: value for name, value in held.response.items() if name == "id"} if held.response else None
    kept = msgspec.structs.replace(held, request=asked, response=answered)
    return Record(record.call, kept.decoded())


def error_of(call: Call) -> str:
    """A word of few for how a call failed: a status or an end; '' where it did not."""
    if call.end is EndState.COMPLETE:
        return ""
    return str(call.status) if call.status >= 400 else call.end.value


def facts(record: Record, where: Place) -> dict[str, Any]:
    """All that is told of a call whether or not content is: no word of a prompt or an answer is among it."""
    call = record.call
    error = error_of(call)
    usage = call.usage
    told: dict[str, Any] = {
        "operation": call.operation,
        "provider": where.provider,
        "request_model": call.request_model,
        "response_model": call.response_model,
        "server_address": where.address,
        "server_port": where.port,
        "finish_reasons": _finish_reasons(call),
        "error": error,
        "session": call.session,
        "agent": "" if call.derived else call.agent,
        "agent_fingerprint": call.agent if call.derived else "",
        "user": call.user,
        "workflow": call.workflow,
        "stream": call.stream or None,
        "ttft_s": call.ttft_ms / 1e3 if call.ttft_ms is not None else None,
        "call_id": call.id,
        "end": call.end.value,
        "endpoint": call.endpoint,
        "deployment": call.deployment,
        "overhead_ms": call.overhead_ms,
        "cost_usd": call.cost_nanodollars / 1e9 if call.cost_nanodollars is not None else None,
        "price_table": call.price_table,
    }
    if usage.input_tokens or usage.output_tokens:
        told |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        parts = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "estimated")
        told |= {part: getattr(usage, part) or None for part in parts}
    told |= {f"tag.{name}": held for name, held in call.tags.items()}
    if record.payload is not None:
        bodies = record.payload.decoded()
        told |= _asked(bodies.request)
        told["response_id"] = _word((bodies.response or {}).get("id"))
    return told


def _finish_reasons(call: Call) -> tuple[str, ...]:
    """A stream that broke off gave no reason: its reason is `error`."""
    if call.finish_reason:
        return (call.finish_reason,)
    broken = (EndState.CUT, EndState.STALLED, EndState.UPSTREAM_ERROR, EndState.CLIENT_GONE)
    return ("error",) if call.stream and call.ttft_ms is not None and call.end in broken else ()


def _asked(request: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a request in any dialect."""
    told: dict[str, Any] = {}
    for word, names in _NUMBERS.items():
        held = next((request[name] for name in names if request.get(name) is not None), None)
        if isinstance(held, int | float) and not isinstance(held, bool) and abs(held) < _INFINITE:
            told[word] = int(held) if word in _WHOLE else float(held)
    count = request.get("n")
    if isinstance(count, int) and count != 1:
        told["choices"] = int(count)
    stop = request.get("stop") or request.get("stop_sequences")
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    told["stop"] = tuple(text[:_MOST_CHARS] for text in stops[:16] if isinstance(text, str))
    told["reasoning_level"] = _word(
        request.get("reasoning_effort")
        or _member(request, "reasoning", "effort")
        or _member(request, "output_config", "effort")
    )
    told["previous_response"] = _word(request.get("previous_response_id"))
    told["output_type"] = _output_type(request)
    if encoding := _word(request.get("encoding_format")):
        told["encoding_formats"] = (encoding,)
    return told


def _output_type(request: Mapping[str, Any]) -> str:
    """`json` or `text`, where the client asked for one of them."""
    form = (
        request.get("response_format")
        or _member(request, "text", "format")
        or _member(request, "output_config", "format")
    )
    kind = form.get("type") if isinstance(form, dict) else None
    return {"json_object": "json", "json_schema": "json", "text": "text"}.get(kind, "") if isinstance(kind, str) else ""


def _member(request: Mapping[str, Any], outer: str, inner: str) -> Any:
    held = request.get(outer)
    return held.get(inner) if isinstance(held, dict) else None


def _word(held: Any) -> str:
    return held[:_MOST_CHARS] if isinstance(held, str) else ""
