"""Switching a SQLite file to its write-ahead log, also while another process does the same."""

from __future__ import annotations

import random
import sqlite3
import time

_PAUSE_S = 0.002, 0.02


def write_ahead(connection: sqlite3.Connection, wait_s: float) -> None:
    """Take the write-ahead log, for at most `wait_s` seconds. sqlite3.OperationalError where that is not enough.

    Of two connections that switch a new file at once SQLite refuses one at once, whatever its busy timeout: each reads
    the file while it asks for it alone, and to wait would be a deadlock (sqlite.org/wal.html, sqlite3_busy_handler).
    """
    give_up = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
        time.sleep(random.uniform(*_PAUSE_S))
