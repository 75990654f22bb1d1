"""The load: many kept connections in one loop, asked as fast as they answer or with streams that must keep time."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

# Stands in a body where each request has a number of its own, so that no two are alike.
NUMBER = b"0000000000000000"
_numbers = itertools.count(1)
STAMP = re.compile(rb"@(\d{16})")


@dataclass(frozen=True)
class Target:
    """Where to ask: base url (ends in /v1), what stands before the model's name, and the headers it wants."""

    url: str
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        where = urlsplit(self.url)
        return where.hostname, where.port

    def request(self, body: bytes) -> bytes:
        """The bytes of one request; `MODEL/` in the body becomes what this target wants there."""
        body = body.replace(b"MODEL/", self.model.encode())
        host, port = self.address
        path = urlsplit(self.url).path.rstrip("/") + "/chat/completions"
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", "Content-Type: application/json", "Accept: */*"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Wrong(Exception):
    """An answer that is none: what was measured would mean nothing."""


class Client(asyncio.Protocol):
    """One connection that asks the same again and again while `goes_on()`."""

    def __init__(self, request: bytes, goes_on: Callable[[], bool]) -> None:
        self.before, _, self.after = request.partition(NUMBER)
        self.goes_on = goes_on
        self.streams = b'"stream": true' in request
        self.parser = httptools.HttpResponseParser(self)
        self.seconds: list[float] = []
        self.done = asyncio.get_running_loop().create_future()
        self.last = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(b"%b%016d%b" % (self.before, next(_numbers), self.after))

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(f"an answer cannot be read: {error}")

    def on_body(self, data: bytes) -> None:
        self.last = data if not self.streams else (self.last + data)[-400:]

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if status != 200 or (self.streams and b"[DONE]" not in self.last):
            self.fail(f"answered {status}: {self.last[:300]!r}")
            return
        self.seconds.append(time.perf_counter() - self.began)
        if self.goes_on():
            # Not from inside the parser, which is still busy with this answer.
            asyncio.get_running_loop().call_soon(self.ask)
        else:
            self.end()

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(Wrong(reason))
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(Wrong(f"the connection was closed in the middle: {error}"))


class Listener(Client):
    """A client that notes how late each event of its streams comes, in milliseconds."""

    def __init__(self, request: bytes, goes_on: Callable[[], bool]) -> None:
        super().__init__(request, goes_on)
        self.late_ms: list[float] = []

    def on_body(self, data: bytes) -> None:
        super().on_body(data)
        now_us = time.monotonic_ns() / 1000
        for due_us in STAMP.findall(data):
            self.late_ms.append((now_us - int(due_us)) / 1000)


@dataclass(frozen=True)
class Sample:
    """What a run saw: seconds of each request, sorted; how long it took; lateness of events in ms, sorted."""

    seconds: list[float]
    elapsed_s: float
    late_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.elapsed_s

    def ms(self, share: float) -> float:
        """That quantile of the requests' times."""
        return quantile(self.seconds, share) * 1e3


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def until(seconds: float, count: int | None = None) -> Callable[[], bool]:
    """True until `seconds` have gone or it was asked `count` times, from now on."""
    give_up = time.perf_counter() + seconds
    left = iter(range(count)) if count is not None else None

    def goes_on() -> bool:
        return time.perf_counter() < give_up and (left is None or next(left, None) is not None)

    return goes_on


async def ask(target: Target, body: bytes, concurrency: int, goes_on: Callable[[], bool]) -> Sample:
    """`concurrency` connections, each asking as soon as it has its answer; Wrong where one is not good."""
    return await _run(target, body, concurrency, Client, goes_on, 0.0)


async def listen(target: Target, body: bytes, streams: int, goes_on: Callable[[], bool], spread_s: float) -> Sample:
    """`streams` paced streams at a time, whose beginnings lie spread over `spread_s`."""
    return await _run(target, body, streams, Listener, goes_on, spread_s)


async def _run(target: Target, body: bytes, number: int, kind: type[Client], goes_on, spread_s: float) -> Sample:
    loop = asyncio.get_running_loop()
    request = target.request(body)
    clients: list[Client] = []
    began = time.perf_counter()

    async def one(place: int) -> None:
        await asyncio.sleep(spread_s * place / number)
        _, client = await loop.create_connection(lambda: kind(request, goes_on), *target.address)
        clients.append(client)
        await client.done

    try:
        await asyncio.gather(*(one(place) for place in range(number)))
    finally:
        for client in clients:
            client.transport.close()
    elapsed_s = time.perf_counter() - began
    seconds = sorted(value for client in clients for value in client.seconds)
    late = sorted(value for client in clients for value in getattr(client, "late_ms", ()))
    return Sample(seconds, elapsed_s, late)
