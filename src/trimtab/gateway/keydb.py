"""The key database, `keys.sqlite` in the store's folder: its tables, and how a connection to it is opened.

Not the trace store: that one has a single writer, this one is shared by every worker process and the command line.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from trimtab.errors import StoreBusy, StoreError
from trimtab.gateway.admission import Busy
from trimtab.store.wal import write_ahead

NAME = "keys.sqlite"
_LOCK = "keys.lock"
_OPEN_WAIT_S = 10.0
_VERSION = 1
# Small pages: a transaction touches a few rows, and the WAL takes whole pages.
_PAGE_BYTES = 1024
_TABLES = (
    """CREATE TABLE keys (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, models TEXT NOT NULL,
        requests_per_minute INTEGER, tokens_per_minute INTEGER,
        day_nanodollars INTEGER, month_nanodollars INTEGER, run_nanodollars INTEGER,
        created_ns INTEGER NOT NULL, expires_ns INTEGER, revoked_ns INTEGER
    )""",
    # Changes with every key: whoever remembers keys looks here first.
    "CREATE TABLE changes (number INTEGER NOT NULL)",
    "INSERT INTO changes VALUES (0)",
    # SHA-256 of the secret; two rows a key while a rotated one has grace.
    "CREATE TABLE secrets (digest BLOB PRIMARY KEY, key INTEGER NOT NULL, expires_ns INTEGER) WITHOUT ROWID",
    # What a key asked for, by whole Unix seconds.
    """CREATE TABLE rates (
        key INTEGER, second INTEGER, requests INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (key, second)
    ) WITHOUT ROWID""",
    # What a key spent, by UTC days since 1970. A month is the sum of its days.
    """CREATE TABLE spending (
        key INTEGER, day INTEGER, requests INTEGER NOT NULL, tokens INTEGER NOT NULL, nanodollars INTEGER NOT NULL,
        PRIMARY KEY (key, day)
    ) WITHOUT ROWID""",
    """CREATE TABLE runs (
        key INTEGER, trace_id TEXT, nanodollars INTEGER NOT NULL, last_ns INTEGER NOT NULL, PRIMARY KEY (key, trace_id)
    ) WITHOUT ROWID""",
    # What calls under way may still spend. A row whose time is over counts for nothing: its process died.
    """CREATE TABLE reservations (
        key INTEGER, id TEXT, day INTEGER NOT NULL, trace_id TEXT NOT NULL, nanodollars INTEGER NOT NULL,
        expires_ns INTEGER NOT NULL, PRIMARY KEY (key, id)
    ) WITHOUT ROWID""",
)


def path_of(folder: Path) -> Path:
    return folder / NAME


def connect(folder: Path, *, wait_s: float, durable: bool = False) -> sqlite3.Connection:
    """A connection to the folder's key database, made where it is missing. StoreError where it cannot be used.

    A statement waits `wait_s` seconds for another process's transaction. What is committed survives the death of the
    process; with `durable`, a power cut too. Nothing is checkpointed by a commit: see `Ledger.tidy`.
    """
    path = path_of(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only hashes are in it, and still nobody else's business. SQLite gives the files beside it the same mode.
        # A file that is there must not be opened: closing it would drop the locks that this process has on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=_OPEN_WAIT_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error
    try:
        connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        write_ahead(connection, _OPEN_WAIT_S)
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        _make(connection, path)
        connection.execute(f"PRAGMA busy_timeout={round(wait_s * 1e3)}")
    except sqlite3.Error as error:
        connection.close()
        raise unusable(path, error) from error
    except StoreError:
        connection.close()
        raise
    return connection


def claim(folder: Path, *, alone: bool) -> int:
    """A descriptor that holds the folder's keys for one serving process `alone`, or together with others that share
    them, until it is closed or the process dies. StoreBusy where that cannot be."""
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreBusy(
            f"another gateway keeps the keys of {folder}: stop it, give this one a store folder of its own, or let"
            " both share it with gateway.workers = 2 or more in each"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise unusable(path, error) from error
    return descriptor


def _make(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) == _VERSION:
        return
    with transaction(connection):
        # Another process may have made it while this one waited.
        if _version(connection, path) == 0:
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={_VERSION}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > _VERSION:
        raise StoreError(f"{path} was written by a newer Trimtab: upgrade this one to use it")
    return version


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: all of it, or none where anything raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """What SQLite raises over the database at `path`, as Busy or StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        if is_busy(error):
            raise Busy from error
        raise unusable(path, error) from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection held the file: the same again may do."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def unusable(path: Path, error: Exception) -> StoreError:
    return StoreError(f"cannot use {path}: {error}; check the folder's permissions and disk")
