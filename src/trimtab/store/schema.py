"""The day files: their names, their tables by numbered migrations, and how a connection to one is opened.

One SQLite file (WAL) a UTC day, so that retention is an unlink. Counters are in `calls`, bodies apart in `payloads`.
"""

from __future__ import annotations

import datetime
import errno
import re
import shutil
import sqlite3
from pathlib import Path

from trimtab.errors import DiskFull, StoreBusy, StoreError
from trimtab.store.wal import write_ahead

DAY_NS = 86_400 * 10**9
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_WAIT_S = 10.0  # for another connection's transaction
_NAME = re.compile(r"calls-\d{4}-\d{2}-\d{2}\.sqlite")

# Each entry takes a file one version up; `PRAGMA user_version` says how many were applied. Never edit one that shipped.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE calls (
            id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT,
            started_ns INTEGER NOT NULL, duration_ms REAL NOT NULL, end_state TEXT NOT NULL,
            workflow TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL, user TEXT NOT NULL,
            tags TEXT, derived INTEGER NOT NULL, operation TEXT NOT NULL,
            endpoint TEXT NOT NULL, deployment TEXT NOT NULL, request_model TEXT NOT NULL, response_model TEXT NOT NULL,
            stream INTEGER NOT NULL, status INTEGER NOT NULL, finish_reason TEXT, error TEXT,
            ttft_ms REAL, overhead_ms REAL,
            input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL,
            cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, usage_estimated INTEGER NOT NULL,
            raw_usage TEXT, cost_nanodollars INTEGER, price_table TEXT NOT NULL
        )""",
        "CREATE INDEX calls_by_trace ON calls (trace_id, started_ns)",
        # Bodies are JSON, zlib-compressed unless short.
        "CREATE TABLE payloads (call_id TEXT PRIMARY KEY, request BLOB NOT NULL, response BLOB)",
        """CREATE TABLE scores (
            trace_id TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, value REAL NOT NULL,
            given_ns INTEGER NOT NULL, PRIMARY KEY (trace_id, name, source)
        )""",
    ),
    (
        "ALTER TABLE calls ADD COLUMN cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE calls ADD COLUMN batch INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE calls ADD COLUMN priced_as TEXT NOT NULL DEFAULT ''",
    ),
)


def day_path(folder: Path, started_ns: int) -> Path:
    """The file that holds calls which started at `started_ns` (Unix ns)."""
    try:
        day = datetime.date.fromordinal(_EPOCH + started_ns // DAY_NS)
    except (ValueError, OverflowError) as error:
        raise StoreError(f"a call starts at {started_ns} ns, which is no date: give Unix time in ns") from error
    return folder / f"calls-{day.isoformat()}.sqlite"


def day_start_ns(path: Path) -> int:
    """Unix ns of the midnight at which the day of `path` begins."""
    return (datetime.date.fromisoformat(path.stem[len("calls-") :]).toordinal() - _EPOCH) * DAY_NS


def day_files(folder: Path) -> list[Path]:
    """The folder's day files, oldest first; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The writer's connection: made and migrated where needed. Only the lock's holder may call this.

    Committed transactions survive the death of the process (WAL, synchronous=NORMAL); after a power cut the last
    ones may be missing, the file is whole all the same.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        # Of a new file: with twice SQLite's own size a fifth less time goes into writing the log.
        connection.execute("PRAGMA page_size=8192")
        write_ahead(connection, _WAIT_S)
        connection.execute("PRAGMA synchronous=NORMAL")
        # What is deleted is overwritten with zeros; inserts, which is what a writer does, cost the same.
        connection.execute("PRAGMA secure_delete=ON")
        _migrate(connection, path)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise refusal(error, path) from error
    except StoreError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection, path)
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
    connection.execute("COMMIT")


def is_older(path: Path) -> bool:
    """True where `path` has tables, and they are those of an older version."""
    try:
        connection = _open_read_only(path)
        try:
            return 0 < _version(connection, path) < len(MIGRATIONS)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise refusal(error, path) from error


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """A read-only connection that works while a writer runs; None where the file is gone or still without tables.

    It can neither write nor checkpoint, so the writer stays the only one that does.
    """
    try:
        connection = _open_read_only(path)
        version = _version(connection, path)
    except sqlite3.Error as error:
        if not path.exists():
            return None
        raise refusal(error, path) from error
    if version == 0:
        connection.close()
        return None
    if version < len(MIGRATIONS):
        connection.close()
        raise StoreError(
            f"{path} has the tables of an older Trimtab: start `trimtab serve` once on it, which updates it"
        )
    return connection


def _open_read_only(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # On a read-only disk the WAL index cannot be made. Without a WAL beside it the file is all there is.
        wal = path.with_name(path.name + "-wal")
        if not path.exists() or (wal.exists() and wal.stat().st_size):
            raise
        connection = sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        connection.close()
        raise StoreError(f"{path} was written by a newer Trimtab: upgrade this one to read it")
    return version


def refusal(error: Exception, path: Path) -> StoreError:
    """The store's own error for what SQLite or the system said about `path`."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    # A full disk shows as FULL from the file itself, and as an I/O or open error from the files beside it.
    if code & 0xFF == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path)
    if code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _no_room(path):
        return disk_full(path)
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"{path} is locked by another program: end that one, and try again")
    if code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreError(f"{path} is damaged ({error}): move it away; the other days are whole")
    return StoreError(f"cannot use {path}: {error}; check the folder's permissions and disk")


def disk_full(path: Path) -> DiskFull:
    return DiskFull(f"no room left for {path}: free some space, or delete the oldest calls-*.sqlite beside it")


def _no_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 128 * 1024
    except OSError:
        return False
