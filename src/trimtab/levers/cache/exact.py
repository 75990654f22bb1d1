"""The exact tier: answers by the digest of what was asked, in this process's memory. Knows no disk."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from trimtab.levers.cache.kept import Kept

# What an entry takes beside its bytes.
_ROOM = 1024


class Memory:
    """The newest answers, at most `most_bytes` of them; the one that was asked for longest ago goes first."""

    def __init__(self, most_bytes: float, clock: Callable[[], float] = time.time) -> None:
        self._most = most_bytes
        self._clock = clock
        self._held: OrderedDict[str, tuple[Kept, float]] = OrderedDict()
        self.bytes = 0

    def get(self, key: str) -> Kept | None:
        """What is kept under `key` and has not expired."""
        found = self._held.get(key)
        if found is None:
            return None
        if found[1] <= self._clock():
            self.drop(key)
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: str, kept: Kept, expires_s: float) -> None:
        """Keep it until Unix time `expires_s`."""
        self.drop(key)
        self._held[key] = kept, expires_s
        self.bytes += len(kept.body) + _ROOM
        while self.bytes > self._most and self._held:
            self.drop(next(iter(self._held)))

    def drop(self, key: str) -> None:
        if (found := self._held.pop(key, None)) is not None:
            self.bytes -= len(found[0].body) + _ROOM

    def clear(self) -> None:
        self._held.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)
