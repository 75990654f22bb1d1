"""A streamed answer as it arrives from a model server: held back until it has begun, then watched for silence.

Knows the events of the three dialects only so far as to tell a prelude from content.
"""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
from aiohttp.http import HttpProcessingError

from trimtab.endpoint import Endpoint
from trimtab.gateway import sse, wire
from trimtab.gateway.chain import UpstreamFailed
from trimtab.trace import EndState

# What reading from a broken connection raises.
BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError)
# A prelude longer than this is passed on, content or not.
_MAX_HELD = 256 * 1024
# Events of the messages and responses dialects that come before any content.
_PRELUDES = frozenset(
    (
        "message_start",
        "ping",
        "content_block_start",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    )
)
# What a provider calls an error inside a stream -> the status it would have had outside.
_STATUS = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "server_error": 500,
    "api_error": 500,
    "invalid_request_error": 400,
}


class Sign(enum.Enum):
    """What one event says of how far the answer has come."""

    PRELUDE = enum.auto()
    CONTENT = enum.auto()
    ERROR = enum.auto()
    END = enum.auto()


def sign(event: bytes) -> Sign:
    """Comments, what is not JSON, and chunks that carry a role and no words are prelude."""
    data = sse.data(event)
    if data is None:
        return Sign.PRELUDE
    if data.strip() == b"[DONE]":
        return Sign.END
    chunk = wire.value(data)
    if not isinstance(chunk, dict):
        return Sign.PRELUDE
    kind, choices = chunk.get("type"), chunk.get("choices")
    if chunk.get("error") or kind in ("error", "response.failed"):
        return Sign.ERROR
    if isinstance(kind, str):
        return Sign.PRELUDE if kind in _PRELUDES else Sign.CONTENT
    if isinstance(choices, list):
        return Sign.CONTENT if any(_speaks(choice) for choice in choices) else Sign.PRELUDE
    return Sign.CONTENT  # of no known shape: not ours to hold back


def _speaks(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    said = isinstance(delta, dict) and any(held for name, held in delta.items() if name != "role")
    return bool(said or choice.get("text") or choice.get("finish_reason"))


def refusal(event: bytes) -> tuple[int, bytes]:
    """Status and body for an error event that came before any content: its own data where that has an error's shape."""
    data = sse.data(event) or b""
    chunk = wire.value(data)
    error = chunk.get("error") if isinstance(chunk, dict) else None
    for word in (error.get("code"), error.get("status"), error.get("type")) if isinstance(error, dict) else ():
        if type(word) is int and 400 <= word < 600:
            return word, data
        if isinstance(word, str) and word in _STATUS:
            return _STATUS[word], data
    if error:
        return 502, data
    response = chunk.get("response") if isinstance(chunk, dict) else None
    inner = response.get("error") if isinstance(response, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    message = message if isinstance(message, str) else "the model server failed before it said anything: ask again"
    return 502, wire.error_body(message, "upstream_error", code="stream_upstream_error")


class Arrival(AsyncIterator[bytes]):
    """The bytes of one stream as they come. `open` it first; closing it half-way closes the connection, so that the
    upstream stops its work. Raises UpstreamFailed: stalled or cut."""

    def __init__(self, response: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
        self._response = response
        self._content = response.content
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._held: list[bytes] = []
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silent = False
        self._late = ""

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
                    self._watch()
                    return None
                if seen is Sign.END or not data:
                    message = f"endpoint '{self._endpoint.name}' ended the stream before it said anything: ask again"
                    raise UpstreamFailed(message, status=502, code="stream_cut", end=EndState.CUT)
        self._watch()
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

    async def _read(self) -> bytes:
        name, self._waiting_since = self._endpoint.name, self._loop.time()
        try:
            data = await self._content.readany()
        except BROKEN as error:
            self.close()
            if self._silent:
                message = f"endpoint '{name}' was silent for {self._endpoint.stall_s:g} s in the middle of an answer"
                raise UpstreamFailed(message, status=504, code="stream_stalled", end=EndState.STALLED) from error
            message = f"endpoint '{name}' cut the answer ({self._late or reason(error)})"
            raise UpstreamFailed(message, status=502, code="stream_cut", end=EndState.CUT) from error
        self._waiting_since = None
        return data

    def _watch(self) -> None:
        """From now on silence ends the stream. One timer a stream, looked at as it fires: a timeout object for each
        read would cost as much as reading."""
        self._timer = self._loop.call_later(min(self._endpoint.stall_s, self._endpoint.stream_s), self._look)

    def _look(self) -> None:
        """A reader that is not waiting is held up by its client: that is not the upstream's silence."""
        endpoint, now = self._endpoint, self._loop.time()
        silent = 0.0 if self._waiting_since is None else now - self._waiting_since
        left = min(endpoint.stall_s - silent, endpoint.stream_s - (now - self._began))
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self._silent = silent >= endpoint.stall_s
        self._late = f"it took more than {endpoint.stream_s:g} s: raise its stream_s"
        self._content.set_exception(TimeoutError())

    def close(self) -> None:
        """Give the connection back if the stream is at its end, else cut it."""
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()

    async def aclose(self) -> None:
        self.close()


def reason(error: Exception) -> str:
    """Why, without addresses or header values: the system's word for it, else the error's name."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
