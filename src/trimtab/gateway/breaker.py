"""Circuit breaker: whether an endpoint has been failing, told from how its attempts ended. A state machine; no sockets.

It refuses nobody. It says that others are to be asked first: an endpoint whose breaker is open comes last, not never.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable

from trimtab.deployment import BreakerPolicy
from trimtab.endpoint import Endpoint

# Each failed probe doubles the rest, this many times at most.
_MAX_DOUBLINGS = 3


class State(enum.StrEnum):
    """`HALF_OPEN`: the rest is over, and one attempt, the probe, may find out whether the endpoint is well again."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class Ticket:
    """One attempt's leave to go. Its first outcome counts, and only while the breaker is as it was at the start."""

    __slots__ = ("_breaker", "era", "probe")

    def __init__(self, breaker: Breaker, era: int, probe: bool) -> None:
        self._breaker: Breaker | None = breaker
        self.era = era
        self.probe = probe

    def settle(self, healthy: bool | None) -> None:
        """How the attempt ended; None where nothing was learnt of the endpoint (its client left, say)."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker.learn(self, healthy)


class Breaker:
    """One endpoint's. Opens after `failures` failed attempts in a row, rests `open_s` seconds, then lets one probe go.

    A probe that never says how it ended holds its place for as long as a rest.
    """

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self.policy = policy
        self._clock = clock
        self._era = 0
        self._failures = 0
        self._openings = 0
        self._rest_until: float | None = None
        self._probe_until = 0.0

    @property
    def state(self) -> State:
        if self._rest_until is None:
            return State.CLOSED
        return State.OPEN if self._clock() < self._rest_until else State.HALF_OPEN

    def enter(self) -> Ticket | None:
        """Leave for an attempt; None while the endpoint rests or another attempt is the probe."""
        if self._rest_until is None:
            return Ticket(self, self._era, probe=False)
        now = self._clock()
        if now < self._rest_until or now < self._probe_until:
            return None
        self._probe_until = now + self._rest_s()
        return Ticket(self, self._era, probe=True)

    def force(self) -> Ticket:
        """Leave in any state, for who has no other endpoint left."""
        return Ticket(self, self._era, probe=False)

    def learn(self, ticket: Ticket, healthy: bool | None) -> None:
        """Called by the ticket, once."""
        if ticket.era != self._era:
            return
        if healthy is None:
            self._probe_until = 0.0 if ticket.probe else self._probe_until
        elif healthy:
            self._close()
        elif self._rest_until is None:
            self._failures += 1
            if self._failures >= self.policy.failures:
                self._open()
        elif ticket.probe:
            self._open()

    def _open(self) -> None:
        self._era += 1
        self._openings += 1
        self._failures = 0
        self._rest_until = self._clock() + self._rest_s()
        self._probe_until = 0.0

    def _close(self) -> None:
        self._era += self._rest_until is not None
        self._openings = self._failures = 0
        self._rest_until = None

    def _rest_s(self) -> float:
        return self.policy.open_s * 2.0 ** min(self._openings - 1, _MAX_DOUBLINGS)


class Breakers:
    """One breaker for each endpoint. It outlives a swap of the Deployment, but not a new address under an old name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, Breaker]] = {}

    def of(self, endpoint: Endpoint, policy: BreakerPolicy) -> Breaker:
        """The breaker of `endpoint`, from now on under `policy`."""
        url, breaker = self._held.get(endpoint.name, ("", None))
        if breaker is None or url != endpoint.url:
            breaker = Breaker(policy, self._clock)
            self._held[endpoint.name] = (endpoint.url, breaker)
        breaker.policy = policy
        return breaker

    def states(self) -> dict[str, State]:
        """By endpoint name."""
        return {name: breaker.state for name, (_, breaker) in self._held.items()}
