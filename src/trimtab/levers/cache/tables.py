"""The cache's SQLite file: its tables by numbered migrations, how it is opened, and one transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.errors import StoreBusy, StoreError
from trimtab.store.wal import write_ahead

FILE = "entries.sqlite"
WAIT = 10.0  # seconds for another process's transaction

# Each entry takes a file one version up; `PRAGMA user_version` says how many were applied. Never edit one that shipped.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE partitions (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        # One row a verified answer group: what a hit on any of its questions serves. Never used again once deleted:
        # another process may still hold its number.
        """CREATE TABLE answers (
            id INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, body BLOB NOT NULL,
            dialect TEXT NOT NULL, usage TEXT NOT NULL, cost_nanodollars INTEGER, latency_ms REAL NOT NULL,
            caller TEXT NOT NULL, trust TEXT NOT NULL, version TEXT NOT NULL,
            created_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL, quarantined INTEGER NOT NULL DEFAULT 0,
            tried INTEGER NOT NULL DEFAULT 0, same INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX answers_by_expiry ON answers (expires_ns) WHERE expires_ns > 0",
        "CREATE INDEX answers_by_version ON answers (version)",
        """CREATE TABLE entries (
            id INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, key TEXT NOT NULL, question TEXT NOT NULL,
            answer INTEGER NOT NULL, alias INTEGER NOT NULL, caller TEXT NOT NULL, created_ns INTEGER NOT NULL,
            UNIQUE (partition, key)
        )""",
        "CREATE INDEX entries_by_answer ON entries (answer)",
        # Little-endian float16, apart from the entries, so that reading a question does not read past its vector.
        """CREATE TABLE vectors (
            id INTEGER PRIMARY KEY AUTOINCREMENT, entry INTEGER NOT NULL, partition INTEGER NOT NULL,
            encoder TEXT NOT NULL, vector BLOB NOT NULL
        )""",
        "CREATE INDEX vectors_by_entry ON vectors (entry)",
        "CREATE INDEX vectors_by_encoder ON vectors (encoder, id)",
        "CREATE TABLE sources (document TEXT NOT NULL, answer INTEGER NOT NULL, PRIMARY KEY (document, answer))",
        "CREATE INDEX sources_by_answer ON sources (answer)",
        """CREATE TABLE labels (
            id INTEGER PRIMARY KEY AUTOINCREMENT, entry INTEGER NOT NULL, answer INTEGER NOT NULL, asked TEXT NOT NULL,
            same INTEGER NOT NULL, how TEXT NOT NULL, given_ns INTEGER NOT NULL
        )""",
        "CREATE INDEX labels_by_answer ON labels (answer)",
    ),
    # Whether an answer may be served is read for twenty of them in each look-up: without their bodies.
    ("CREATE INDEX answers_live ON answers (id, quarantined, expires_ns, tried, same, partition)",),
)


class Tables:
    """A connection to change the file below `folder` and one to read it; any thread may use them, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._turn = threading.RLock()
        self._reading = threading.RLock()
        with self._refusing():
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            # A lookup must not wait until the disk has what another thread writes.
            self._reader = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except (sqlite3.Error, StoreError):
                self.close()
                raise

    def _open(self) -> None:
        run = self._connection.execute
        write_ahead(self._connection, WAIT)
        # A commit is on the disk: what was deleted must not come back after a power cut. It costs a sync a miss, in a
        # thread, and a miss waits for a model.
        run("PRAGMA synchronous=FULL")
        run("PRAGMA secure_delete=ON")
        run("BEGIN IMMEDIATE")
        try:
            version = int(run("PRAGMA user_version").fetchone()[0])
            if version > len(MIGRATIONS):
                raise StoreError(f"{self.path} was written by a newer trimtab: upgrade, or name another folder")
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    run(statement)
            run(f"PRAGMA user_version={len(MIGRATIONS)}")
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: whole at the end, undone on any error. StoreBusy, StoreError."""
        with self._turn, self._refusing():
            within = self._connection.in_transaction  # of another change, of the same thread
            if within:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for statements that change nothing; it sees what was committed."""
        with self._reading, self._refusing():
            yield self._reader

    def empty_log(self) -> None:
        """Overwrite what the write-ahead log still holds of deleted rows; where a reader is busy, the next one does."""
        with self._turn, self._refusing():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._turn, self._reading:
            self._connection.close()
            self._reader.close()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be made ({error.strerror}): check the folder's permissions"
            ) from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreBusy(f"another process holds {self.path}: try again") from error
            raise StoreError(f"{self.path} refused ({error}): move the file away, the cache fills anew") from error
