"""Write-behind: a thread that writes to the key database what a sole ledger's sums have become.

Each table in one statement for all its rows: between statements a thread has to win the interpreter back. Sums are
written as they then are, so twice is as good as once, and what could not be written is written with the next batch.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import StoreError
from trimtab.gateway import keydb, spans
from trimtab.gateway.admission import Busy
from trimtab.gateway.balances import Balance, Day, Run, Second
from trimtab.gateway.ledger import Ledger

log = logging.getLogger("trimtab.gateway")

# What changes is gathered so long, then written. A killed process loses what it had not written.
GATHER_S = 0.04
# Where the database cannot be written for so long, nothing more is to be reserved.
PATIENCE_S = 5.0
_AGAIN_S = 0.3
_LOOK_S = 1.0
_TIDY_EVERY = 256
# What calls under way hold is one row a key, for the command line: the sole ledger itself never reads it.
_HOLDER = "sole"

Row = Balance | Day | Run | Second


def _put(table: str, columns: int) -> str:
    fields = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(columns))
    return f"INSERT OR REPLACE INTO {table} SELECT {fields} FROM json_each(?)"


_SPENDING, _RUNS, _RATES, _RESERVATIONS = (
    _put("spending", 5),
    _put("runs", 4),
    _put("rates", 4),
    _put("reservations", 6),
)


class WriteBehind:
    """`add` says that a row changed, under `lock`; `start` lets the thread begin, `close` writes what is left.

    A row carries the number of the batch that it was added to: up to `done` all batches are written. `look` is called
    by the thread at each turn, with its connection, and says whether there is more for it; `forget` is called when the
    database was tidied.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], int],
        lock: threading.Lock,
        look: Callable[[sqlite3.Connection], bool],
        forget: Callable[[], None],
    ) -> None:
        self.batch = 0
        self.done = -1
        self._folder = folder
        self._path = keydb.path_of(folder)
        self._clock = clock
        self._lock = lock
        self._look = look
        self._forget = forget
        self._connection = keydb.connect(folder, wait_s=1.0)
        self._rows: set[Row] = set()
        self._unwritten: set[Row] = set()
        # When the oldest was added of what waits for the thread, and of what it tries to write.
        self._added = self._since = math.inf
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trimtab-ledger", daemon=True)
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix="trimtab-tidier")
        self._tidying: Future[None] | None = None
        self._flushes = 0

    def start(self) -> None:
        self._thread.start()

    def add(self, row: Row) -> None:
        """`row` is to be written. Only under the lock, and once a batch."""
        row.batch = self.batch
        if not self._rows:
            self._added = time.monotonic()
            self._wake.set()
        self._rows.add(row)

    @property
    def late(self) -> bool:
        """Whether the database could not be written for too long."""
        return time.monotonic() - min(self._added, self._since) > PATIENCE_S

    def flush(self) -> None:
        """Write all that was added until now; Busy or StoreError where that cannot be."""
        with self._writing:
            with self._lock:
                batch, rows = self.batch, self._rows
                self.batch, self._rows = batch + 1, set()
                self._since, self._added = min(self._since, self._added), math.inf
            self._unwritten |= rows
            if self._unwritten:
                with keydb.errors_of(self._path):
                    _write(self._connection, self._unwritten, self._clock())
                self._unwritten = set()
                self._since = math.inf
                self._flushes += 1
            self.done = batch

    def tidy(self) -> None:
        """As Ledger.tidy."""
        self.flush()
        with closing(Ledger(self._folder, clock=self._clock, wait_s=PATIENCE_S)) as ledger:
            ledger.tidy()
        self._forget()

    def close(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._tidier.shutdown()
        try:
            with keydb.errors_of(self._path):
                self._connection.execute(f"PRAGMA busy_timeout={round(PATIENCE_S * 1e3)}")
            self.flush()
        except (Busy, StoreError) as error:
            log.error("what %d keys, days and runs used was not written: %s", len(self._unwritten), _reason(error))
        self._connection.close()

    def _run(self) -> None:
        failed = False
        while not self._stopping.is_set():
            if self._wake.wait(_LOOK_S):
                self._stopping.wait(GATHER_S)
            self._wake.clear()
            try:
                self.flush()
                with keydb.errors_of(self._path):
                    if self._look(self._connection):
                        self._wake.set()
            except (Busy, StoreError) as error:
                if not failed:
                    log.error("what keys use is not written yet: %s", _reason(error))
                failed = True
                self._wake.set()
                self._stopping.wait(_AGAIN_S)
            else:
                failed = False
                self._tidy_sometimes()

    def _tidy_sometimes(self) -> None:
        if self._flushes >= _TIDY_EVERY and (self._tidying is None or self._tidying.done()):
            self._flushes = 0
            self._tidying = self._tidier.submit(self._tidy)

    def _tidy(self) -> None:
        try:
            self.tidy()
        except (Busy, StoreError) as error:
            log.warning("the key database was not tidied, later again: %s", _reason(error))


def _reason(error: Exception) -> str:
    return str(error) or "another process is writing"


def _write(connection: sqlite3.Connection, rows: set[Row], now: int) -> None:
    expires, today = now + spans.RESERVATION_S * spans.SECOND, now // spans.DAY
    tables: dict[str, list[tuple[Any, ...]]] = {_SPENDING: [], _RUNS: [], _RATES: [], _RESERVATIONS: []}
    for row in rows:
        if isinstance(row, Day):
            tables[_SPENDING].append((row.key, row.number, row.requests, row.tokens, row.nanodollars))
        elif isinstance(row, Run):
            tables[_RUNS].append((row.key, row.trace_id, row.nanodollars, row.last_ns))
        elif isinstance(row, Second):
            tables[_RATES].append((row.key, row.at, row.requests, row.tokens))
        else:
            tables[_RESERVATIONS].append((row.key, _HOLDER, today, "", row.held, expires))
    with keydb.transaction(connection):
        for statement, held in tables.items():
            if held:
                connection.execute(statement, (msgspec.json.encode(held).decode(),))
        if tables[_RESERVATIONS]:
            connection.execute("DELETE FROM reservations WHERE id = ? AND nanodollars = 0", (_HOLDER,))
