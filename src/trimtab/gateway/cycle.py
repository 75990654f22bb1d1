"""One request on a client's connection and the answer to it: uvicorn's, with less to do for each.

Headers are not checked again (`leg.returned` and `Account` let no unsound ones through), a plain answer leaves in one
write, and who answers is told of a hang-up by a call instead of waiting for it in a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from trimtab.gateway import wire

# The key in `scope["extensions"]` of the Cycle: `watch`, `write` and `answer` are more than ASGI has.
CYCLE = "trimtab.cycle"
Gone = Callable[["asyncio.Task[None]"], None]
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def _nothing() -> None:
    """There is nobody left to tell."""


class Bell:
    """What `asyncio.Event` does here, for one waiter."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        self._rung = False

    async def wait(self) -> None:
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


class Cycle(RequestResponseCycle):
    """`length` is the request's Content-Length, if any. `gone` is called once, with the request's `task`, when the
    client hangs up before its answer is whole."""

    task: asyncio.Task[None]
    gone: Gone | None = None
    disconnected = response_started = response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    more_body = True
    _head: bytes = b""

    def __init__(self, connection: HttpToolsProtocol, scope: Any, length: bytes, keep_alive: bool) -> None:
        # uvicorn's own, without what is always the same here.
        self.scope = scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.logger = connection.logger
        self.message_event = Bell()  # type: ignore[assignment]
        self.on_response = connection.on_response_complete
        self._tasks = connection.tasks
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = connection.expect_100_continue
        self.length = length
        self.body = bytearray()

    def ended(self, task: asyncio.Task[None]) -> None:
        """The request's task is over: without an answer that is whole, something is wrong with this program."""
        self._tasks.discard(task)
        self.on_response = _nothing
        error = None if task.cancelled() else task.exception()
        if error is None and (self.response_complete or self.disconnected):
            return
        if error is not None:
            self.logger.error("a request failed", exc_info=error)
        if self.response_started or self.disconnected:
            self.transport.close()
        else:
            self.keep_alive = False
            content = wire.error_body("the gateway failed: look at its log", "server_error", code="internal_error")
            headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)))
            self._start({"status": 500, "headers": headers})
            self._go_on(content, more=False)

    def whole(self) -> bytes | None:
        """The request's body, where all of it has come; once, instead of `receive`."""
        if self.more_body or self.disconnected or self.response_complete:
            return None
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        self.flow.resume_reading()
        return body

    def watch(self, gone: Gone | None) -> None:
        """Call `gone` when the client hangs up, at once where it has; None: do not."""
        self.gone = gone
        if gone is not None and self.disconnected:
            self.lose()

    def lose(self) -> None:
        """The client hung up."""
        self.disconnected = True
        self.message_event.set()
        gone, self.gone = self.gone, None
        if gone is not None:
            gone(self.task)

    def write(self, data: bytes) -> bool:
        """Send the next piece of a begun answer; False where `send` should wait for room before the next one."""
        if self.chunked_encoding and not self._head and not self.disconnected:
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif not self.disconnected:
            self._go_on(data, more=True)
        return not self.flow.write_paused

    async def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer; `headers` without its length."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = True
        lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        last = b"" if self.keep_alive else b"connection: close\r\n"
        first = _STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status
        self.transport.write(b"%b%bcontent-length: %d\r\n%b\r\n%b" % (first, lines, len(body), last, body))
        self._complete()

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message)
        elif not self.response_complete:
            self._go_on(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError("the answer was complete already")

    def _start(self, message: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        status = message["status"]
        lines = [_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status]
        for name, value in message["headers"]:
            lines += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                self.chunked_encoding = False
                self.expected_content_length = int(value)
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and status not in (204, 304) and self.scope["method"] != "HEAD":
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        if self.chunked_encoding:
            # The first piece may be long in coming.
            self._write(b"")

    def _write(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if head or data:
            self.transport.write(head + data if head else data)

    def _go_on(self, body: bytes, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            self._write(b"")
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._write(chunk if more else chunk + b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the answer is not as long as its content-length says")
            self._write(body)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.gone = None
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
