"""Failover: which endpoint is asked, how often, and for how long, until one has begun to answer.

The last link of the chain, round single attempts. Knows no sockets and no steps.
"""

from __future__ import annotations

import asyncio
import email.utils
import enum
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from urllib.parse import urlsplit

import msgspec

from trimtab.deployment import BreakerPolicy, RetryPolicy
from trimtab.endpoint import Endpoint
from trimtab.gateway.breaker import Breaker, Breakers, State, Ticket
from trimtab.gateway.chain import Call, NotSpoken, Reply, Request, UpstreamFailed
from trimtab.gateway.disclosure import KEYS
from trimtab.gateway.metrics import Gauge, Labels, Meter
from trimtab.trace import EndState

_RETRY = RetryPolicy()
_BREAKER = BreakerPolicy()
# Failures after which the same endpoint may well answer at once. A timeout is none: its wait was long enough.
_PASSING = frozenset(("upstream_unreachable", "upstream_cut", "stream_cut"))
_BUSY = frozenset((408, 425, 429))
_MAX_DOUBLINGS = 30

Outcome = Reply | UpstreamFailed


class Move(enum.Enum):
    """What follows an attempt."""

    DONE = enum.auto()
    AGAIN = enum.auto()
    NEXT = enum.auto()


class Turn(msgspec.Struct, frozen=True):
    """One endpoint's turn: `tries` at most; `more` says whether others wait behind it.

    `begun` is the leave for its first try, or what came of that.
    """

    request: Request
    breaker: Breaker
    begun: Ticket | Outcome
    tries: int
    more: bool


def judged(outcome: Outcome, endpoint: Endpoint, more: bool) -> Move:
    """What to do after `outcome`. A refusal that is the client's own doing ends it, on any server it would be the same.

    What the endpoint's own key or name is refused for (401 to 404) is tried elsewhere; so is a rate limit, if there
    is an elsewhere.
    """
    if isinstance(outcome, NotSpoken):
        return Move.DONE
    if isinstance(outcome, UpstreamFailed):
        return Move.AGAIN if outcome.code in _PASSING else Move.DONE if outcome.code == "not_ready" else Move.NEXT
    status = outcome.status
    if status in _BUSY or (status >= 500 and status != 501):
        return Move.NEXT if more and status in _BUSY else Move.AGAIN
    if status in (402, 404, 501) or (status in (401, 403) and endpoint.key_env):
        return Move.NEXT
    return Move.DONE


def retry_after(outcome: Outcome, now: float) -> float | None:
    """Seconds that the server asked to wait, in either of HTTP's forms or in `retry-after-ms`; None where it did not.

    `now` is Unix time, for the form that is a date.
    """
    headers = dict(outcome.headers) if isinstance(outcome, Reply) else {}
    for name, unit in ((b"retry-after-ms", 1e-3), (b"retry-after", 1.0)):
        text = headers.get(name, b"").decode("latin-1").strip()
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get(b"retry-after", b"").decode("latin-1"))
        when = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    return max(0.0, when - now)


def wait_s(policy: RetryPolicy, tried: int, asked_s: float | None, chance: float) -> float | None:
    """Seconds to wait after try number `tried`; None where the server asks for longer than is waited.

    Full jitter (Brooker, AWS Architecture Blog, 2015): `chance`, uniform in [0, 1), of a bound that doubles with each
    try; on top of what the server asked for.
    """
    bound = min(policy.max_wait_s, policy.wait_s * 2.0 ** min(tried - 1, _MAX_DOUBLINGS))
    if asked_s is not None and asked_s > policy.max_wait_s:
        return None
    return (asked_s or 0.0) + chance * bound


