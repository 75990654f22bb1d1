"""The interpreter: lets a client of one dialect ask an endpoint of another; a ring round the single attempt.

So a fallback may speak another dialect than the first choice, and steps see the client's dialect alone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from typing import Self

import msgspec

from trimtab.errors import RequestRefused
from trimtab.gateway import leg, sse, wire
from trimtab.gateway.chain import Call, Notes, NotSpoken, Reply, Request, UpstreamFailed
from trimtab.gateway.dialects import table
from trimtab.gateway.dialects.crossing import Asked, Crossing
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.wire import Problem

_MAX_EVENT_BYTES = 16 * 1024 * 1024
_FAILED = "the model server failed in the middle of the answer: ask again"


class Interpreter:
    """Sends a request as it is where the endpoint speaks its dialect, else translated there and back."""

    def __init__(self, attempt: Call) -> None:
        self._attempt = attempt

    def send(self, request: Request) -> Awaitable[Reply]:
        """NotSpoken 400 names what the endpoint's dialect has no word for."""
        request.notes.source = None
        same = request.endpoint.dialect == request.dialect.spoken_by
        return self._attempt(request) if same else self._cross(request)

    async def _cross(self, request: Request) -> Reply:
        notes, endpoint = request.notes, request.endpoint
        notes.endpoint = endpoint
        try:
            crossing = table.crossing(request.dialect, endpoint)
            asked = _asked(request)
            turned = _turned(request, crossing, asked)
        except RequestRefused as error:
            raise NotSpoken(error) from error
        reply = await self._attempt(turned)
        headers = tuple(pair for pair in reply.headers if pair[0] != b"content-type")
        if reply.chunks is not None:
            stream = Turned(reply.chunks, crossing, request, asked)
            return Reply(reply.status, (*headers, (b"content-type", b"text/event-stream")), chunks=stream)
        body = reply.body or b""
        whole = reply.status < 400
        content = _answer(body, crossing, notes, asked) if whole else _error(reply.status, body, request.dialect)
        return Reply(reply.status, (*headers, (b"content-type", b"application/json")), body=content)


def _asked(request: Request) -> Asked:
    value = wire.value(request.body)
    return Asked(value if isinstance(value, dict) else {}, int(time.time()))


def _turned(request: Request, crossing: Crossing, asked: Asked) -> Request:
    """`request` in the endpoint's dialect."""
    given = {**asked.body, "model": request.endpoint.model or request.head.model}
    body = msgspec.json.encode(crossing.request(given))
    return msgspec.structs.replace(
        request,
        body=body,
        head=wire.head(body),
        headers=leg.crossed(request.headers, request.endpoint),
        dialect=crossing.to,
        query="",
    )


def _answer(body: bytes, crossing: Crossing, notes: Notes, asked: Asked) -> bytes:
    """A plain answer in the client's dialect."""
    notes.source = crossing.to.answer(body)
    value = wire.value(body)
    try:
        return msgspec.json.encode(crossing.answer(value if isinstance(value, dict) else {}, asked))
    except RequestRefused as error:
        raise UpstreamFailed(str(error), status=502, code="answer_not_translatable") from error


def _error(status: int, body: bytes, dialect: Dialect) -> bytes:
    """An error in the client's dialect, in the upstream's own words."""
    value = wire.value(body)
    error = value.get("error") if isinstance(value, dict) else None
    told = error if isinstance(error, dict) else {}
    kind, code, param = (
        held if isinstance(held := told.get(name), str) else None for name in ("type", "code", "param")
    )
    message = wire.message_of(value) or f"the model server answered {status}: look at its own log"
    return dialect.error_body(Problem(message, status, kind or "upstream_error", param, code))


class Turned(AsyncIterator[bytes]):
    """The bytes of a stream in the client's dialect, event by event. What is no event of the other's is left out.

    What the client's dialect has no word for ends it with an error event. A stream that breaks off gets no end.
    """

    def __init__(self, chunks: AsyncIterator[bytes], crossing: Crossing, request: Request, asked: Asked) -> None:
        self._chunks = chunks
        self._crossing = crossing
        self._client = request.dialect
        self._turning = crossing.turning(asked)
        self._splitter = sse.Splitter()
        self._reading = request.notes.source = crossing.to.reading()
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                data = await anext(self._chunks)
            except StopAsyncIteration:
                # The last event may lack its blank line.
                if not (out := self._turn_all(b"\n\n") + self._end()):
                    raise
                return out
            if out := self._turn_all(data):
                return out

    def _turn_all(self, data: bytes) -> bytes:
        out = b"".join([self._turn(event) for event in self._splitter.feed(data)])
        if len(self._splitter.tail) > _MAX_EVENT_BYTES and not self._over:
            out += self._fail(Problem(_FAILED, code="stream_upstream_error"))
        return out

    def _turn(self, event: bytes) -> bytes:
        data = sse.data(event)
        if self._over:
            return b""
        if data is None:
            return event if event.startswith(b":") else b""
        if data.strip() == b"[DONE]":
            return self._end()
        chunk = wire.value(data)
        if not isinstance(chunk, dict):
            return b""
        if chunk.get("type") == "ping":
            return b": ping\n\n"
        self._reading.add(chunk)
        if (failure := self._crossing.to.failure(chunk)) is not None:
            return self._fail(Problem(failure or _FAILED, code="stream_upstream_error"))
        try:
            return b"".join([self._crossing.encode(turned) for turned in self._turning.add(chunk)])
        except RequestRefused as error:
            return self._fail(Problem(str(error), code="answer_not_translatable"))

    def _end(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        try:
            return b"".join([self._crossing.encode(turned) for turned in self._turning.end()])
        except RequestRefused as error:
            return self._client.error_event(Problem(str(error), code="answer_not_translatable"))

    def _fail(self, problem: Problem) -> bytes:
        self._over = True
        return self._client.error_event(problem)

    async def aclose(self) -> None:
        if (close := getattr(self._chunks, "aclose", None)) is not None:
            await close()
