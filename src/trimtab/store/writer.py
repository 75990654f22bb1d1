"""TraceWriter: the one process that writes a store folder. What it acknowledged survives its own death."""

from __future__ import annotations

import fcntl
import functools
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.errors import StoreBusy, StoreError
from trimtab.store import schema
from trimtab.store.redaction import scrub
from trimtab.store.rows import INSERT_CALL, INSERT_PAYLOAD, INSERT_SCORE, payload_row, row_of, score_row
from trimtab.trace import Record, Score

LOCK = "writer.lock"
# Imports of old traffic may touch many days; more open files than this gain nothing.
_OPEN_DAYS = 4
# Few sizes, so that each statement is prepared once.
_ROWS_AT_ONCE = (64, 16, 4, 1)

Row = Sequence[Any]


class TraceWriter:
    """Appends calls, bodies and scores to the day files of `folder`, which is made where it is missing.

    The folder is locked for as long as the writer is open: a second writer, in this process or another, gets a
    StoreError that names the holder. Methods may be called from any thread. Secrets are scrubbed before anything
    is written (`store.redaction`), with `redact_personal` structured personal data too. With `keep_days`, `housekeep`
    drops what is older.
    """

    def __init__(self, folder: Path, *, keep_days: int = 0, redact_personal: bool = False) -> None:
        self.folder = folder
        self.keep_days = keep_days
        self.redact_personal = redact_personal
        self._kept_on: int | None = None
        self._guard = threading.Lock()
        self._days: dict[Path, sqlite3.Connection] = {}
        self._lock: int | None = _hold(folder)
        try:
            self._update_older_files()
        except StoreError:
            self.close()
            raise

    def append(self, records: Iterable[Record]) -> int:
        """Write `records`, one transaction a day file; the number that was new. A call whose id is there already
        is left as it was, so a batch may be sent again.

        Raises DiskFull or StoreError; then whole day files of the batch may be written and the rest is not, nothing
        acknowledged before is touched, and the same batch may be tried again.
        """
        by_day: dict[int, tuple[list[Row], list[Row]]] = {}
        for record in records:
            # One after the other, so that no more than one call's body need be held decoded.
            scrubbed = scrub(record, personal_data=self.redact_personal)
            calls, bodies = by_day.setdefault(record.call.started_ns // schema.DAY_NS, ([], []))
            calls.append(row_of(scrubbed.call))
            if scrubbed.payload is not None:
                bodies.append(payload_row(scrubbed.payload))
        days = [(schema.day_path(self.folder, day * schema.DAY_NS), by_day[day]) for day in sorted(by_day)]
        with self._guard:
            return sum(
                self._write(path, ((INSERT_CALL, calls), (INSERT_PAYLOAD, bodies))) for path, (calls, bodies) in days
            )

    def append_scores(self, trace_id: str, scores: Sequence[Score]) -> None:
        """Write the scores of a trace, beside its first call where that is known. A later score of the same name and
        source takes the place of the earlier one."""
        now = time.time_ns()
        rows = [score_row(trace_id, score, now) for score in scores]
        with self._guard:
            self._write(self._day_of(trace_id, now), ((INSERT_SCORE, rows),))

    @contextmanager
    def change(self, path: Path) -> Iterator[sqlite3.Connection]:
        """One transaction on the day file `path`, for what alters history: whole at the end, undone on any error."""
        with self._guard, self._transaction(path) as connection:
            yield connection

    def compact(self, path: Path, *, rewrite: bool = True) -> None:
        """Rewrite the day file `path` without the room of what was deleted, if `rewrite`, and empty its log.

        Raises StoreError where a reader keeps the log in use for 10 s: what was deleted is then still in it.
        """
        with self._guard:
            connection = self._connection(path)
            try:
                if rewrite:
                    connection.execute("VACUUM")
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error as error:
                self._days.pop(path).close()
                raise schema.refusal(error, path) from error
        if busy:
            raise StoreError(f"{path} is being read, and its log still holds what was deleted: run this again")

    def prune(self, keep_days: int, *, dry_run: bool = False) -> list[Path]:
        """Delete every day file whose last moment is `keep_days` (>= 1) whole days ago or more; those files."""
        oldest = time.time_ns() - keep_days * schema.DAY_NS
        old = [path for path in schema.day_files(self.folder) if schema.day_start_ns(path) + schema.DAY_NS <= oldest]
        with self._guard:
            for path in () if dry_run else old:
                if (connection := self._days.pop(path, None)) is not None:
                    connection.close()
                try:
                    # The log first: alone it would be taken for that of a new file of the same day.
                    for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):
                        path.with_name(name).unlink(missing_ok=True)
                except OSError as error:
                    raise schema.refusal(error, path) from error
        return old

    def housekeep(self) -> None:
        """Apply `keep_days`, once after opening and once at each change of the UTC day. Costs nothing in between."""
        today = time.time_ns() // schema.DAY_NS
        if self.keep_days and self._kept_on != today:
            self._kept_on = today
            self.prune(self.keep_days)

    def close(self) -> None:
        """Close the files and give the folder free; more than once does no harm."""
        with self._guard:
            for connection in self._days.values():
                connection.close()
            self._days.clear()
            # Closing gives the lock free; the file stays, as its removal could race with the next holder.
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, path: Path, statements: Sequence[tuple[str, Sequence[Row]]]) -> int:
        """One transaction on one day file; the number of rows the first statement added."""
        with self._transaction(path) as connection:
            added = [_insert(connection, statement, rows) for statement, rows in statements if rows]
        return added[0] if added else 0

    @contextmanager
    def _transaction(self, path: Path) -> Iterator[sqlite3.Connection]:
        if self._lock is None:
            raise StoreError(f"the writer of {self.folder} is closed: open a new one")
        connection = self._connection(path)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            # Closing rolls back; the next transaction starts from what is on the disk.
            self._days.pop(path).close()
            if isinstance(error, (sqlite3.Error, OverflowError, UnicodeError)):
                raise schema.refusal(error, path) from error
            raise

    def _connection(self, path: Path) -> sqlite3.Connection:
        connection = self._days.pop(path, None)
        if connection is not None and not path.exists():
            # Retention took the day away while it was open: start it anew rather than write to an unlinked file.
            connection.close()
            connection = None
        if connection is None:
            connection = schema.open_for_writing(path)
        self._days[path] = connection
        if len(self._days) > _OPEN_DAYS:
            self._days.pop(next(iter(self._days))).close()
        return connection

    def _day_of(self, trace_id: str, now_ns: int) -> Path:
        for path in schema.day_files(self.folder):
            reader = schema.open_for_reading(path)
            if reader is None:
                continue
            try:
                if reader.execute("SELECT 1 FROM calls WHERE trace_id = ? LIMIT 1", (trace_id,)).fetchone():
                    return path
            except sqlite3.Error as error:
                raise schema.refusal(error, path) from error
            finally:
                reader.close()
        return schema.day_path(self.folder, now_ns)

    def _update_older_files(self) -> None:
        for path in schema.day_files(self.folder):
            if schema.is_older(path):
                schema.open_for_writing(path).close()


