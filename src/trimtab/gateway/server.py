"""The serving process: takes the port first, then opens the store, then serves until told to stop, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from trimtab.config import Settings
from trimtab.errors import ConfigError, PortInUse
from trimtab.gateway.app import Gateway
from trimtab.gateway.chat import Services
from trimtab.gateway.failover import Failover
from trimtab.gateway.interpreter import Interpreter
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Meter
from trimtab.gateway.recorder import Recorder
from trimtab.gateway.upstream import Upstream

# Requests under way have this long to end after SIGTERM.
_GRACE_S = 30


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; PortInUse where another process has the port, ConfigError where the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it: small events must leave at once.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error
    return listener


def assemble(settings: Settings) -> Gateway:
    """The gateway that `settings` describe; opens the trace store unless nothing is recorded."""
    upstream, meter = Upstream(), Meter()
    failover = Failover(Interpreter(upstream.send).send, meter)
    folder = Path(settings.store.folder)
    live = Live(settings.deployment(), settings.price_table(), failover.send, folder)
    writer = None
    if settings.store.record != "off":
        from trimtab.store.traces import TraceWriter

        writer = TraceWriter(folder)
    recorder = Recorder(writer, limit=settings.store.queue, bodies=settings.store.record == "full")
    services = Services(live, recorder, meter, settings.gateway.max_body_bytes)
    return Gateway(services, upstream, settings.gateway.passthrough)


class Server(uvicorn.Server):
    """uvicorn with an ending of our own: a signal drains and exits 0, a second Ctrl-C ends at once."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], watch_stdin: bool) -> None:
        super().__init__(config)
        self.on_ready = on_ready
        self.watch_stdin = watch_stdin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()

    def stop(self, *, by_hand: bool = False) -> None:
        """End in good order; a second Ctrl-C ends at once."""
        self.force_exit = self.should_exit and by_hand
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, functools.partial(self.stop, by_hand=True))
        if self.watch_stdin:
            loop.add_reader(sys.stdin.fileno(), self._read_stdin)
        yield

    def _read_stdin(self) -> None:
        """Standard input closes when the process that holds its other end dies."""
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.stop()


def run(settings: Settings, listener: socket.socket, on_ready: Callable[[], None], watch_stdin: bool = False) -> None:
    """Serve on `listener` until SIGTERM, SIGINT or, with `watch_stdin`, the end of standard input."""
    gateway = assemble(settings)
    config = uvicorn.Config(
        gateway,
        loop="auto",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = Server(config, on_ready, watch_stdin)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))
    finally:
        # Where the server ended at once, what was answered is still written.
        gateway.services.recorder.close()