class Failover:
    """Sends a request to its endpoint, again or to the next one, under one deadline for all of it.

    An endpoint whose breaker is open is asked after all others and once only, but it is asked: so the breaker itself
    refuses nothing, and a model with a single endpoint is always tried. When all fail, the client gets the failure of
    the endpoint that it asked for.
    """

    def __init__(
        self,
        attempt: Call,
        meter: Meter,
        breakers: Breakers | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.breakers = breakers or Breakers()
        self._attempt = attempt
        self._meter = meter
        self._chance = chance
        text = "1 for the state that an endpoint's breaker is in."
        meter.gauges.append(Gauge("trimtab_breaker_state", text, self._states))

    async def send(self, request: Request) -> Reply:
        """The first answer that a client can use; else the first choice's failure, as Reply or UpstreamFailed."""
        deployment = request.deployment
        policy, rules = (deployment.retry, deployment.breaker) if deployment else (_RETRY, _BREAKER)
        until = time.monotonic() + policy.deadline_s
        breaker = self.breakers.of(request.endpoint, rules)
        ticket = breaker.enter()
        outcome = None if ticket is None else await self._try(request, ticket, until)
        if isinstance(outcome, Reply) and outcome.status < 400:
            return outcome
        outcome = await self._go_on(request, self._turns(request, breaker, outcome), until)
        if isinstance(outcome, UpstreamFailed):
            raise outcome
        return outcome

    async def _go_on(self, request: Request, turns: Iterator[Turn], until: float) -> Outcome:
        """Take the turns until one answers, or until the first choice refuses what would be refused anywhere."""
        first, notes = request.endpoint, request.notes
        failed: dict[str, Outcome] = {}
        for turn in turns:
            name = turn.request.endpoint.name
            move, outcome = await self._stay(turn, until)
            if isinstance(outcome, Reply) and outcome.status < 400:
                notes.fallback = name != first.name
                if notes.fallback:
                    self._meter.fallbacks.add((("endpoint", first.name), ("by", name)))
                return outcome
            failed[name] = outcome
            if (move is Move.DONE and name == first.name) or time.monotonic() >= until:
                break
        if first.name not in failed:
            return failed[next(reversed(failed))]
        notes.endpoint = first
        return failed[first.name]

    def _turns(self, request: Request, breaker: Breaker, begun: Outcome | None) -> Iterator[Turn]:
        """The first choice, if it has `begun`, then the fallbacks in order; whose breaker is open, after the others."""
        deployment = request.deployment
        policy, rules = (deployment.retry, deployment.breaker) if deployment else (_RETRY, _BREAKER)
        others = deployment.fallbacks_for(request.head.model, request.endpoint) if deployment else ()
        resting: list[tuple[Request, Breaker]] = []
        if begun is None:
            resting.append((request, breaker))
        else:
            yield Turn(request, breaker, begun, policy.attempts, more=bool(others))
        for place, endpoint in enumerate(others, 1):
            asked, its = _redirected(request, endpoint), self.breakers.of(endpoint, rules)
            ticket = its.enter()
            if ticket is None:
                resting.append((asked, its))
            else:
                yield Turn(asked, its, ticket, policy.attempts, more=place < len(others) or bool(resting))
        for place, (asked, its) in enumerate(resting, 1):
            yield Turn(asked, its, its.enter() or its.force(), 1, more=place < len(resting))

    async def _stay(self, turn: Turn, until: float) -> tuple[Move, Outcome]:
        """Try one endpoint until it answers, until it is of no use to try it again, or until its tries are spent."""
        request = turn.request
        policy = request.deployment.retry if request.deployment else _RETRY
        outcome = turn.begun if not isinstance(turn.begun, Ticket) else await self._try(request, turn.begun, until)
        for tried in itertools.count(1):
            move = judged(outcome, request.endpoint, turn.more)
            if move is not Move.AGAIN or tried >= turn.tries:
                break
            wait = wait_s(policy, tried, retry_after(outcome, time.time()), self._chance())
            if wait is None or time.monotonic() + wait >= until:
                break
            await asyncio.sleep(wait)
            request.notes.upstream_s += wait
            ticket = turn.breaker.enter()
            if ticket is None:
                break
            self._meter.retries.add((("endpoint", request.endpoint.name), ("after", _word(outcome))))
            outcome = await self._try(request, ticket, until)
        return move, outcome

    async def _try(self, request: Request, ticket: Ticket, until: float) -> Outcome:
        """One attempt; its ticket is settled, save that of a stream, whose end is still to come."""
        endpoint, notes = request.endpoint, request.notes
        outcome: Outcome
        try:
            left = until - time.monotonic()
            if left > max(endpoint.timeout_s, endpoint.first_token_s):
                outcome = await self._attempt(request)
            else:
                async with asyncio.timeout(left):
                    outcome = await self._attempt(request)
        except UpstreamFailed as error:
            outcome = error
        except TimeoutError:
            message = f"endpoint '{endpoint.name}' had no answer before the request's deadline: raise retry.deadline_s"
            outcome = UpstreamFailed(message, status=504, code="deadline_exceeded")
        except BaseException:
            ticket.settle(None)
            raise
        if isinstance(outcome, Reply) and outcome.chunks is not None and not ticket.probe:
            notes.on_end = _settling(ticket)
        elif isinstance(outcome, NotSpoken):
            ticket.settle(None)  # it was not asked
        elif notes.attempts and isinstance(outcome, UpstreamFailed) and outcome.code == "deadline_exceeded":
            ticket.settle(None)  # others had used up its time
        else:
            ticket.settle(isinstance(outcome, Reply) and outcome.status < 500)
        notes.attempts.append(f"{endpoint.name}:{_word(outcome)}")
        return outcome

    def _states(self) -> dict[Labels, float]:
        return {
            (("endpoint", name), ("state", state.value)): float(state is now)
            for name, now in self.breakers.states().items()
            for state in State
        }


def _settling(ticket: Ticket) -> Callable[[EndState], None]:
    """Tells `ticket` how its stream ended: not the endpoint's doing where the client left or a step refused."""
    health = {EndState.COMPLETE: True, EndState.CLIENT_GONE: None, EndState.REFUSED: None}
    return lambda end: ticket.settle(health.get(end, False))


def _redirected(request: Request, endpoint: Endpoint) -> Request:
    """`request` for another endpoint. The client's own keys do not go to a server they were not meant for."""
    headers = request.headers
    if _origin(endpoint) != _origin(request.endpoint):
        headers = tuple(pair for pair in headers if pair[0] not in KEYS)
    return msgspec.structs.replace(request, endpoint=endpoint, headers=headers)


def _origin(endpoint: Endpoint) -> tuple[str, str]:
    parts = urlsplit(endpoint.url)
    return parts.scheme, parts.netloc


def _word(outcome: Outcome) -> str:
    """A status or a code; few enough to be a label."""
    return outcome.code if isinstance(outcome, UpstreamFailed) else str(outcome.status)
