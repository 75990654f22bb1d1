"""A line to a model server: one connection, one request at a time, HTTP/1.1 as httptools reads it. Knows no models.

An answer is taken in pieces as they come. A connection is only used again after an answer that was whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import httptools

# A server whose headers do not end within this is talking something else.
_MAX_HEAD_BYTES = 256 * 1024
# So much of an answer is held for a reader that is slower; then the server has to wait.
_MAX_HELD_BYTES = 256 * 1024

Headers = list[tuple[bytes, bytes]]


class Broken(Exception):
    """The connection gave no whole answer; the text says why, without addresses and header values."""


class Late(Exception):
    """What was asked for did not come before the line's deadline."""


class Line(asyncio.Protocol):
    """`send` a request, await `head`, then `read` until it returns nothing. `close` at any time.

    `status` and `headers` (names in lower case) are there after `head`, each name's last value in `fields`; `whole`
    says that the answer has ended as it should, `heard` that a part of it has come, `may_be_stale` that the server may
    have given the line up just before it was used again.
    """

    def __init__(self) -> None:
        self.transport: Any = None
        self.status = 0
        self.headers: Headers = []
        self.fields: dict[bytes, bytes] = {}
        self.whole = True
        self.heard = False
        self.may_be_stale = False
        self._parser: Any = None
        self.loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._has_head = False
        self._ends_with_connection = False
        self._sink: Callable[[bytes], bool] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._head_bytes = 0
        self._paused = False
        self._failure: Broken | Late | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_free(self) -> bool:
        """Whether another request may be sent."""
        return self.whole and self._failure is None and not self.transport.is_closing()

    def send(self, request: bytes) -> None:
        """Send one request; only where the line `is_free`."""
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers = []
        self.whole = self.heard = self._has_head = False
        self._head_bytes = 0
        self.transport.write(request)

    def due(self, when: float) -> None:
        """Whoever waits at `when`, by the loop's clock, gets Late, unless `in_time` is called before."""
        self._deadline = self.loop.call_at(when, self.fail, Late())

    def in_time(self) -> None:
        """The deadline no longer holds."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def head(self) -> None:
        """Wait for the answer's headers; Broken where none come."""
        while not self._has_head:
            await self._news()

    async def read(self) -> bytes:
        """What has come since the last time, at least one byte; nothing at the end. Broken where it is cut."""
        while not self._pieces:
            if self.whole:
                return b""
            await self._news()
        return self._taken()

    def rest(self) -> bytes | None:
        """What has come since the last time, where that is the answer's end; None where there is more to come."""
        if not self.whole:
            return None
        return self._taken() if self._pieces else b""

    async def pour(self, sink: Callable[[bytes], bool]) -> bool:
        """Give `sink` each piece the moment it comes, without a turn of the event loop in between, until it returns
        False. True at the end of the answer; Broken where it is cut."""
        if self._pieces and not sink(self._taken()):
            return False
        self._sink = sink
        try:
            while self._pours:
                if self.whole:
                    return True
                await self._news()
        finally:
            self._sink = None
        return False

    @property
    def _pours(self) -> bool:
        return self._sink is not None

    def _taken(self) -> bytes:
        """What is held; the server may send more."""
        pieces, self._pieces, self._held = self._pieces, [], 0
        if self._paused:
            self._paused = False
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                self.transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def fail(self, failure: Broken | Late) -> None:
        """Whoever reads gets `failure`; the connection is of no use any more."""
        if self._failure is None and not self.whole:
            self._failure = failure
            self._wake()
        self.close()

    def close(self) -> None:
        """Cut the connection at once."""
        self.in_time()
        if self.transport is not None:
            self.transport.abort()

    def _news(self) -> asyncio.Future[None]:
        """Done when something has come, or will never; for one who waits at a time."""
        if self._failure is not None:
            raise self._failure
        self._waiter = waiter = self.loop.create_future()
        return waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        taken = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            # Small requests leave at once.
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self.whole:
            # Nothing was asked for: it would be taken for the answer to the next request.
            return self.close()
        if not self._has_head:
            self._head_bytes += len(data)
        failure = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            failure = Broken("what it sent is no HTTP/1.1")
        if not self._has_head and self._head_bytes > _MAX_HEAD_BYTES:
            failure = Broken("its headers do not end")
        if self._sink is not None and self._pieces and not self._sink(self._taken()):
            self._sink = None
        if failure is not None:
            return self.fail(failure)
        if self._sink is not None and not self.whole:
            return None
        if self._held > _MAX_HELD_BYTES and not self._paused and not self.whole:
            self._paused = True
            self.transport.pause_reading()
        self._wake()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.whole and self._failure is None:
            if self._ends_with_connection and self._has_head and exc is None:
                self.whole = True
            else:
                self._failure = Broken(_lost(exc))
        self._wake()

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status: int = self._parser.get_status_code()
        if status < 200:
            self.headers = []  # an interim answer; the real one follows
            return
        if self._has_head:
            raise httptools.HttpParserError("two answers to one request")
        self.status = status
        self._has_head = True
        self.fields = fields = dict(self.headers)
        self._ends_with_connection = b"content-length" not in fields and b"transfer-encoding" not in fields

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        if not self._has_head:
            return  # the interim answer's end
        self.whole = True
        if not self._parser.should_keep_alive():
            self.transport.close()


def _lost(error: Exception | None) -> str:
    return "the connection ended" if error is None else f"the connection was lost: {type(error).__name__}"
