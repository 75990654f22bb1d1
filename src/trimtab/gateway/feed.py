"""Feed: worker processes hand what is to be recorded to the one process that has the store open, over a local socket.

Each message is answered, so what a worker counts as written is on the disk. A message that got no answer is sent again:
the store takes each call once.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trimtab import errors
from trimtab.errors import StoreBusy, StoreError
from trimtab.gateway.recorder import Writer
from trimtab.store.entry import Entry
from trimtab.trace import EncodedRecord, Record, Score

if TYPE_CHECKING:
    from trimtab.store.spill import Spill

_SIZE = 8
_MAX_BYTES = 2**31
# One message holds about so much at most; a single call may be larger.
_BATCH_BYTES = 16 * 1024 * 1024
# How long the recording process may be away, for instance while another is started in its place.
_PATIENCE_S = 15.0
# And how long it may take over one message: an errand may hold it up. Its death is noticed at once.
_ANSWER_S = 600.0


class Message(msgspec.Struct, frozen=True):
    """Records, or the scores of one trace."""

    records: tuple[EncodedRecord, ...] = ()
    trace_id: str = ""
    scores: tuple[Score, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """How many records were new; or the store's refusal, and its place in the error tree."""

    new: int = 0
    error: str = ""
    kind: str = ""


_MESSAGE = msgspec.json.Decoder(Message)
_ANSWER = msgspec.json.Decoder(Answer)


class RemoteWriter:
    """The recorder's `Writer` in a worker process: writes through the recording process that listens at `path`.

    Used by one thread. Waits for a recording process that is away; StoreError where it does not come back in time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._patience_s = _PATIENCE_S

    def append(self, records: Iterable[Record]) -> int:
        return sum(self._ask(message).new for message in _messages(records))

    def append_scores(self, trace_id: str, scores: Sequence[Score]) -> None:
        self._ask(msgspec.json.encode(Message(trace_id=trace_id, scores=tuple(scores))))

    def housekeep(self) -> None:
        """The recording process does it."""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, message: bytes) -> Answer:
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                answer = self._exchange(message)
                break
            except OSError as error:
                self.close()
                if time.monotonic() >= give_up:
                    # Whoever waits in line behind this message shall not wait as long.
                    self._patience_s = 0.0
                    raise StoreError(f"the recording process does not answer ({error}): restart the gateway") from error
                time.sleep(0.1)
        self._patience_s = _PATIENCE_S
        if answer.error:
            kind = getattr(errors, answer.kind, StoreError)
            raise (kind if issubclass(kind, StoreError) else StoreError)(answer.error)
        return answer

    def _exchange(self, message: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_ANSWER_S)
            self._socket.connect(str(self._path))
        self._socket.sendall(len(message).to_bytes(_SIZE, "big") + message)
        return _ANSWER.decode(self._read(int.from_bytes(self._read(_SIZE), "big")))

    def _read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size and self._socket is not None:
            piece = self._socket.recv(min(size, 2**20))
            if not piece:
                raise ConnectionResetError("it ended")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _messages(records: Iterable[Record]) -> Iterator[bytes]:
    """The records, encoded, in messages of a bounded size."""
    batch: list[bytes] = []
    size = 0
    for record in records:
        encoded = msgspec.json.encode(record)
        if batch and size + len(encoded) > _BATCH_BYTES:
            yield b'{"records":[' + b",".join(batch) + b"]}"
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded)
    if batch:
        yield b'{"records":[' + b",".join(batch) + b"]}"


class Intake:
    """The other end: serves `listener` and writes what comes into `writer`, one message after the other; into the
    `spill` while the store is locked."""

    def __init__(self, listener: socket.socket, writer: Writer, spill: Spill | None = None) -> None:
        self._listener = listener
        self._writer = writer
        self._spill = spill
        self._connections: set[asyncio.StreamWriter] = set()

    async def run(self, ending: asyncio.Event) -> None:
        """Until `ending` is set and what the workers sent before is written."""
        server = await asyncio.start_unix_server(self._serve, sock=self._listener)
        await ending.wait()
        # At least once: a worker may have connected, sent and ended before it was heard.
        await asyncio.sleep(0.1)
        while self._connections:
            await asyncio.sleep(0.05)
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(_SIZE), "big")
                if size > _MAX_BYTES:
                    return
                answer = msgspec.json.encode(self._write(await reader.readexactly(size)))
                writer.write(len(answer).to_bytes(_SIZE, "big") + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return  # The worker ended; what it had not sent whole was not acknowledged.
        finally:
            self._connections.discard(writer)
            writer.close()

    def _write(self, content: bytes) -> Answer:
        try:
            message = _MESSAGE.decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            return Answer(error=f"the recording process cannot read a record: {error}", kind="StoreError")
        try:
            if message.scores:
                self._writer.append_scores(message.trace_id, message.scores)
            return Answer(new=self._writer.append(message.records) if message.records else 0)
        except StoreBusy as error:
            return self._spilled(message, error)
        except StoreError as error:
            return Answer(error=str(error), kind=type(error).__name__)

    def _spilled(self, message: Message, error: StoreBusy) -> Answer:
        entries = [Entry(record) for record in message.records]
        if message.scores:
            entries.append(Entry(trace_id=message.trace_id, scores=message.scores))
        if self._spill is not None and self._spill.append(entries) == len(entries):
            return Answer(new=len(message.records))
        return Answer(error=str(error), kind=type(error).__name__)
