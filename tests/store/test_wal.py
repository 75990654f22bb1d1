"""Processes and threads that open a new file at once all get it; one that is held for good is refused in time."""

import sqlite3
import threading
import time

import pytest

from trimtab.errors import TrimtabError
from trimtab.gateway import keydb
from trimtab.levers.cache.sharing import Sharing
from trimtab.levers.cache.tables import Tables
from trimtab.rollout.register import Register
from trimtab.store.wal import write_ahead

ROUNDS = 60
OPENERS = {
    "cache": Tables,
    "sharing": lambda folder: Sharing(folder, 2),
    "register": Register,
    "keys": lambda folder: keydb.connect(folder, wait_s=1.0),
}


@pytest.mark.parametrize("opener", OPENERS)
def test_all_who_open_a_new_file_at_once_get_it(opener, tmp_path):
    """Without trying again about one round in nine fails: enough rounds that it cannot pass by luck."""
    made, failed = OPENERS[opener], []

    def opened(folder, barrier):
        barrier.wait()
        try:
            made(folder).close()
        except (TrimtabError, sqlite3.Error) as error:
            failed.append(error)

    for place in range(ROUNDS):
        barrier = threading.Barrier(3)
        threads = [threading.Thread(target=opened, args=(tmp_path / str(place), barrier)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_a_file_that_is_held_is_refused_when_the_time_is_over(tmp_path):
    holder = sqlite3.connect(tmp_path / "held", isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    asker = sqlite3.connect(tmp_path / "held", timeout=0, isolation_level=None)
    began = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(asker, 0.1)
    assert time.monotonic() - began >= 0.1
    holder.execute("ROLLBACK")
    write_ahead(asker, 0.1)
    assert asker.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    holder.close()
    asker.close()
