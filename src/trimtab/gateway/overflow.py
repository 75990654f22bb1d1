"""Overflow: what does not fit the recorder's memory goes to the spill, by a thread of its own.

The disk that keeps the recorder waiting may keep this thread waiting too: its memory is bounded as well.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from trimtab.gateway.waiting import Item, Waiting

if TYPE_CHECKING:
    from trimtab.store.spill import Spill

_LIMIT = 2_000
_MAX_BYTES = 64 * 1024 * 1024
_BATCH = 100
_IDLE_S = 1.0


class Overflow:
    """`put` from the event loop. `spilled` counts what reached the spill, `dropped` what did not."""

    def __init__(self, spill: Spill) -> None:
        self.spill = spill
        self.spilled = 0
        # One count for each thread: two threads that add to one lose some.
        self._refused = 0
        self._lost = 0
        self._waiting = Waiting(_LIMIT, _MAX_BYTES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trimtab-spill", daemon=True)
        self._started = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def dropped(self) -> int:
        return self._refused + self._lost

    def put(self, item: Item) -> None:
        """Take `item`, or count it as dropped. Never waits."""
        if not self._started:
            self._started = True
            self._thread.start()
        if not self._waiting.put(item):
            self._refused += 1

    def close(self, timeout_s: float) -> None:
        """Spill what waits."""
        self._closing.set()
        self._waiting.wake()
        if self._started:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not (self._closing.is_set() and not len(self._waiting)):
            items = self._waiting.take(_BATCH, _IDLE_S)
            if items:
                kept = self.spill.append([item.entry() for item in items])
                self.spilled += kept
                self._lost += len(items) - kept
                self._waiting.release(items)
