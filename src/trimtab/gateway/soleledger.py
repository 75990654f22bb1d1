"""The ledger of a gateway with one serving process: the same verbs as Ledger's, on running sums in memory.

It alone may write what keys use, so its memory is the truth, and a thread writes it to the key database behind the
calls. The database is read where a key, a day or a run is met for the first time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import StoreError
from trimtab.gateway import keybell, keydb, keyring, keys, spans
from trimtab.gateway.admission import Denial, Hold, over_budget, over_rate
from trimtab.gateway.balances import Balance, Day, Run, Sum, Window
from trimtab.gateway.bloom import Bloom
from trimtab.gateway.keys import Key
from trimtab.gateway.ledger import Used
from trimtab.gateway.writebehind import WriteBehind

_MOST_KNOWN = 10_000
# Of those that rest; one that is not in memory is read from the database when it is met again.
_MOST_BALANCES = 5_000
_MOST_RUNS = 10_000
_EVICTIONS = 2
# So many at once hold up the event loop for a millisecond at most.
_PAGE = 1_000
_RESERVATION_NS = spans.RESERVATION_S * spans.SECOND
_SPENT = "SELECT IFNULL(SUM(nanodollars), 0) FROM spending WHERE key = ? AND day >= ? AND day < ?"
_RUNS = """SELECT json_group_array(json_array(key, trace_id))
FROM (SELECT key, trace_id FROM runs WHERE (key, trace_id) > (?, ?) ORDER BY key, trace_id LIMIT ?)"""


class SoleLedger:
    """For one process; StoreBusy where another gateway uses the folder's keys. `clock` gives Unix ns.

    Any thread may use it. Its verbs raise Busy or StoreError where the database must be read and cannot be; then
    nothing was done.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.clock = clock
        self._path = keydb.path_of(folder)
        self._known: dict[str, Key | None] = {}
        self._ids = itertools.count(secrets.randbits(62))
        self._lock = threading.Lock()
        self._balances: OrderedDict[int, Balance] = OrderedDict()
        self._runs: OrderedDict[tuple[int, str], Run] = OrderedDict()
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, keydb.claim(folder, alone=True))
            self._db = opened.enter_context(contextlib.closing(keydb.connect(folder, wait_s=0)))
            self._bell = opened.enter_context(contextlib.closing(keybell.Listener(folder)))
            self._behind = WriteBehind(folder, clock, self._lock, self._look, self._forget_rested)
            opened.callback(self._behind.close)
            # Runs that may be in the database and not in memory: those of earlier processes, once all are read, and
            # those that were evicted. Each filter has one thread that adds to it.
            self._earlier, self._evicted = Bloom(), Bloom()
            self._last_read: tuple[int, str] | None = (0, "")
            with keydb.errors_of(self._path):
                self._changes = _changes(self._db)
                self._look(self._db)
                # Of processes that are no more.
                self._db.execute("DELETE FROM reservations")
            self._behind.start()
            self._opened = opened.pop_all()

    def key(self, secret: str) -> Key | None:
        """The key of `secret`, whatever its state; None where there is none."""
        if self._bell.heard() or len(self._known) > _MOST_KNOWN:
            self._known = {}
        known = self._known
        if secret not in known:
            with keydb.errors_of(self._path):
                known[secret] = keyring.find(self._db, keys.digest(secret))
        return known[secret]

    def reserve(self, key: Key, trace_id: str, tokens: int, nanodollars: int) -> Hold | Denial:
        """As Ledger.reserve; StoreError, too, where the database could not be written for long."""
        if self._behind.late:
            raise StoreError(f"{self._path} cannot be written: check the folder's permissions and disk")
        now = self.clock()
        second, number = now // spans.SECOND, now // spans.DAY
        hold = Hold(key, next(self._ids), trace_id, tokens, nanodollars, second, number)
        with self._lock:
            balance = self._balance(key.id, now)
            denial = self._over_rate(balance.window, hold, now) if key.rated else None
            if denial is None and nanodollars and key.budgeted:
                denial = self._take_money(balance, hold, now)
            if denial is None and key.rated:
                row = balance.window.add(1, tokens)
                if row.batch != self._behind.batch:
                    self._behind.add(row)
        return denial or hold

    def settle(self, hold: Hold, tokens: int, nanodollars: int) -> None:
        """As Ledger.settle, at once."""
        key, now = hold.key, self.clock()
        with self._lock:
            behind = self._behind
            balance = self._balance(key.id, now)
            day = balance.days.get(hold.day) or self._day(balance, hold.day)
            run = None
            if nanodollars and key.run_nanodollars is not None:
                run = self._run(key.id, hold.trace_id, now)
            if balance.release(hold) and balance.batch != behind.batch:
                behind.add(balance)
            day.requests += 1
            day.tokens += tokens
            day.nanodollars += nanodollars
            day.month.nanodollars += nanodollars
            if day.batch != behind.batch:
                behind.add(day)
            if run is not None:
                run.nanodollars += nanodollars
                run.last_ns = now
                if run.batch != behind.batch:
                    behind.add(run)
            if key.rated and tokens != hold.tokens:
                self._correct(balance.window, hold, tokens - hold.tokens, now)

    def refund(self, hold: Hold) -> None:
        """The call used nothing: give back what it had reserved. It still counts as one request."""
        self.settle(hold, 0, 0)

    def used(self, key: Key) -> Used:
        """What `key` has used by now."""
        now = self.clock()
        with self._lock:
            balance = self._balance(key.id, now)
            window = balance.window
            window.advance(now // spans.SECOND)
            if balance.expire(now):
                self._behind.add(balance)
            number = now // spans.DAY
            day = balance.days.get(number) or self._day(balance, number)
            sums = (day.requests, day.tokens, day.nanodollars, day.month.nanodollars, balance.held)
            return Used(window.requests, window.tokens, *sums)

    def flush(self) -> None:
        """Write all that was settled until now."""
        self._behind.flush()

    def tidy(self) -> None:
        """As Ledger.tidy. A thread of its own does it now and then."""
        self._behind.tidy()

    def close(self) -> None:
        """Write what still waits, and let other processes use the keys."""
        self._opened.close()

    def _over_rate(self, window: Window, hold: Hold, now: int) -> Denial | None:
        window.advance(hold.second)
        return over_rate(hold, now, window.requests, window.tokens, window.wait)

    def _take_money(self, balance: Balance, hold: Hold, now: int) -> Denial | None:
        """Let the call hold its nano-dollars, where no budget forbids it."""
        if balance.expire(now):
            self._behind.add(balance)
        day = balance.days.get(hold.day) or self._day(balance, hold.day)
        month, run = day.month, None
        spent, held = (day.nanodollars, month.nanodollars, 0), (day.held, month.held, 0)
        if hold.key.run_nanodollars is not None:
            run = self._run(hold.key.id, hold.trace_id, now)
            spent, held = (*spent[:2], run.nanodollars), (*held[:2], run.held)
        denial = over_budget(hold, now, spent, held)
        if denial is None:
            balance.hold(hold, now + _RESERVATION_NS, day, run)
            if balance.batch != self._behind.batch:
                self._behind.add(balance)
        return denial

    def _correct(self, window: Window, hold: Hold, difference: int, now: int) -> None:
        """Tokens too many go back where they were taken, so that they free no others; tokens more count from now."""
        window.advance(now // spans.SECOND)
        row = window.add(0, difference) if difference > 0 else window.give_back(hold.second, -difference)
        if row is not None and row.batch != self._behind.batch:
            self._behind.add(row)

    def _balance(self, key: int, now: int) -> Balance:
        balance = self._balances.get(key)
        if balance is not None:
            self._balances.move_to_end(key)
            return balance
        first = spans.window(now)[0]
        rows = self._read("SELECT second, requests, tokens FROM rates WHERE key = ? AND second >= ?", key, first)
        if len(self._balances) >= _MOST_BALANCES:
            self._evict_balances()
        balance = self._balances[key] = Balance(key, Window(key, rows))
        return balance

    def _day(self, balance: Balance, number: int) -> Day:
        """A day of the key, met for the first time."""
        key, first = balance.key, spans.month_start(number)
        balance.forget_before(spans.month_start(first - 1), self._behind.done)
        rows = self._read("SELECT requests, tokens, nanodollars FROM spending WHERE key = ? AND day = ?", key, number)
        if first not in balance.months:
            ((spent,),) = self._read(_SPENT, key, first, spans.next_month(first))
            balance.months[first] = Sum(spent)
        day = balance.days[number] = Day(key, number, balance.months[first], rows[0] if rows else (0, 0, 0))
        return day

    def _run(self, key: int, trace_id: str, now: int) -> Run:
        which = (key, trace_id)
        run = self._runs.get(which)
        if run is not None:
            self._runs.move_to_end(which)
            return run
        rows, hashed = [], hash(which)
        if self._last_read is not None or hashed in self._earlier or hashed in self._evicted:
            rows = self._read("SELECT nanodollars, last_ns FROM runs WHERE key = ? AND trace_id = ?", key, trace_id)
        if len(self._runs) >= _MOST_RUNS:
            self._evict_runs()
        run = self._runs[which] = Run(key, trace_id, *(rows[0] if rows else (0, now)))
        return run

    def _evict_balances(self) -> None:
        """Drop some that were used longest ago, unless they are in use or not written yet."""
        for key, balance in list(itertools.islice(self._balances.items(), _EVICTIONS)):
            if balance.rests(self._behind.done):
                del self._balances[key]
            else:
                self._balances.move_to_end(key)

    def _evict_runs(self) -> None:
        for which, run in list(itertools.islice(self._runs.items(), _EVICTIONS)):
            if run.held == 0 and run.batch <= self._behind.done:
                del self._runs[which]
                if run.nanodollars:
                    self._evicted.add(hash(which))
            else:
                self._runs.move_to_end(which)

    def _forget_rested(self) -> None:
        """Drop the runs that tidying takes out of the database."""
        with self._lock:
            earliest, written = self.clock() - spans.RUN_KEPT_NS, self._behind.done
            for which, run in list(self._runs.items()):
                if run.last_ns < earliest and run.held == 0 and run.batch <= written:
                    del self._runs[which]

    def _look(self, connection: sqlite3.Connection) -> bool:
        """Look whether keys were changed unheard, and read some more of the earlier runs; whether more are left."""
        changes = _changes(connection)
        if changes != self._changes:
            self._changes = changes
            self._bell.ring()
        if self._last_read is not None:
            page = connection.execute(_RUNS, (*self._last_read, _PAGE)).fetchone()[0]
            known: list[tuple[int, str]] = msgspec.json.decode(page, type=list[tuple[int, str]])
            for which in known:
                self._earlier.add(hash(which))
            self._last_read = known[-1] if len(known) == _PAGE else None
        return self._last_read is not None

    def _read(self, statement: str, *values: int | str) -> list[Any]:
        with keydb.errors_of(self._path):
            return self._db.execute(statement, values).fetchall()


def _changes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT number FROM changes").fetchone()[0])
