"""An answer as it arrives from a model server: a stream is held back until it has begun, then watched for silence."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Self

import aiohttp
from aiohttp.http import HttpProcessingError

from trimtab.endpoint import Endpoint
from trimtab.gateway import sse
from trimtab.gateway.chain import UpstreamFailed
from trimtab.gateway.disclosure import Strike
from trimtab.gateway.opening import Sign, sign
from trimtab.trace import EndState

# What reading from a broken connection raises.
BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError)
# A prelude longer than this is passed on, content or not.
_MAX_HELD = 256 * 1024
_LOOK_S = 0.5


class Arrival(AsyncIterator[bytes]):
    """The bytes of one answer as they come: `whole` reads a plain one; `open` a stream's beginning, then iterate.

    Raises UpstreamFailed: cut, and for streams stalled. Closing it half-way closes the connection, so that the upstream
    stops its work.
    """

    def __init__(self, response: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
        self._response = response
        self._content = response.content
        self._endpoint = endpoint
        self._strike = Strike(endpoint)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._held: list[bytes] = []
        self._is_open = False
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silent = False
        self._late = ""
        if not self._content.is_eof():
            self._timer = self._loop.call_later(_LOOK_S, self._look)

    async def whole(self, limit: int) -> bytes:
        """A plain answer's body; UpstreamFailed also beyond `limit` bytes."""
        pieces: list[bytes] = []
        size = 0
        while data := await self._read("upstream_cut", EndState.UPSTREAM_ERROR):
            size += len(data)
            if size > limit:
                message = f"endpoint '{self._endpoint.name}' answered with more than {limit} bytes: ask for less"
                raise UpstreamFailed(message, status=502, code="upstream_too_large")
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else self._strike(b"".join(pieces))

    async def open(self) -> bytes | None:
        """Wait for the first event with content and keep all until there for the iterator.

        An error event that comes instead is returned; a stream that ends before raises UpstreamFailed (cut).
        """
        splitter = sse.Splitter()
        size = 0
        while size < _MAX_HELD:
            data = await self._read()
            size += len(data)
            self._held.append(data)
            for event in splitter.feed(data) if data else [splitter.tail]:
                seen = sign(event)
                if seen is Sign.ERROR:
                    return event
                if seen is Sign.CONTENT:
                    self._is_open = True
                    return None
                if seen is Sign.END or not data:
                    message = f"endpoint '{self._endpoint.name}' ended the stream before it said anything: ask again"
                    raise UpstreamFailed(message, status=502, code="stream_cut", end=EndState.CUT)
        self._is_open = True
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._held:
            held, self._held = b"".join(self._held), []
            return held
        data = await self._read()
        if not data:
            self.close()
            raise StopAsyncIteration
        return data

    async def _read(self, code: str = "stream_cut", end: EndState = EndState.CUT) -> bytes:
        self._waiting_since = self._loop.time()
        try:
            data = await self._content.readany()
        except BROKEN as error:
            self.close()
            name = self._endpoint.name
            if self._silent:
                message = f"endpoint '{name}' was silent for {self._endpoint.stall_s:g} s in the middle of an answer"
                raise UpstreamFailed(message, status=504, code="stream_stalled", end=EndState.STALLED) from error
            message = f"endpoint '{name}' cut the answer ({self._late or reason(error)}): ask again"
            raise UpstreamFailed(message, status=502, code=code, end=end) from error
        self._waiting_since = None
        return self._strike(data)

    def _look(self) -> None:
        """Ends a read that waits too long. One timer an answer, looked at as it fires: a timeout object for each read
        would cost as much as reading. A reader that is not waiting is held up by its client, not by the upstream."""
        endpoint, now = self._endpoint, self._loop.time()
        silent = 0.0 if self._waiting_since is None else now - self._waiting_since
        left = _LOOK_S
        if self._is_open:
            left = min(left, endpoint.stall_s - silent, endpoint.stream_s - (now - self._began))
        if left <= 0:
            self._silent = silent >= endpoint.stall_s
            self._late = f"it took more than {endpoint.stream_s:g} s: raise its stream_s"
            self._content.set_exception(TimeoutError())
        elif silent and self._is_lost:
            self._content.set_exception(aiohttp.ClientPayloadError("connection lost"))
        else:
            self._timer = self._loop.call_later(left, self._look)

    @property
    def _is_lost(self) -> bool:
        """After bytes that are no HTTP the client closes the connection, but leaves its reader waiting."""
        connection = self._response.connection
        return connection is not None and connection.transport is None and not self._content.is_eof()

    def close(self) -> None:
        """Give the connection back if the answer is at its end, else cut it."""
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()

    async def aclose(self) -> None:
        self.close()


def reason(error: Exception) -> str:
    """Why, without addresses or header values: the system's word for it, else the error's name."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
