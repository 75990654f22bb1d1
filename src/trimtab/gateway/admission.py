"""Admission: what the ledger answers to a call that asks for its share: a Hold, a Denial, or that it is busy."""

from __future__ import annotations

import enum

import msgspec

from trimtab.gateway.keys import Key


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
    id: str
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
