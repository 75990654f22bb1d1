"""Admission: what a ledger answers to a call that asks for its share: a Hold, a Denial, or that it is busy.

And the rule by which it answers, given the sums. Knows no database.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Literal

import msgspec

from trimtab.gateway import spans
from trimtab.gateway.keys import Key

# Seconds, rounded up, until so much of one unit has left the key's window: (unit, how much, now).
Wait = Callable[[Literal["requests", "tokens"], int, int], int]


class Limit(enum.StrEnum):
    """What a key may be refused for."""

    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    DAY = "day_budget"
    MONTH = "month_budget"
    RUN = "run_budget"


class Busy(Exception):
    """Another process is writing: nothing was done, the same again may do."""


class Hold(msgspec.Struct, frozen=True):
    """What one call under way has reserved. `tokens` count from `second` on; `day` is the one it is charged to."""

    key: Key
    id: str | int
    trace_id: str
    tokens: int
    nanodollars: int
    second: int
    day: int


class Denial(msgspec.Struct, frozen=True):
    """Why nothing was reserved. `used` and `held` (by calls under way) are of the same unit as `limit`, and `asked` is
    what the call wanted. `wait_s`: seconds after which it would pass if nobody else came; None where no wait helps."""

    limit: Limit
    allowed: int
    used: int
    held: int
    asked: int
    wait_s: int | None


def over_rate(hold: Hold, now: int, requests: int, tokens: int, wait: Wait) -> Denial | None:
    """Whether a rate of the key forbids `hold`, with so many `requests` and `tokens` in its window."""
    key, asked = hold.key, hold.tokens
    allowed = key.requests_per_minute
    if allowed is not None and requests + 1 > allowed:
        return Denial(Limit.REQUESTS, allowed, requests, 0, 1, wait("requests", requests + 1 - allowed, now))
    allowed = key.tokens_per_minute
    if allowed is not None and tokens + asked > allowed:
        soon = None if asked > allowed else wait("tokens", tokens + asked - allowed, now)
        return Denial(Limit.TOKENS, allowed, tokens, 0, asked, soon)
    return None


def over_budget(hold: Hold, now: int, spent: tuple[int, int, int], held: tuple[int, int, int]) -> Denial | None:
    """Whether a budget of the key forbids `hold`; what its calls have `spent` and what those under way have `held`, in
    nano-dollars of the day, the month and the run."""
    key, asked = hold.key, hold.nanodollars
    allowed = key.day_nanodollars
    if allowed is not None and spent[0] + held[0] + asked > allowed:
        return _over(Limit.DAY, allowed, spent[0], held[0], asked, spans.until((hold.day + 1) * spans.DAY, now))
    allowed = key.month_nanodollars
    if allowed is not None and spent[1] + held[1] + asked > allowed:
        end = spans.next_month(hold.day) * spans.DAY
        return _over(Limit.MONTH, allowed, spent[1], held[1], asked, spans.until(end, now))
    allowed = key.run_nanodollars
    if allowed is not None and spent[2] + held[2] + asked > allowed:
        return _over(Limit.RUN, allowed, spent[2], held[2], asked, None)
    return None


def _over(limit: Limit, allowed: int, used: int, held: int, asked: int, ends_s: int | None) -> Denial:
    """Waiting helps for calls under way to end, or for the span to end in `ends_s` seconds; never where `asked` alone
    is too much."""
    wait = None if asked > allowed else 1 if used + asked <= allowed else ends_s
    return Denial(limit, allowed, used, held, asked, wait)
