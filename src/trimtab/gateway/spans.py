"""Spans of time over which limits count: the sliding minute, the UTC day and month, the life of a reservation."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

SECOND = 10**9
DAY = 86_400 * SECOND
# In no 60 seconds more than the rate. Seconds are whole, so what was taken comes free after 60 to 61 of them.
WINDOW_S = 60
# A reservation older than this belongs to a process that died, or to a call that is charged when it ends.
RESERVATION_S = 600
# A run that rests so long begins anew.
RUN_KEPT_NS = 30 * DAY
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def window(now: int) -> tuple[int, int]:
    """First and last second of the window. A minute ahead counts too, in case the clock was set back a little."""
    second = now // SECOND
    return second - WINDOW_S, second + WINDOW_S


def wait(taken: Iterable[tuple[int, int]], excess: int, now: int) -> int:
    """Seconds, rounded up, until `excess` has left the window; `taken` are (second, amount), oldest first."""
    for second, amount in taken:
        excess -= amount
        if excess <= 0:
            return until((second + WINDOW_S + 1) * SECOND, now)
    return WINDOW_S + 1


def until(end: int, now: int) -> int:
    """Seconds from `now` to `end`, both Unix ns, rounded up."""
    return -((now - end) // SECOND)


def month_start(day: int) -> int:
    """The first day of the month of `day`, both as days since 1970 (UTC)."""
    return datetime.date.fromordinal(_EPOCH + day).replace(day=1).toordinal() - _EPOCH


def next_month(day: int) -> int:
    """The first day of the month after that of `day`."""
    return month_start(month_start(day) + 31)