def _insert(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Carry out `statement`, of one row, on `rows`; how many were added.

    Many rows at a time: each run of a statement gives the interpreter to the other threads, and gets it back late.
    """
    most = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(rows[0])
    added = at = 0
    for size in _ROWS_AT_ONCE:
        while len(rows) - at >= size and size <= most:
            values = [value for row in rows[at : at + size] for value in row]
            added += connection.execute(_repeated(statement, size), values).rowcount
            at += size
    return added


@functools.lru_cache
def _repeated(statement: str, size: int) -> str:
    """The insert `statement`, of one row, for `size` rows."""
    return statement + f", {statement[statement.rindex('(') :]}" * (size - 1)


def _hold(folder: Path) -> int:
    """The open lock file of `folder`, held. The holder's process id and command stand in it for the next comer."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise schema.refusal(error, path) from error
    try:
        # flock, not lockf: a POSIX lock does not stop a second writer in the same process.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, f"pid {os.getpid()}, {' '.join([Path(sys.argv[0]).name, *sys.argv[1:3]])[:80]}".encode())
    except BlockingIOError as error:
        holder = os.pread(lock, 200, 0).decode(errors="replace").strip() or "another process"
        os.close(lock)
        raise StoreBusy(f"{folder} has a writer already ({holder}): stop it, or choose another folder") from error
    except OSError as error:
        os.close(lock)
        raise schema.refusal(error, path) from error
    return lock
