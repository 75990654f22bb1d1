"""Trial: two Deployments side by side in the traffic, sessions split between them. Knows no statistics.

How it goes on is decided elsewhere: each change is a new Trial, put into `Live.trial` by one assignment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from trimtab.gateway.attribution import Attribution
from trimtab.gateway.chain import Reply, Request, UpstreamFailed
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.serving import Serving, share_of
from trimtab.gateway.wire import Head
from trimtab.trace import Call, Payload

# The tags of a call that is the candidate's, and of one that was asked a second time, both with the rollout; and of one
# in which the baseline answered for the candidate.
CANDIDATE, SHADOW, RESCUED = "trimtab.candidate", "trimtab.shadow", "trimtab.rescued"


class Finished(msgspec.Struct, frozen=True):
    """A call of a trial that has its end, with all that is needed to ask it again; `headers` without virtual keys.
    `rescued`: the baseline answered, because the candidate, whose call it was, had failed."""

    call: Call
    body: bytes
    head: Head
    headers: tuple[tuple[bytes, bytes], ...]
    who: Attribution
    dialect: Dialect
    query: str
    response: bytes | dict[str, Any] | None
    by_candidate: bool
    rescued: bool = False

    @property
    def cluster(self) -> str:
        """What depends on one another: the calls of a session, else of a trace."""
        return self.who.session or self.who.trace_id


class Answered(msgspec.Struct, frozen=True):
    """One answer to a call; `response` is the plain body, None where there was none."""

    call: Call
    response: bytes | dict[str, Any] | None


class Pair(msgspec.Struct, frozen=True):
    """One call answered by both; how each ended is in its `call`. `again` is a second answer of the baseline's."""

    asked: Finished
    baseline: Answered
    candidate: Answered
    again: Answered | None = None

    def payload(self, answered: Answered) -> Payload:
        """The bodies, decoded."""
        return Payload(answered.call.id, _decoded(self.asked.body) or {}, _decoded(answered.response))


class Watch(Protocol):
    """Who puts trials into `Live.trial` and takes them out. `start` returns when what is to be served is served."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None: ...

    def close(self) -> None: ...


class Trial(msgspec.Struct, frozen=True):
    """`candidate` serves the `share` of all sessions, `baseline` the others; the same session always the same way.

    It holds only as long as `baseline` is what is served without it. `on_finished` hears of each of its calls on the
    event loop, and must not wait.
    """

    id: str
    baseline: Serving
    candidate: Serving
    share: float
    on_finished: Callable[[Finished], None]

    def serving_for(self, model: str, who: Attribution) -> Serving:
        """Who answers this call. A model that the candidate does not know stays with the baseline."""
        if self.share <= 0 or self.candidate.deployment.endpoint_for(model) is None:
            return self.baseline
        if self.share >= 1 or share_of(f"{self.id} {who.session or who.trace_id}") < self.share:
            return self.candidate
        return self.baseline


def backed(candidate: Serving, baseline: Serving) -> Serving:
    """`candidate` with the `baseline` behind it: what it fails to answer the baseline is asked, until its answer has
    begun. So its failures cost time and no request. What a step of it refuses on purpose stays refused."""

    async def run(request: Request) -> Reply:
        failure: UpstreamFailed | None = None
        reply: Reply | None = None
        try:
            reply = await candidate.chain(request)
        except UpstreamFailed as error:
            failure = error
        if reply is not None and reply.status < 400:
            return reply
        head, who = request.head, request.who
        endpoint = baseline.endpoint_for(head.model, who.trace_id, request.dialect.spoken_by)
        if endpoint is not None:
            turned = msgspec.structs.replace(request, endpoint=endpoint, deployment=baseline.deployment)
            reply = await baseline.chain(turned)
            if reply.status < 400:
                request.notes.marks[RESCUED] = "true"
        if reply is None:
            raise failure or UpstreamFailed("nobody answered: ask again", status=502, code="upstream_unreachable")
        return reply

    return Serving(candidate.deployment, run, candidate.steps)


def _decoded(body: bytes | dict[str, Any] | None) -> dict[str, Any] | None:
    if not isinstance(body, bytes):
        return body
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
