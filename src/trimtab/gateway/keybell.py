"""The bell of a folder's keys: who changes a key rings, and a serving process hears it without asking the database.

Eight bytes in a file that the listener maps. A ring is a random number, so none is mistaken for an earlier one. It only
says that something changed; the truth is in the database. A ring that fails is made up for by those who look there.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path

from trimtab.gateway import keydb

_NAME = "keys.bell"
_SIZE = 8


def ring(folder: Path) -> None:
    """Tell the folder's listeners that a change of keys was committed."""
    with contextlib.suppress(OSError):
        # Never shortened: a listener has it mapped.
        bell = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(bell, os.urandom(_SIZE), 0)
        finally:
            os.close(bell)


class Listener:
    """Hears the bell of `folder`; StoreError where it cannot. For one thread, save `ring`."""

    def __init__(self, folder: Path) -> None:
        path = folder / _NAME
        try:
            bell = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(bell).st_size < _SIZE:
                    os.ftruncate(bell, _SIZE)
                self._page = mmap.mmap(bell, _SIZE, prot=mmap.PROT_READ)
            finally:
                os.close(bell)
        except OSError as error:
            raise keydb.unusable(path, error) from error
        self._heard = self._page[:]
        self._rung = False

    def heard(self) -> bool:
        """Whether it has rung since this was asked last. What is read of the database from now on is as new as that."""
        now = self._page[:]
        if now == self._heard and not self._rung:
            return False
        self._heard, self._rung = now, False
        return True

    def ring(self) -> None:
        """As if it had rung; from any thread."""
        self._rung = True

    def close(self) -> None:
        self._page.close()
