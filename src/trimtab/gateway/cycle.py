"""One request on a client's connection and the answer to it: uvicorn's, with less to do for each.

Headers are not checked again (`leg.returned` and `Account` let no unsound ones through), a plain answer leaves in one
write, and who answers is told of a hang-up by a call instead of waiting for it in a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# The key in `scope["extensions"]` of the function that takes what is to be called when the client hangs up.
WATCH = "trimtab.watch"
# And of the one that takes the next piece of a begun answer at once; whether there is room for more at the client's.
WRITE = "trimtab.write"
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


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
    """`gone` is called once when the client hangs up before its answer is whole."""

    gone: Callable[[], None] | None = None
    _head: bytes = b""

    def watch(self, gone: Callable[[], None] | None) -> None:
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
            gone()

    def write(self, data: bytes) -> bool:
        """Send the next piece of a begun answer; False where `send` should wait for room before the next one."""
        if self.chunked_encoding and not self._head and not self.disconnected:
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif not self.disconnected:
            self._go_on(data, more=True)
        return not self.flow.write_paused

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
            self.response_complete = True
            self.gone = None
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
