"""The upstream that the benchmarks ask: prepared bytes, plain at once or as paced events; about 20 µs a request.

Each content event carries the moment it was due (`@` and 16 digits: microseconds of the machine's monotonic clock),
so that whoever reads the stream can say how late it came. Nothing of a request is parsed but its length.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import sys
import time

import httptools
import uvloop

# Model -> events of a stream, milliseconds from one to the next. The last two or three events are no content.
PACES = {"bench": (32, 2), "paced": (64, 20), "brisk": (14, 0)}
# Whoever says so gets the brisk stream, whatever the model: gateways know two models alone.
BRISK = b"In a hurry."
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: "
STREAM_HEAD = HEAD + b"text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunked(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def event(choices: list[dict], **more: object) -> bytes:
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": choices, **more}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


def usage(events: int) -> dict[str, int]:
    return {"prompt_tokens": 400, "completion_tokens": events, "total_tokens": 400 + events}


def plain_answer() -> bytes:
    message = {"role": "assistant", "content": "word " * 32}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "bench", "choices": [choice]}
    body = json.dumps({**whole, "usage": usage(32)}).encode()
    return HEAD + b"application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


PLAIN = plain_answer()
STAMP = "@" + "0" * 16
CONTENT = chunked(event([{"index": 0, "delta": {"role": "assistant", "content": STAMP}, "finish_reason": None}]))
BEFORE, AFTER = CONTENT.split(STAMP.encode())
FINISH = chunked(event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
DONE = chunked(b"data: [DONE]\n\n") + END


class Stream:
    """One streamed answer: its events leave when they are due, each in a write of its own."""

    def __init__(self, transport: asyncio.Transport, pace: tuple[int, int], wants_usage: bool) -> None:
        count, ms = pace
        tail = [FINISH, chunked(event([], usage=usage(count - 3))), DONE] if wants_usage else [FINISH, DONE]
        self.transport, self.pause_us, self.tail = transport, ms * 1000, tail
        self.contents = count - len(tail)
        self.sent = 0
        self.due_us = time.monotonic_ns() // 1000
        transport.write(STREAM_HEAD)
        self.step()

    def step(self) -> None:
        if self.transport.is_closing():
            return
        if self.sent < self.contents:
            self.transport.write(b"%b@%016d%b" % (BEFORE, self.due_us, AFTER))
        else:
            self.transport.write(self.tail[self.sent - self.contents])
        self.sent += 1
        if self.sent < self.contents + len(self.tail):
            self.due_us += self.pause_us
            wait_s = (self.due_us - time.monotonic_ns() // 1000) / 1e6
            asyncio.get_running_loop().call_later(max(0.0, wait_s), self.step)


class Answering(asyncio.Protocol):
    """One connection, request after request."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        if b'"stream":true' in body or b'"stream": true' in body:
            pace = PACES["brisk" if BRISK in body else "paced" if b'"paced"' in body else "bench"]
            Stream(self.transport, pace, b'"include_usage"' in body)
        else:
            self.transport.write(PLAIN)


async def serve(protocol: type[asyncio.Protocol] | functools.partial, port: int) -> None:
    """Serve `protocol` on a loopback port, say where, and end when standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    closed = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: closed.done() or sys.stdin.buffer.read1() or closed.set_result(None))
    await closed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(Answering, parser.parse_args().port))
