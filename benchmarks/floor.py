"""The floor: the least that any proxy in Python can do. Bytes in, bytes out, over kept connections; nothing is read.

Raw uvloop protocols and httptools for where a message ends; no keys, no limits, no record, no errors.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
from urllib.parse import urlsplit

import fake
import httptools
import uvloop


class Upstream(asyncio.Protocol):
    """One kept connection to the upstream; what comes is written to the client that asked."""

    def __init__(self, idle: list[Upstream]) -> None:
        self.idle = idle
        self.client: asyncio.Transport | None = None
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def ask(self, request: bytes, client: asyncio.Transport) -> None:
        self.client = client
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.client.write(data)
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self.idle:
            self.idle.remove(self)


class Client(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, host: str, port: int, idle: list[Upstream]) -> None:
        self.host, self.port, self.idle = host, port, idle
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        body = b"".join(self.body)
        self.body.clear()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: %b:%d\r\nContent-Type: application/json\r\n"
        request = (head + b"Content-Length: %d\r\n\r\n%b") % (self.host.encode(), self.port, len(body), body)
        if self.idle:
            self.idle.pop().ask(request, self.transport)
        else:
            asyncio.get_running_loop().create_task(self.connect(request))

    async def connect(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(lambda: Upstream(self.idle), self.host, self.port)
        upstream.ask(request, self.transport)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--upstream", required=True, metavar="URL")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    where = urlsplit(args.upstream)
    uvloop.run(fake.serve(functools.partial(Client, where.hostname, where.port, []), args.port))
