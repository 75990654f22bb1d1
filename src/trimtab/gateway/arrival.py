"""An answer as it arrives from a model server: a stream is held back until it has begun, then watched for silence."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from trimtab.endpoint import Endpoint
from trimtab.gateway import sse
from trimtab.gateway.chain import UpstreamFailed
from trimtab.gateway.disclosure import Strike
from trimtab.gateway.line import Broken, Line
from trimtab.gateway.opening import Sign, sign
from trimtab.gateway.unpacking import PackedWrongly, Unpacked, is_packed
from trimtab.trace import EndState

# A prelude longer than this is passed on, content or not.
_MAX_HELD = 256 * 1024
_LOOK_S = 0.5


class Arrival(AsyncIterator[bytes]):
    """The bytes of one answer as they come: `whole` reads a plain one; `open` a stream's beginning, then iterate.

    Raises UpstreamFailed: cut, and for streams stalled. Closing it half-way closes the connection, so that the upstream
    stops its work.
    """

    def __init__(self, line: Line, endpoint: Endpoint, strike: Strike, give: Callable[[Line], None]) -> None:
        self._line = line
        self._give = give
        self._endpoint = endpoint
        self._strike = strike
        self._loop = line.loop
        self._began = self._loop.time()
        self._held: list[bytes] = []
        self._is_closed = False
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silent = False
        self._late = ""
        self._reading = self._reader()

    def _reader(self) -> Callable[[], Awaitable[bytes]]:
        line = self._line
        coding = line.fields.get(b"content-encoding")
        if coding is None:
            return line.read
        try:
            return Unpacked(line.read, coding).read if is_packed(coding) else line.read
        except PackedWrongly as error:
            self.close()
            raise self._cut(str(error), "upstream_cut", EndState.UPSTREAM_ERROR) from error

    async def whole(self, limit: int) -> bytes:
        """A plain answer's body; UpstreamFailed also beyond `limit` bytes."""
        if self.can_pour and (all_of_it := self._line.rest()) is not None and len(all_of_it) <= limit:
            return self._strike(all_of_it)
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
                    self._begin()
                    return None
                if seen is Sign.END or not data:
                    message = f"endpoint '{self._endpoint.name}' ended the stream before it said anything: ask again"
                    raise UpstreamFailed(message, status=502, code="stream_cut", end=EndState.CUT)
        self._begin()
        return None

    def _begin(self) -> None:
        """From now on silence ends it."""
        if not self._line.whole:
            self._timer = self._loop.call_later(_LOOK_S, self._look)

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

    @property
    def can_pour(self) -> bool:
        return self._reading == self._line.read

    async def pour(self, sink: Callable[[bytes], bool]) -> bool:
        """Give `sink` each piece the moment it comes, until it returns False; True at the end of the stream. Only where
        it `can_pour`. Raises as iterating does, and may be mixed with it."""

        now, strike = self._loop.time, self._strike

        def pass_on(data: bytes) -> bool:
            self._waiting_since = now()
            return sink(strike(data) if strike.key else data)

        if self._held:
            held, self._held = b"".join(self._held), []
            if not sink(held):
                return False
        self._waiting_since = self._loop.time()
        try:
            ended = await self._line.pour(pass_on)
        except Broken as error:
            raise self._broken(error) from error
        self._waiting_since = None
        if ended:
            self.close()
        return ended

    async def _read(self, code: str = "stream_cut", end: EndState = EndState.CUT) -> bytes:
        self._waiting_since = self._loop.time()
        try:
            data = await self._reading()
        except (Broken, PackedWrongly) as error:
            raise self._broken(error, code, end) from error
        self._waiting_since = None
        return self._strike(data)

    def _broken(self, error: Exception, code: str = "stream_cut", end: EndState = EndState.CUT) -> UpstreamFailed:
        self.close()
        if self._silent:
            silent = f"was silent for {self._endpoint.stall_s:g} s in the middle of an answer"
            message = f"endpoint '{self._endpoint.name}' {silent}"
            return UpstreamFailed(message, status=504, code="stream_stalled", end=EndState.STALLED)
        return self._cut(self._late or str(error), code, end)

    def _cut(self, why: str, code: str, end: EndState) -> UpstreamFailed:
        message = f"endpoint '{self._endpoint.name}' cut the answer ({why}): ask again"
        return UpstreamFailed(message, status=502, code=code, end=end)

    def _look(self) -> None:
        """Ends a read that waits too long. One timer an answer, looked at as it fires: a timeout object for each read
        would cost as much as reading. A reader that is not waiting is held up by its client, not by the upstream."""
        endpoint, now = self._endpoint, self._loop.time()
        silent = 0.0 if self._waiting_since is None else now - self._waiting_since
        left = min(_LOOK_S, endpoint.stall_s - silent, endpoint.stream_s - (now - self._began))
        if left <= 0:
            self._silent = silent >= endpoint.stall_s
            self._late = f"it took more than {endpoint.stream_s:g} s: raise its stream_s"
            self._line.fail(Broken(self._late))
        else:
            self._timer = self._loop.call_later(left, self._look)

    def close(self) -> None:
        """Give the line back if the answer is at its end, else cut it."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_closed:
            self._is_closed = True
            self._give(self._line)

    async def aclose(self) -> None:
        self.close()


def reason(error: Exception) -> str:
    """Why, without addresses or header values: the system's word for it, else the error's name."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
