"""Balances: what one key asked for and spent, as running sums in memory. Knows no file and no limits.

What is to be written says so by `batch`, the number of the batch that it belongs to; see `trimtab.gateway.soleledger`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from trimtab.gateway import spans
from trimtab.gateway.admission import Hold


class Second:
    """What was asked for in one Unix second."""

    __slots__ = ("at", "batch", "key", "requests", "tokens")

    def __init__(self, key: int, at: int, requests: int = 0, tokens: int = 0) -> None:
        self.key = key
        self.at = at
        self.requests = requests
        self.tokens = tokens
        self.batch = -1


class Sum:
    """Nano-dollars spent, and held by calls under way."""

    __slots__ = ("held", "nanodollars")

    def __init__(self, nanodollars: int = 0) -> None:
        self.nanodollars = nanodollars
        self.held = 0


class Day(Sum):
    """One UTC day of a key; `number` counts days since 1970, `month` is the sum that it is part of."""

    __slots__ = ("batch", "key", "month", "number", "requests", "tokens")

    def __init__(self, key: int, number: int, month: Sum, row: tuple[int, int, int]) -> None:
        super().__init__(row[2])
        self.key = key
        self.number = number
        self.month = month
        self.requests, self.tokens = row[:2]
        self.batch = -1


class Run(Sum):
    """One workflow run of a key."""

    __slots__ = ("batch", "key", "last_ns", "trace_id")

    def __init__(self, key: int, trace_id: str, nanodollars: int, last_ns: int) -> None:
        super().__init__(nanodollars)
        self.key = key
        self.trace_id = trace_id
        self.last_ns = last_ns
        self.batch = -1


class Window:
    """The sliding minute: `requests` and `tokens` of the seconds round the one that `advance` was told last."""

    __slots__ = ("_key", "_newest", "_now", "_rows", "_steady", "requests", "tokens")

    def __init__(self, key: int, rows: Iterable[tuple[int, int, int]] = ()) -> None:
        self._key = key
        self._rows = {at: Second(key, at, requests, tokens) for at, requests, tokens in rows}
        self.requests = self.tokens = 0
        self._now = self._newest = -1
        # Whether the rows are in order and none is beyond the window's end.
        self._steady = False

    def advance(self, second: int) -> None:
        """Let `second` be now."""
        if second == self._now:
            return
        if not self._steady or second < self._now:
            self._recount(second)
        else:
            first = second - spans.WINDOW_S
            while self._rows and (oldest := next(iter(self._rows))) < first:
                gone = self._rows.pop(oldest)
                self.requests -= gone.requests
                self.tokens -= gone.tokens
        self._now = second

    def _recount(self, second: int) -> None:
        """The clock was set back, or had been."""
        first, last = second - spans.WINDOW_S, second + spans.WINDOW_S
        self._rows = {at: row for at, row in sorted(self._rows.items()) if at >= first}
        inside = [row for row in self._rows.values() if row.at <= last]
        self.requests = sum(row.requests for row in inside)
        self.tokens = sum(row.tokens for row in inside)
        self._newest = max(self._rows, default=-1)
        self._steady = len(inside) == len(self._rows)

    def add(self, requests: int, tokens: int) -> Second:
        """Count these in the second that is now; that second."""
        row = self._rows.get(self._now)
        if row is None:
            row = self._rows[self._now] = Second(self._key, self._now)
            if self._now < self._newest:
                self._steady = False
            else:
                self._newest = self._now
        row.requests += requests
        row.tokens += tokens
        self.requests += requests
        self.tokens += tokens
        return row

    def give_back(self, second: int, tokens: int) -> Second | None:
        """Take `tokens` off what was taken at `second`; None where that has left the window."""
        row = self._rows.get(second)
        if row is not None:
            row.tokens -= tokens
            if row.at <= self._now + spans.WINDOW_S:
                self.tokens -= tokens
        return row

    def rests(self, written: int) -> bool:
        """Whether every batch that its seconds are in is among the `written` ones."""
        return all(row.batch <= written for row in self._rows.values())

    def wait(self, unit: Literal["requests", "tokens"], excess: int, now: int) -> int:
        """Seconds, rounded up, until `excess` of `unit` has left the window."""
        first, last = spans.window(now)
        taken = ((at, getattr(row, unit)) for at, row in sorted(self._rows.items()) if first <= at <= last)
        return spans.wait(taken, excess, now)


class Balance:
    """One key's sums: `days` and `months` by their first day, and what its calls under way hold of them."""

    __slots__ = ("_expires", "_holds", "batch", "days", "held", "key", "months", "window")

    def __init__(self, key: int, window: Window) -> None:
        self.key = key
        self.window = window
        self.days: dict[int, Day] = {}
        self.months: dict[int, Sum] = {}
        self.held = 0
        self.batch = -1
        # By the id of its Hold: when it expires, what it holds, and of what.
        self._holds: dict[int | str, tuple[int, int, Day, Run | None]] = {}
        # Nothing expires before.
        self._expires = 0

    def hold(self, hold: Hold, expires: int, day: Day, run: Run | None) -> None:
        """Reserve the nano-dollars of `hold`, of its day, month and run, until it is released or `expires`."""
        wanted = hold.nanodollars
        if not self._holds or expires < self._expires:
            self._expires = expires
        self._holds[hold.id] = (expires, wanted, day, run)
        self._add(wanted, day, run)

    def release(self, hold: Hold) -> bool:
        """Give back what `hold` reserved; False where that has expired or was nothing."""
        held = self._holds.pop(hold.id, None)
        if held is None:
            return False
        self._add(-held[1], held[2], held[3])
        return True

    def expire(self, now: int) -> bool:
        """Give back what has expired; whether anything had."""
        if now < self._expires or not self._holds:
            return False
        gone = [each for each, held in self._holds.items() if held[0] <= now]
        for each in gone:
            _, wanted, day, run = self._holds.pop(each)
            self._add(-wanted, day, run)
        self._expires = min((held[0] for held in self._holds.values()), default=0)
        return bool(gone)

    def rests(self, written: int) -> bool:
        """Whether no call under way holds anything, and every batch it is in is among the `written` ones."""
        days = all(day.batch <= written for day in self.days.values())
        return not self._holds and self.batch <= written and days and self.window.rests(written)

    def forget_before(self, month: int, written: int) -> None:
        """Drop months that began before `month` with their days, if nothing of them is held or still to be written."""
        for first in [each for each in self.months if each < month]:
            days = [day for day in self.days.values() if day.month is self.months[first]]
            if self.months[first].held == 0 and all(day.batch <= written for day in days):
                del self.months[first]
                for day in days:
                    del self.days[day.number]

    def _add(self, wanted: int, day: Day, run: Run | None) -> None:
        self.held += wanted
        day.held += wanted
        day.month.held += wanted
        if run is not None:
            run.held += wanted
