"""FaultServer: a model server of bare sockets on loopback that breaks in every way a test asks for; and a gateway in
this process before it, whose tasks and connections can be counted."""

import asyncio
import contextlib
import functools
import json
import socket
import struct
import threading
import time

import uvicorn

from trimtab.config import read
from trimtab.gateway import server
from trimtab.gateway.connection import Connection

RESET, CLOSE, HANG = "reset", "close", "hang"
LAST = b"0\r\n\r\n"


def plain(body, status=200, kind="application/json", headers=(), length=None):
    """A whole answer; a `length` beyond the body's own promises what never comes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {length or len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def piece(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(*events, kind="text/event-stream"):
    """The acts of a stream: its head and each event as a piece of its own; end it with LAST."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head.encode(), *(piece(event) for event in events)]


class Hit:
    """One request as it came, and when its client hung up."""

    def __init__(self, head, body):
        self.at = time.monotonic()
        self.head = head.decode("latin-1").lower()
        self.body = body
        self.gone_at = None
        self.gone = threading.Event()

    @property
    def json(self):
        return json.loads(self.body)


class FaultServer:
    """`server.acts[name]` says what requests under `/name/v1` get: acts, or a function of their number that gives acts.

    Bytes are sent, a number is a pause in seconds, RESET and CLOSE end the connection, HANG waits for the client's end.
    """

    def __init__(self):
        self.acts = {}
        self.hits = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._serving = set()

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}/v1"

    @property
    def connections(self):
        return len(self._serving)

    def clear(self):
        self.acts.clear()
        self.hits.clear()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._serving.add(task)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        hit = Hit(head, await reader.readexactly(int(fields.get(b"content-length", 0))))
        name = hit.head.split("/")[1]
        hits = self.hits.setdefault(name, [])
        hits.append(hit)
        acts = self.acts[name]
        try:
            for act in acts(len(hits)) if callable(acts) else acts:
                if not await self._act(act, reader, writer, hit):
                    return False
        except ConnectionError:
            self._left(hit)
            return False
        return True

    async def _act(self, act, reader, writer, hit):
        if isinstance(act, bytes):
            writer.write(act)
            await writer.drain()
        elif act == RESET:
            option = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            writer.transport.abort()
        elif act != CLOSE:
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(reader.read(1), 30 if act == HANG else act) == b"":
                    self._left(hit)
                    return False
        return act not in (RESET, CLOSE, HANG)

    def _left(self, hit):
        hit.gone_at = time.monotonic()
        hit.gone.set()

    def __enter__(self):
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self):
        self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class Served:
    """`with Served(path) as served:` the gateway of a configuration file, in a thread of this process."""

    def __init__(self, path, keep_alive_s=75):
        self.gateway = server.assemble(read(path))
        self._listener = server.listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        services = self.gateway.services
        protocol = functools.partial(Connection, services.live, services.meter.refused)
        config = uvicorn.Config(
            self.gateway,
            interface="asgi3",
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._loop_factory = config.get_loop_factory()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve(sockets=[self._listener]))

    def __enter__(self):
        self._thread.start()
        until(lambda: self._server.started)
        self._resting = self._tasks()
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()

    def _tasks(self):
        async def names():
            return sum(task is not asyncio.current_task() for task in asyncio.all_tasks())

        return asyncio.run_coroutine_threadsafe(names(), self._loop).result(10)

    def swap(self, deployment):
        self.gateway.services.live.swap(deployment)

    @property
    def quiet(self):
        """Whether no task is left but the server's own, and no upstream connection is in use."""
        return self._tasks() <= self._resting and not self.gateway.upstream.pool.taken

    @property
    def idle(self):
        """Upstream connections that wait to be used again."""
        return self.gateway.upstream.pool.idle


def until(true, seconds=10):
    """Wait until `true()` is."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.01)
