"""Recorded calls as the cache would have seen them: what was asked, and what was answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from trimtab.endpoint import Endpoint
from trimtab.errors import RequestRefused
from trimtab.gateway import wire
from trimtab.gateway.attribution import Attribution
from trimtab.gateway.chain import Notes, Request
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.completions import COMPLETIONS
from trimtab.gateway.dialects.embeddings import EMBEDDINGS
from trimtab.gateway.dialects.messages import MESSAGES
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.dialects.responses import RESPONSES
from trimtab.gateway.keys import Key
from trimtab.levers.cache import asking, kept
from trimtab.levers.cache.asking import Asked
from trimtab.levers.cache.kept import Kept
from trimtab.levers.cache.options import Options
from trimtab.trace import CACHE_TAG, Call, EndState, Payload, Trace

_SHADOW = "trimtab.shadow"


class Recorded(NamedTuple):
    """One call. `asked` is in one word why the cache would have passed it by, where it would; `answer` None where its
    answer was not one to keep."""

    call: Call
    asked: Asked | str
    answer: Kept | None

    @property
    def cluster(self) -> str:
        """What depends on one another: a session's calls."""
        return self.call.session or self.call.trace_id


def calls(traces: Iterable[Trace], options: Options, most: int) -> list[Recorded]:
    """The newest `most` calls with recorded bodies, in the order in which they came."""
    pairs = [(call, payload) for trace in traces for call, payload in _whole(trace)]
    pairs.sort(key=lambda pair: pair[0].started_ns)
    return [_recorded(call, payload, options) for call, payload in pairs[-most:]]


def _whole(trace: Trace) -> Iterator[tuple[Call, Payload]]:
    """Calls that a model answered; not what was asked for a comparison, nor what a cache answered."""
    for call in trace.calls:
        payload = trace.payloads.get(call.id)
        if payload is None or payload.response is None or call.end is not EndState.COMPLETE:
            continue
        if _SHADOW not in call.tags and call.tags.get(CACHE_TAG) != "hit":
            yield call, payload


def _recorded(call: Call, payload: Payload, options: Options) -> Recorded:
    dialect = dialect_of(payload.request, payload.response or {})
    try:
        body = msgspec.json.encode(payload.request)
        head = wire.head(body)
        said = msgspec.json.encode(payload.response)
    except (RequestRefused, UnicodeEncodeError, msgspec.MsgspecError):
        return Recorded(call, "shape", None)
    notes = Notes()
    if name := call.tags.get("trimtab.key"):
        notes.key = Key(name=name)
    request = Request(
        body=body,
        head=head,
        headers=(),
        endpoint=Endpoint(name=call.endpoint or "recorded", url="http://recorded/v1"),
        who=_who(call),
        notes=notes,
        dialect=dialect,
    )
    answer = kept.of(dialect, said)
    if answer is not None:
        answer = msgspec.structs.replace(answer, latency_ms=call.duration_ms, stored_s=call.started_ns / 1e9)
    return Recorded(call, asking.of(request, options), answer)


def _who(call: Call) -> Attribution:
    return Attribution(
        trace_id=call.trace_id,
        span_id=call.span_id,
        workflow=call.workflow,
        agent=call.agent,
        session=call.session,
        user=call.user,
        tags={name: held for name, held in call.tags.items() if not name.startswith("trimtab.")},
    )


def dialect_of(request: dict[str, Any], response: dict[str, Any]) -> Dialect:
    """The dialect that a call's bodies are in; it is not recorded."""
    if "messages" in request:
        return MESSAGES if response.get("type") == "message" else CHAT
    if "prompt" in request:
        return COMPLETIONS
    return RESPONSES if response.get("object") == "response" else EMBEDDINGS
