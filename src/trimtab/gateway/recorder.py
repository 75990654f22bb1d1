"""Recorder: takes finished calls off the request path; one thread writes them to the store in batches.

Never blocks a request and never fails one: what does not fit its memory spills to the disk by another thread, and where
that is full too, or the store refuses, it drops and counts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.errors import DiskFull, StoreBusy, TrimtabError
from trimtab.gateway.overflow import Overflow
from trimtab.gateway.waiting import Item, Waiting
from trimtab.store.entry import Entry
from trimtab.trace import Call, Record, Score

if TYPE_CHECKING:
    from trimtab.store.spill import Spill

log = logging.getLogger("trimtab.gateway")

FLUSH_S = 0.2
_MAX_WAITING_BYTES = 256 * 1024 * 1024
_BATCH = 500
# A store that has not answered for so long gets no new calls: they go to the spill, so that a death costs few of them.
_PATIENCE_S = 0.5
# How often the thread looks after the store when no call comes.
_IDLE_S = 1.0
# Of the time there is for closing, this much may go into writing what was spilled; the next start does the rest.
_CLOSING_S = 10.0


class Writer(Protocol):
    """What the recorder needs of the store (`trimtab.store.traces.TraceWriter`)."""

    def append(self, records: Iterable[Record]) -> int: ...

    def append_scores(self, trace_id: str, scores: Sequence[Score]) -> None: ...

    def housekeep(self) -> None: ...

    def close(self) -> None: ...


class Recorder:
    """`submit` from the event loop; `close` writes what still waits. `writer` None records nothing.

    `keeps` says of the model that a client asked for whether 'full', 'metadata' or 'off' is recorded; it may be set
    anew at any time. `written` and `failed` count records since the start, as do the other figures of `counts`.
    """

    def __init__(
        self, writer: Writer | None, *, limit: int, keeps: Callable[[str], str], spill: Spill | None = None
    ) -> None:
        self.keeps = keeps
        self.failed = 0
        self.written = 0
        self._writer = writer
        self._waiting = Waiting(limit, _MAX_WAITING_BYTES)
        self._overflow = Overflow(spill) if spill is not None else None
        self._refused = 0
        self._closing = threading.Event()
        self._warned = False
        self._not_before = 0.0
        self._busy_since: float | None = None
        self._deferred = 0
        self._thread = threading.Thread(target=self._run, name="trimtab-recorder", daemon=True)
        if writer is not None:
            self._thread.start()

    @property
    def waiting(self) -> int:
        """Records in memory."""
        return len(self._waiting) + (len(self._overflow) if self._overflow is not None else 0)

    @property
    def dropped(self) -> int:
        return self._refused + (self._overflow.dropped if self._overflow is not None else 0)

    @property
    def spilled(self) -> int:
        return self._deferred + (self._overflow.spilled if self._overflow is not None else 0)

    @property
    def healthy(self) -> bool:
        return self._writer is None or self._thread.is_alive()

    def counts(self) -> dict[str, int]:
        counts = {"waiting": self.waiting, "written": self.written, "spilled": self.spilled}
        return {**counts, "dropped": self.dropped, "failed": self.failed}

    def submit(self, call: Call, request: bytes | None, response: bytes | dict[str, Any] | None, size: int) -> None:
        """Take one finished call; `size` is about the bytes that its bodies hold in memory."""
        kept = self.keeps(call.request_model)
        if kept == "full":
            self._put(Item(size=size, call=call, request=request, response=response))
        elif kept == "metadata":
            asked = request if not call.agent else None
            self._put(Item(size=len(asked) if asked else 0, call=call, request=asked, bodies=False))

    def submit_scores(self, trace_id: str, scores: Sequence[Score]) -> None:
        self._put(Item(size=0, trace_id=trace_id, scores=tuple(scores)))

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits, then close the store."""
        if self._writer is None:
            return
        self._closing.set()
        self._waiting.wake()
        self._thread.join(timeout_s)

    def _put(self, item: Item) -> None:
        if self._writer is None or (not self._is_stuck() and self._waiting.put(item)):
            return
        if self._overflow is None:
            self._refused += 1
        else:
            self._overflow.put(item)

    def _is_stuck(self) -> bool:
        since = self._busy_since
        return self._overflow is not None and since is not None and time.monotonic() - since > _PATIENCE_S

    def _run(self) -> None:
        writer = self._writer
        if writer is None:
            return
        while not (self._closing.is_set() and not len(self._waiting)):
            batch = self._gathered()
            self._busy_since = time.monotonic()
            self._write(writer, batch)
            self._waiting.release(batch)
            if len(batch) < _BATCH and not self._closing.is_set():
                self._look_after(writer)
            self._busy_since = None
        self._end(writer)

    def _gathered(self) -> list[Item]:
        """The next batch: what came within FLUSH_S of its first, or nothing where nothing came for a while."""
        spilled = self._overflow is not None and bool(self._overflow.spill)
        batch = self._waiting.take(1, 0.01 if spilled and time.monotonic() >= self._not_before else _IDLE_S)
        if batch and len(self._waiting) < _BATCH:
            self._closing.wait(FLUSH_S)
        return batch + self._waiting.take(_BATCH - 1, 0) if batch else []

    def _look_after(self, writer: Writer) -> None:
        """A piece of the spill, while nothing else is to be done, and what the store has to do of itself."""
        if time.monotonic() < self._not_before:
            return
        try:
            self._replay(writer)
            writer.housekeep()
        except (TrimtabError, OSError) as error:
            self._warn(f"the trace store is not in order: {error}")
            # What refuses now will not do otherwise at once; new calls go on meanwhile.
            self._not_before = time.monotonic() + _IDLE_S

    def _replay(self, writer: Writer) -> bool:
        done = self._overflow.spill.replay(writer) if self._overflow is not None else None
        if done is None:
            return False
        self.written += done[0]
        self.failed += done[1]
        return True

    def _end(self, writer: Writer) -> None:
        give_up = time.monotonic() + _CLOSING_S
        try:
            if self._overflow is not None:
                self._overflow.close(_CLOSING_S)
                while time.monotonic() < give_up and self._replay(writer):
                    pass
                self._overflow.spill.close()
        except (TrimtabError, OSError) as error:
            log.error("what was spilled is written at the next start: %s", error)
        try:
            writer.close()
        except (TrimtabError, OSError) as error:
            log.error("the trace store did not close well: %s", error)

    def _write(self, writer: Writer, batch: Sequence[Item]) -> None:
        if not batch:
            return
        calls = [item for item in batch if item.call is not None]
        try:
            if calls:
                # Decoded one by one as the writer takes them: a whole batch of bodies at once would keep the garbage
                # collector busy.
                writer.append(record for item in calls if (record := item.entry().record) is not None)
            for item in batch:
                if item.call is None:
                    writer.append_scores(item.trace_id, item.scores)
        except StoreBusy as error:
            self._defer([item.entry() for item in batch], str(error))
        except (TrimtabError, OSError) as error:
            if len(batch) > 1 and not isinstance(error, DiskFull):
                # One record that the store cannot take must not cost the others; sending twice is harmless.
                for item in batch:
                    self._write(writer, [item])
                return
            self.failed += len(batch)
            self._warn(f"traces are being lost, serving goes on: {error}")
        else:
            self.written += len(batch)
            self._warned = False

    def _defer(self, entries: Sequence[Entry], reason: str) -> None:
        """What a locked store cannot take now goes to the spill."""
        kept = self._overflow.spill.append(entries) if self._overflow is not None else 0
        self._deferred += kept
        self.failed += len(entries) - kept
        self._warn(f"traces wait in the spill, serving goes on: {reason}")

    def _warn(self, message: str) -> None:
        if not self._warned:
            log.error("%s", message)
        self._warned = True
