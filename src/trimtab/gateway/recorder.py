"""Recorder: takes finished calls off the request path; one thread writes them to the store in batches.

Never blocks a request and never fails one: when its memory is full or the store refuses, it drops and counts.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from trimtab.errors import DiskFull, TrimtabError
from trimtab.gateway import wire
from trimtab.trace import Call, Payload, Record, Score

log = logging.getLogger("trimtab.gateway")

FLUSH_S = 0.2
_MAX_WAITING_BYTES = 256 * 1024 * 1024
_BATCH = 500


class Writer(Protocol):
    """What the recorder needs of the store (`trimtab.store.traces.TraceWriter`)."""

    def append(self, records: Sequence[Record]) -> int: ...

    def append_scores(self, trace_id: str, scores: Sequence[Score]) -> None: ...

    def close(self) -> None: ...


class _Item(msgspec.Struct, frozen=True):
    """One call with its bodies still undecoded, or scores of a trace."""

    size: int
    call: Call | None = None
    request: bytes | None = None
    response: bytes | dict[str, Any] | None = None
    trace_id: str = ""
    scores: tuple[Score, ...] = ()


class Recorder:
    """`submit` from the event loop; `close` writes what still waits. `writer` None records nothing.

    `waiting`, `dropped`, `written` and `failed` count records since the start.
    """

    def __init__(self, writer: Writer | None, *, limit: int, bodies: bool) -> None:
        self.dropped = 0
        self.failed = 0
        self.written = 0
        self._writer = writer
        self._limit = limit
        self._bodies = bodies
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._bytes_in = 0
        self._bytes_out = 0
        self._closing = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="trimtab-recorder", daemon=True)
        if writer is not None:
            self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def healthy(self) -> bool:
        return self._writer is None or self._thread.is_alive()

    def counts(self) -> dict[str, int]:
        return {"waiting": self.waiting, "written": self.written, "dropped": self.dropped, "failed": self.failed}

    def submit(self, call: Call, request: bytes | None, response: bytes | dict[str, Any] | None, size: int) -> None:
        """Take one finished call; `size` is about the bytes that its bodies hold in memory."""
        if self._bodies:
            self._put(_Item(size=size, call=call, request=request, response=response))
        else:
            self._put(_Item(size=0, call=call))

    def submit_scores(self, trace_id: str, scores: Sequence[Score]) -> None:
        self._put(_Item(size=0, trace_id=trace_id, scores=tuple(scores)))

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits, then close the store."""
        if self._writer is None:
            return
        self._closing.set()
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _put(self, item: _Item) -> None:
        if self._writer is None:
            return
        waiting_bytes = self._bytes_in - self._bytes_out
        if self._queue.qsize() >= self._limit or waiting_bytes + item.size > _MAX_WAITING_BYTES:
            self.dropped += 1
            return
        self._bytes_in += item.size
        self._queue.put(item)

    def _run(self) -> None:
        writer = self._writer
        if writer is None:
            return
        more = True
        while more:
            first = self._queue.get()
            if first is not None and self._queue.qsize() < _BATCH:
                self._closing.wait(FLUSH_S)
            batch, more = self._gather(first)
            self._write(writer, batch)
            self._bytes_out += sum(item.size for item in batch)
        try:
            writer.close()
        except (TrimtabError, OSError) as error:
            log.error("the trace store did not close well: %s", error)

    def _gather(self, first: _Item | None) -> tuple[list[_Item], bool]:
        """A batch that begins with `first`; False with it once the end mark was taken and nothing waits."""
        batch = [] if first is None else [first]
        more = first is not None
        while len(batch) < _BATCH:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                more = False
            else:
                batch.append(item)
        if not more and not self._queue.empty():
            self._queue.put(None)
            more = True
        return batch, more

    def _write(self, writer: Writer, batch: Sequence[_Item]) -> None:
        records = [_record(item.call, item.request, item.response) for item in batch if item.call is not None]
        try:
            if records:
                writer.append(records)
            for item in batch:
                if item.call is None:
                    writer.append_scores(item.trace_id, item.scores)
        except (TrimtabError, OSError) as error:
            if len(batch) > 1 and not isinstance(error, DiskFull):
                # One record that the store cannot take must not cost the others; sending twice is harmless.
                for item in batch:
                    self._write(writer, [item])
                return
            self.failed += len(batch)
            if not self._warned:
                log.error("traces are being lost, serving goes on: %s", error)
            self._warned = True
        else:
            self.written += len(batch)
            self._warned = False


def _record(call: Call, request: bytes | None, response: bytes | dict[str, Any] | None) -> Record:
    asked = wire.value(request) if request is not None else None
    if not isinstance(asked, dict):
        return Record(call)
    answered = wire.value(response) if isinstance(response, bytes) else response
    return Record(call, Payload(call.id, asked, answered if isinstance(answered, dict) else None))
