"""Sharing: which tenants had the same answer to the same question, until they are enough that any may have it."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path

from trimtab.errors import StoreError
from trimtab.store.wal import write_ahead

_FILE = "shared.sqlite"
_WAIT_S = 5.0
_MAKE = (
    "CREATE TABLE IF NOT EXISTS seen (question TEXT, answer TEXT, tenant TEXT, PRIMARY KEY (question, answer, tenant))"
)


class Sharing:
    """Tenants are kept as digests. `least` of them must have had an answer; they themselves keep their own."""

    def __init__(self, folder: Path, least: int) -> None:
        self._least = least
        self._turn = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / _FILE
            self._connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
            write_ahead(self._connection, _WAIT_S)
            self._connection.execute(_MAKE)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{folder / _FILE} cannot be used ({error}): check the cache's folder") from error

    def seen(self, question: str, answer: str, tenant: str) -> bool:
        """Note it; whether enough tenants have had that answer now. Who has no name counts for nothing."""
        if not tenant.strip("\0"):
            return False
        whose = hashlib.sha256(tenant.encode(errors="replace")).hexdigest()
        try:
            with self._turn:
                run = self._connection.execute
                run("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (question, answer, whose))
                row = run("SELECT count(*) FROM seen WHERE question = ? AND answer = ?", (question, answer)).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"what tenants share cannot be noted ({error}): check the cache's folder") from error
        return int(row[0]) >= self._least

    def close(self) -> None:
        with self._turn:
            self._connection.close()
