"""Collapse: of the same request asked several times at once, one goes upstream and the others wait for its answer.

Within one process. Who waits is never worse off than alone: if the first one fails or takes too long, it asks itself.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Held = TypeVar("Held")


class Flight(Generic[Held]):
    """One request under way. Its leader must `land` it, whatever happens."""

    def __init__(self, flights: Flights[Held], key: str) -> None:
        self._flights = flights
        self._key = key
        self._landed: asyncio.Future[Held | None] = asyncio.get_running_loop().create_future()
        self.waiting = 0

    def land(self, held: Held | None) -> None:
        """The answer, or None where there is none for others. Only the first call counts."""
        if not self._landed.done():
            self._flights.leave(self._key, self)
            self._landed.set_result(held)

    async def wait(self, patience_s: float) -> Held | None:
        """What the leader brought; None after `patience_s`."""
        self.waiting += 1
        try:
            return await asyncio.wait_for(asyncio.shield(self._landed), patience_s)
        except TimeoutError:
            return None
        finally:
            self.waiting -= 1


class Flights(Generic[Held]):
    """Those under way, by key; for one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[str, Flight[Held]] = {}

    def board(self, key: str) -> tuple[Flight[Held], bool]:
        """The flight of `key`, and whether the caller leads it."""
        flight = self._under_way.get(key)
        if flight is not None:
            return flight, False
        flight = self._under_way[key] = Flight(self, key)
        return flight, True

    def leave(self, key: str, flight: Flight[Held]) -> None:
        if self._under_way.get(key) is flight:
            del self._under_way[key]

    def __len__(self) -> int:
        return len(self._under_way)
