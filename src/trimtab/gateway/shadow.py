"""Shadows: calls of a trial asked a second time of the other Deployment, beside the traffic and never in its way.

A shadow starts when its call has been answered. It is recorded and priced under a tag of its own and charged to no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec

from trimtab.errors import RequestRefused, TrimtabError
from trimtab.gateway import ids, wire
from trimtab.gateway.account import Account
from trimtab.gateway.chain import Call as Chain
from trimtab.gateway.chain import Reply, Request, UpstreamFailed
from trimtab.gateway.chat import Services
from trimtab.gateway.dialects.protocol import Answer
from trimtab.gateway.disclosure import KEYS
from trimtab.gateway.serving import Serving
from trimtab.gateway.stream import Relay
from trimtab.gateway.trial import SHADOW, Answered, Finished, Pair, Trial
from trimtab.trace import CACHE_TAG, EndState

WORKFLOW = "trimtab.shadow"
# One turn of the event loop that takes longer says that there is enough to do without shadows.
_BUSY_S = 0.02
_MOST_CLUSTERS = 100_000
# What a call says that leans on an earlier answer, which only the server that gave it has.
_STATE = re.compile(rb'"previous_response_id"\s*:\s*"')
# Calls whose answers are no answers to compare are not asked again.
_OPERATIONS = frozenset(("chat", "text_completion"))


class Bounds(msgspec.Struct, frozen=True):
    """How much is asked again: the share `sampled` of calls, at most `at_once` at a time and `per_s` a second, and no
    request of more than `body_bytes`. A session is asked about once, or again after `again_s` seconds. With
    `twice` the baseline is asked a second time as well.
    """

    sampled: float = 0.1
    at_once: int = 8
    per_s: float = 10.0
    body_bytes: int = 256 * 1024
    again_s: float = math.inf
    twice: bool = False


class Shadows:
    """Asks again as `bounds` allow; `on_pair` hears of each pair of answers on the event loop, and must not wait.

    What could not be asked is counted in `dropped`, by reason. `tail` is the upstream
    call of shadows: with breakers of its own, so that a failing shadow closes no endpoint to those who are served.
    """

    def __init__(self, services: Services, tail: Chain, bounds: Bounds, on_pair: Callable[[Pair], None]) -> None:
        self.dropped: Counter[str] = Counter()
        self.asked = 0
        self.nanodollars = 0
        self._services = services
        self._tail = tail
        self._bounds = bounds
        self._on_pair = on_pair
        self._tasks: set[asyncio.Task[None]] = set()
        self._clusters: dict[str, float] = {}
        self._tokens = bounds.per_s
        self._refilled = 0.0
        self._closed = False

    def ask(self, trial: Trial, finished: Finished) -> None:
        """Ask the other side of `trial` what `finished` was asked, if it is sampled and there is room."""
        if self._closed or not self._is_sampled(finished):
            return
        reason = self._hindrance(finished)
        if reason:
            self._drop(reason)
            return
        if len(self._clusters) >= _MOST_CLUSTERS:
            self._clusters.clear()
        loop = asyncio.get_running_loop()
        self._clusters[finished.cluster] = loop.time()
        task = loop.create_task(self._run(trial, finished))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Ask nothing more, and break off what is being asked. Inside the event loop."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def _is_sampled(self, finished: Finished) -> bool:
        call = finished.call
        if call.operation not in _OPERATIONS or call.end is EndState.CLIENT_GONE:
            return False
        if not call.endpoint and call.tags.get(CACHE_TAG) != "hit":
            return False
        if not finished.by_candidate and call.end is not EndState.COMPLETE:
            # Without the baseline's answer there is nothing to compare with; one that the candidate lacks is a loss.
            return False
        # The id's last digits are random.
        if int(call.id[-8:], 16) >= self._bounds.sampled * 2**32:
            return False
        asked = self._clusters.get(finished.cluster)
        return asked is None or asyncio.get_running_loop().time() - asked > self._bounds.again_s

    def _hindrance(self, finished: Finished) -> str:
        """Why there is no room; '' where there is."""
        now = asyncio.get_running_loop().time()
        self._tokens = min(max(1.0, self._bounds.per_s), self._tokens + (now - self._refilled) * self._bounds.per_s)
        self._refilled = now
        if len(finished.body) > self._bounds.body_bytes:
            return "large"
        if _STATE.search(finished.body):
            return "state"
        if len(self._tasks) >= self._bounds.at_once:
            return "full"
        if self._tokens < 1:
            return "rate"
        self._tokens -= 1
        return ""

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        self._services.meter.shadow_drops.add((("reason", reason),))

    async def _run(self, trial: Trial, finished: Finished) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(0)
        if loop.time() - began > _BUSY_S:
            self._drop("busy")
            self._clusters.pop(finished.cluster, None)
            return
        served = Answered(finished.call, finished.response)
        other = trial.baseline if finished.by_candidate else trial.candidate
        try:
            answered = await self._answer(trial.id, finished, other)
            again = await self._answer(trial.id, finished, trial.baseline) if self._bounds.twice else None
        except asyncio.CancelledError:
            self._drop("stopped")
            raise
        if finished.by_candidate:
            self._on_pair(Pair(finished, baseline=answered, candidate=served, again=again))
        else:
            self._on_pair(Pair(finished, baseline=served, candidate=answered, again=again))

    async def _answer(self, trial_id: str, finished: Finished, other: Serving) -> Answered:
        """An answer of `other`, recorded and counted."""
        self.asked += 1
        account = self._account(finished, other)
        asking = _Asking(account, finished)
        end = await asking.run(self._request(account, finished, other), other.over(self._tail))
        call = account.call(end)
        tags = {**call.tags, SHADOW: trial_id, f"{SHADOW}_of": finished.call.id}
        call = msgspec.structs.replace(call, tags=tags)
        self._services.recorder.submit(call, account.body, account.response, account.size + len(account.body))
        nanodollars = call.cost_nanodollars or 0
        self.nanodollars += nanodollars
        self._services.meter.shadow_cost.add(amount=nanodollars / 1e9)
        self._services.meter.shadows.add((("end", call.end.value),))
        return Answered(call, account.response)

    def _account(self, finished: Finished, other: Serving) -> Account:
        # The client's keys are for the server that it was meant to reach, and not ours to spend.
        headers = [pair for pair in finished.headers if pair[0] not in KEYS]
        account = Account(self._services.live, headers)
        account.deployment = other.deployment.name
        account.operation = finished.dialect.operation
        account.body, account.head = finished.body, finished.head
        # A trace of its own: what it costs is not the cost of the client's work.
        account.who = msgspec.structs.replace(
            finished.who, trace_id=account.id, span_id=ids.digits(16), parent_id=None, workflow=WORKFLOW, carried=""
        )
        return account

    def _request(self, account: Account, finished: Finished, other: Serving) -> Request | None:
        """None where the other does not serve the model."""
        head, who = finished.head, account.who or finished.who
        endpoint = other.endpoint_for(head.model, finished.who.trace_id, finished.dialect.spoken_by)
        if endpoint is None:
            return None
        return Request(
            body=finished.body,
            head=head,
            headers=account.headers,
            endpoint=endpoint,
            who=who,
            notes=account.notes,
            deployment=other.deployment,
            dialect=finished.dialect,
            query=finished.query,
        )


class _Asking:
    """One shadow call, as a client would see it."""

    def __init__(self, account: Account, finished: Finished) -> None:
        self._account = account
        self._dialect = finished.dialect

    async def run(self, request: Request | None, chain: Chain) -> EndState:
        account = self._account
        end, reply = EndState.REFUSED, None
        try:
            if request is None:
                raise RequestRefused("the model is not served here: add it to the candidate", status=404)
            reply = await chain(request)
            account.status = reply.status
            end = self._plain(reply) if reply.chunks is None else await self._stream(reply.chunks)
        except TrimtabError as error:
            end = error.end if isinstance(error, UpstreamFailed) else EndState.REFUSED
            account.status, account.error = getattr(error, "status", 500), str(error)
        finally:
            account.notes.ended(end)
            account.notes.close()
            chunks = reply.chunks if reply is not None else None
            if chunks is not None and hasattr(chunks, "aclose"):
                with contextlib.suppress(UpstreamFailed):
                    await chunks.aclose()
        return end

    def _plain(self, reply: Reply) -> EndState:
        account, content = self._account, reply.body or b""
        account.size += len(content)
        if answer := self._dialect.answer(content):
            account.answered(answer)
        if reply.status >= 400:
            account.error = wire.error_text(content) or f"status {reply.status}"
            return EndState.UPSTREAM_ERROR
        account.response = content
        return EndState.COMPLETE

    async def _stream(self, chunks: AsyncIterator[bytes]) -> EndState:
        account = self._account
        relay = Relay(self._dialect, account.head or wire.Head())
        try:
            async for data in chunks:
                if account.ttft_ms is None:
                    account.ttft_ms = account.elapsed_ms()
                account.size += len(data)
                relay.feed(data)
                if relay.end is not None:
                    break
            relay.close()
        except UpstreamFailed as error:
            relay.fail(error.end)
            relay.error = str(error)
        read = relay.assembly
        account.response, account.error = read.answer(), relay.error
        account.answered(Answer(read.model, read.finish_reason, read.usage), whole=relay.end is EndState.COMPLETE)
        if relay.end is not EndState.COMPLETE:
            account.estimate()
        return relay.end or EndState.CUT
