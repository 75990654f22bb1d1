"""Waiting: finished calls in memory, bounded in number and in bytes, on their way from the event loop to one thread."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

import msgspec

from trimtab.gateway.attribution import fingerprint_of
from trimtab.store.entry import Entry
from trimtab.trace import Call, EncodedPayload, Payload, Record, Score, members


class Item(msgspec.Struct, frozen=True):
    """One call with its bodies still undecoded, or scores of a trace; `size` is about the bytes that it holds.

    Without `bodies` the request is there for its fingerprint alone.
    """

    size: int
    call: Call | None = None
    request: bytes | None = None
    response: bytes | dict[str, Any] | None = None
    bodies: bool = True
    trace_id: str = ""
    scores: tuple[Score, ...] = ()

    def entry(self) -> Entry:
        """As the store takes it: bodies taken apart and not decoded. A body that is no JSON object is left out.

        An agent that nobody named gets a name here, after the answer.
        """
        call = self.call
        if call is None:
            return Entry(trace_id=self.trace_id, scores=self.scores)
        asked = _members(self.request)
        if asked is None:
            return Entry(Record(call))
        if not call.agent and (name := fingerprint_of(asked)):
            call = msgspec.structs.replace(call, agent=name, derived=True)
        return Entry(Record(call, self._payload(call.id, asked) if self.bodies else None))

    def _payload(self, call_id: str, asked: dict[str, msgspec.Raw]) -> Payload | EncodedPayload:
        answered = self.response
        if not isinstance(answered, dict):
            return EncodedPayload(call_id, asked, _members(answered))
        try:
            return EncodedPayload(call_id, asked, _members(msgspec.json.encode(answered)))
        except (UnicodeError, RecursionError, OverflowError):
            # What becomes of both is the store's affair.
            return Payload(call_id, EncodedPayload(call_id, asked, None).decoded().request, answered)


def _members(body: bytes | None) -> dict[str, msgspec.Raw] | None:
    try:
        return members(body) if body is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Waiting:
    """At most `limit` items, and `max_bytes` of what they hold. `put` from the event loop, the rest from one thread."""

    def __init__(self, limit: int, max_bytes: int) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        # Two sums and no lock: each is added to by one side alone.
        self._bytes_in = 0
        self._bytes_out = 0

    def __len__(self) -> int:
        return self._queue.qsize()

    def put(self, item: Item) -> bool:
        """Take `item`, or say that there is no room. Never waits."""
        waiting_bytes = self._bytes_in - self._bytes_out
        if self._queue.qsize() >= self._limit or waiting_bytes + item.size > self._max_bytes:
            return False
        self._bytes_in += item.size
        self._queue.put(item)
        return True

    def wake(self) -> None:
        """End the wait of `take`."""
        self._queue.put(None)

    def take(self, most: int, timeout_s: float) -> list[Item]:
        """Up to `most` items; waits for the first, `timeout_s` at most."""
        items: list[Item] = []
        try:
            while len(items) < most:
                wait = timeout_s > 0 and not items
                item = self._queue.get(timeout=timeout_s) if wait else self._queue.get_nowait()
                if item is None:
                    break
                items.append(item)
        except queue.Empty:
            pass
        return items

    def release(self, items: Sequence[Item]) -> None:
        """`items` are done with: their bytes are free again."""
        self._bytes_out += sum(item.size for item in items)
