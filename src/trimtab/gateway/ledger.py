"""The ledger: what each key asked for and spent, in the key database, with reserve, settle and refund.

Knows no HTTP and no prices. Each verb is one short transaction, so several processes may share the file. Before a call
its estimate is reserved; a budget admits it where spent + reserved + estimate ≤ limit. Then the truth is booked.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from trimtab.gateway import keydb, keyring, keys, spans
from trimtab.gateway.admission import Denial, Hold, over_budget, over_rate
from trimtab.gateway.keys import Key

# For the command line.
_DAYS_KEPT = 400
_MOST_KNOWN = 10_000
# What a key spent and what its calls under way hold, of the day, the month and the run, by (key, day, first day of the
# month, trace id, now).
_SUMS = """SELECT spent.today, spent.month, (SELECT nanodollars FROM runs WHERE key = ?1 AND trace_id = ?4),
    held.today, held.month, held.run
FROM (SELECT SUM(nanodollars * (day = ?2)) AS today, SUM(nanodollars) AS month
        FROM spending WHERE key = ?1 AND day >= ?3) AS spent,
    (SELECT SUM(nanodollars * (day = ?2)) AS today, SUM(nanodollars * (day >= ?3)) AS month,
        SUM(nanodollars * (trace_id = ?4)) AS run
        FROM reservations WHERE key = ?1 AND expires_ns > ?5) AS held"""
# Beyond this, a checkpoint holds writers up for a moment to start the WAL again from its beginning.
_WAL_BYTES = 8 * 1024 * 1024


class Used(msgspec.Struct, frozen=True):
    """What a key has used by now; money in nano-dollars, `held` by calls under way."""

    minute_requests: int = 0
    minute_tokens: int = 0
    day_requests: int = 0
    day_tokens: int = 0
    day_nanodollars: int = 0
    month_nanodollars: int = 0
    held_nanodollars: int = 0


class Ledger:
    """One connection to the ledger, for one thread at a time. `clock` gives Unix ns.

    `wait_s` is how long a verb waits for another process's transaction; then it raises Busy, and nothing was done.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int] = time.time_ns, wait_s: float = 10.0) -> None:
        self.clock = clock
        self._path = keydb.path_of(folder)
        self._db = keydb.connect(folder, wait_s=wait_s)
        self._ids = (f"{prefix}-{number}" for prefix in (secrets.token_hex(8),) for number in itertools.count())
        self._later: deque[tuple[Hold, int, int]] = deque()
        self._known: dict[bytes, Key | None] = {}
        self._changes = -1

    @property
    def waiting(self) -> int:
        """How many calls are still to be settled."""
        return len(self._later)

    def key(self, secret: str) -> Key | None:
        """The key of `secret`, whatever its state; None where there is none."""
        digest = keys.digest(secret)
        with self._read():
            changes = self._db.execute("SELECT number FROM changes").fetchone()[0]
            if changes != self._changes or len(self._known) > _MOST_KNOWN:
                self._known.clear()
                self._changes = changes
            if digest not in self._known:
                self._known[digest] = keyring.find(self._db, digest)
        return self._known[digest]

    def reserve(self, key: Key, trace_id: str, tokens: int, nanodollars: int) -> Hold | Denial:
        """Take one request, `tokens` and `nanodollars` off what `key` may still use, or say which limit forbids it.

        The call must be settled or refunded. A Denial takes nothing.
        """
        now = self.clock()
        hold = Hold(key, next(self._ids), trace_id, tokens, nanodollars, now // spans.SECOND, now // spans.DAY)
        if not key.rated and not (key.budgeted and nanodollars):
            return hold
        with self._write():
            denial = self._over_rate(hold, now) or self._over_budget(hold, now)
            if denial is None:
                self._book(hold, now)
        return denial or hold

    def settle(self, hold: Hold, tokens: int, nanodollars: int) -> None:
        """Book what the call really used in place of what it had reserved. Once for each Hold."""
        with self._write():
            self._settle(hold, tokens, nanodollars)

    def settle_later(self, hold: Hold, tokens: int, nanodollars: int) -> None:
        """Settle as part of this connection's next transaction, or of `flush`."""
        self._later.append((hold, tokens, nanodollars))

    def flush(self) -> None:
        """Settle all that waits."""
        if self._later:
            with self._write():
                pass

    def forget_oldest(self) -> None:
        """Give the oldest call that waits up: it is never settled."""
        self._later.popleft()

    def _settle(self, hold: Hold, tokens: int, nanodollars: int) -> None:
        key, now = hold.key, self.clock()
        if key.budgeted and hold.nanodollars:
            self._db.execute("DELETE FROM reservations WHERE key = ? AND id = ?", (key.id, hold.id))
        self._db.execute(
            "INSERT INTO spending VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + 1,"
            " tokens = tokens + excluded.tokens, nanodollars = nanodollars + excluded.nanodollars",
            (key.id, hold.day, tokens, nanodollars),
        )
        if key.run_nanodollars is not None and nanodollars:
            self._db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " nanodollars = nanodollars + excluded.nanodollars, last_ns = excluded.last_ns",
                (key.id, hold.trace_id, nanodollars, now),
            )
        if key.rated and tokens != hold.tokens:
            self._correct(hold, tokens - hold.tokens, now)

    def refund(self, hold: Hold) -> None:
        """The call used nothing: give back what it had reserved. It still counts as one request."""
        self.settle(hold, 0, 0)

    def used(self, key: Key) -> Used:
        """What `key` has used by now."""
        now = self.clock()
        today = now // spans.DAY
        with self._read():
            minute = self._sums(
                "SELECT SUM(requests), SUM(tokens)", "rates", "second BETWEEN ? AND ?", key, spans.window(now)
            )
            day = self._sums("SELECT requests, tokens, nanodollars", "spending", "day = ?", key, (today,))
            month = self._sums("SELECT SUM(nanodollars)", "spending", "day >= ?", key, (spans.month_start(today),))
            held = self._sums("SELECT SUM(nanodollars)", "reservations", "expires_ns > ?", key, (now,))
        return Used(*(minute or (0, 0)), *(day or (0, 0, 0)), *month, *held)

    def tidy(self) -> None:
        """Move what was committed from the WAL into the file, and forget what counts no more.

        May wait for the disk and for readers, so not on an event loop. A gateway calls it now and then, in a thread.
        """
        now = self.clock()
        with self._read():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            wal = self._path.with_name(self._path.name + "-wal")
            if wal.exists() and wal.stat().st_size > _WAL_BYTES:
                self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        # Right after the checkpoint: the first to write into a WAL begun again waits for the disk, better here.
        with self._write():
            self._db.execute("DELETE FROM reservations WHERE expires_ns <= ?", (now,))
            self._db.execute("DELETE FROM rates WHERE second < ?", (spans.window(now)[0],))
            self._db.execute("DELETE FROM runs WHERE last_ns < ?", (now - spans.RUN_KEPT_NS,))
            self._db.execute("DELETE FROM spending WHERE day < ?", (now // spans.DAY - _DAYS_KEPT,))
            self._db.execute("DELETE FROM secrets WHERE expires_ns < ?", (now - spans.DAY,))

    def patient(self, wait_s: float) -> None:
        """Wait so long for other processes from now on."""
        self._db.execute(f"PRAGMA busy_timeout={round(wait_s * 1e3)}")

    def close(self) -> None:
        self._db.close()

    def _over_rate(self, hold: Hold, now: int) -> Denial | None:
        key = hold.key
        if not key.rated:
            return None
        within = spans.window(now)
        requests, tokens = self._sums(
            "SELECT SUM(requests), SUM(tokens)", "rates", "second BETWEEN ? AND ?", key, within
        )
        return over_rate(hold, now, requests, tokens, functools.partial(self._wait, key))

    def _wait(self, key: Key, unit: str, excess: int, now: int) -> int:
        """Seconds, rounded up, until `excess` of `unit` has left the window."""
        rows: list[tuple[int, int]] = self._db.execute(
            f"SELECT second, {unit} FROM rates WHERE key = ? AND second BETWEEN ? AND ? ORDER BY second",
            (key.id, *spans.window(now)),
        ).fetchall()
        return spans.wait(rows, excess, now)

    def _over_budget(self, hold: Hold, now: int) -> Denial | None:
        key = hold.key
        if not (key.budgeted and hold.nanodollars):
            return None
        values = (key.id, hold.day, spans.month_start(hold.day), hold.trace_id, now)
        sums = [held or 0 for held in self._db.execute(_SUMS, values).fetchone()]
        return over_budget(hold, now, (sums[0], sums[1], sums[2]), (sums[3], sums[4], sums[5]))

    def _book(self, hold: Hold, now: int) -> None:
        key = hold.key
        if key.rated:
            self._add_rate(key, hold.second, 1, hold.tokens)
        if key.budgeted and hold.nanodollars:
            expires = now + spans.RESERVATION_S * spans.SECOND
            row = (key.id, hold.id, hold.day, hold.trace_id, hold.nanodollars, expires)
            self._db.execute("INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?)", row)

    def _add_rate(self, key: Key, second: int, requests: int, tokens: int) -> None:
        self._db.execute(
            "INSERT INTO rates VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " requests = requests + excluded.requests, tokens = tokens + excluded.tokens",
            (key.id, second, requests, tokens),
        )

    def _correct(self, hold: Hold, difference: int, now: int) -> None:
        """Tokens too many go back where they were taken, so that they free no others; tokens more count from now."""
        if difference > 0:
            self._add_rate(hold.key, now // spans.SECOND, 0, difference)
        else:
            self._db.execute(
                "UPDATE rates SET tokens = tokens + ? WHERE key = ? AND second = ?",
                (difference, hold.key.id, hold.second),
            )

    def _sums(self, what: str, table: str, where: str, key: Key, values: tuple[int | str, ...]) -> tuple[int, ...]:
        """One row with 0 for NULL; empty where there is no row."""
        row = self._db.execute(f"{what} FROM {table} WHERE key = ? AND {where}", (key.id, *values)).fetchone()
        return tuple(held or 0 for held in row) if row else ()

    def _read(self) -> contextlib.AbstractContextManager[None]:
        return keydb.errors_of(self._path)

    @contextmanager
    def _write(self) -> Iterator[None]:
        with self._read(), keydb.transaction(self._db):
            for later in self._later:
                self._settle(*later)
            yield
        self._later.clear()
