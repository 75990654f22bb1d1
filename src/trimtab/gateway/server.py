"""The serving process: takes its ports first, then opens the store, then serves until told to stop, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from trimtab.config import Settings, StoreSettings
from trimtab.errors import ConfigError, PortInUse
from trimtab.gateway.app import Gateway
from trimtab.gateway.chain import Call as Chain
from trimtab.gateway.chat import Services
from trimtab.gateway.connection import Connection
from trimtab.gateway.disclosure import LogFilter
from trimtab.gateway.failover import Failover
from trimtab.gateway.feed import RemoteWriter
from trimtab.gateway.interpreter import Interpreter
from trimtab.gateway.limits import Limits
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Meter
from trimtab.gateway.record import SOCKET, writer_of
from trimtab.gateway.recorder import Recorder, Writer
from trimtab.gateway.reload import Reloader
from trimtab.gateway.siblings import Siblings
from trimtab.gateway.telemetry.exporter import Exporter, exporting
from trimtab.gateway.trial import Watch
from trimtab.gateway.upstream import Upstream

_LOOPBACK = "127.0.0.1"
# What tells one of several workers not to wait for what runs.
CUT = signal.SIGUSR1


class Doors(msgspec.Struct, frozen=True):
    """The listening sockets: for everyone, and for the admin paths (None: nowhere)."""

    public: socket.socket
    admin: socket.socket | None = None

    @property
    def admin_address(self) -> tuple[str, int] | None:
        return None if self.admin is None else self.admin.getsockname()[:2]

    @property
    def sockets(self) -> list[socket.socket]:
        return [self.public] if self.admin is None else [self.public, self.admin]


class Service(msgspec.Struct, frozen=True):
    """What one process serves with. `on_ready` is called once requests are taken; changes of the file `config` are
    swapped in; the end of what `lifeline`, a file descriptor, can be read from stops it. `shared`
    is the folder that the workers of one gateway share; None where there is one process alone. `watching` makes who
    watches the rollouts of this process."""

    settings: Settings
    doors: Doors
    on_ready: Callable[[], None]
    config: Path | None = None
    lifeline: int | None = None
    shared: Path | None = None
    watching: Callable[[Services, Chain], Watch] | None = None

    @property
    def records(self) -> bool:
        return self.settings.store.records


def open_doors(settings: Settings, host: str, port: int) -> Doors:
    """Listen on `host` and `port`, and on loopback for the admin paths; PortInUse or ConfigError."""
    public = listen(host, port)
    if settings.gateway.admin_port < 0:
        return Doors(public)
    try:
        return Doors(public, listen(_LOOPBACK, settings.gateway.admin_port))
    except PortInUse as error:
        public.close()
        wanted = settings.gateway.admin_port
        raise ConfigError(f"gateway.admin_port {wanted} is in use: choose another, or 0 for any free one") from error


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


def assemble(settings: Settings, shared: Path | None = None) -> Gateway:
    """The gateway that `settings` describe; opens the trace store unless nothing is recorded, or, as one of the
    workers that share a folder, writes through the recording process."""
    upstream, meter = Upstream(), Meter()
    failover = Failover(Interpreter(upstream.send).send, meter)
    folder = Path(settings.store.folder)
    live = Live(settings.deployment(), settings.price_table(), failover.send, folder)
    live.bounds = settings.gateway
    limits = Limits(settings.gateway, folder, meter, shared=shared is not None)
    meter.know(lambda: live.endpoints)
    exporter = Exporter(settings.telemetry, lambda: live.endpoints) if shared is None else None
    gateway = Gateway(Services(live, recorder_of(settings.store, shared, exporter), meter, limits), upstream)
    gateway.export(settings.telemetry, exporter)
    if shared is not None:
        gateway.siblings = Siblings(shared, live, gateway.page)
    return gateway


def recorder_of(settings: StoreSettings, shared: Path | None = None, exporter: Exporter | None = None) -> Recorder:
    """The recorder that `settings` describe, with the store open behind it where anything is recorded and the
    `exporter` behind that; for one of the workers that share a folder, with the recording process behind it."""
    writer: Writer | None = None
    spill = None
    if settings.records and shared is not None:
        writer = RemoteWriter(shared / SOCKET)
    elif settings.records:
        store = writer_of(settings)
        spill = store.spill
        writer = exporting(store, exporter) if exporter is not None else store
    return Recorder(writer, limit=settings.queue, keeps=settings.recorded, spill=spill)


class Server(uvicorn.Server):
    """uvicorn with an ending of our own: a signal drains and exits 0, a second one ends at once."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, service: Service) -> None:
        super().__init__(config)
        self.gateway = gateway
        self.service = service
        self._watches: list[asyncio.Future[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        if self.gateway.siblings is not None:
            await self.gateway.siblings.start(self.service.config)
            self._watches.append(asyncio.ensure_future(self.gateway.siblings.run()))
        if self.gateway.reloader is not None:
            self._watches.append(asyncio.ensure_future(self.gateway.reloader.run()))
        if self.gateway.watch is not None:
            await asyncio.to_thread(self.gateway.watch.start, asyncio.get_running_loop())
        self.service.on_ready()

    def drain(self) -> None:
        """End in good order."""
        self.gateway.draining = self.should_exit = True

    def cut(self) -> None:
        """End at once."""
        self.force_exit = True
        self.drain()

    def stop(self) -> None:
        """End in good order; the second time at once."""
        if self.gateway.draining:
            self.cut()
        self.drain()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        if self.gateway.siblings is None:
            loop.add_signal_handler(signal.SIGTERM, self.stop)
            loop.add_signal_handler(signal.SIGINT, self.stop)
        else:
            # Who signals all processes of a service reaches the workers twice, by the supervisor too: no second time.
            loop.add_signal_handler(signal.SIGTERM, self.drain)
            loop.add_signal_handler(CUT, self.cut)
        if self.gateway.reloader is not None:
            loop.add_signal_handler(signal.SIGHUP, self.gateway.reloader.ask)
        if (lifeline := self.service.lifeline) is not None:
            loop.add_reader(lifeline, self._read_lifeline, lifeline)
        yield

    def _read_lifeline(self, lifeline: int) -> None:
        """It ends when the process that holds its other end dies."""
        if not os.read(lifeline, 4096):
            asyncio.get_running_loop().remove_reader(lifeline)
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, let what runs end, and cut what then still runs. The admin door stays open meanwhile,
        so that it can be asked how far this is."""
        self.gateway.draining = True
        self.servers[0].close()
        for connection in self._connections:
            connection.shutdown()
        now = asyncio.get_running_loop().time
        give_up = now() + self.gateway.services.live.bounds.drain_s
        while self._is_busy and not self.force_exit and now() < give_up:
            await asyncio.sleep(0.05)
        await self._cut()
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        await self.lifespan.shutdown()

    @property
    def _connections(self) -> list[Connection]:
        return [held for held in self.server_state.connections if isinstance(held, Connection)]

    @property
    def _is_busy(self) -> bool:
        """Whether a request runs, or an answer is not sent whole."""
        admin = self.gateway.admin
        return bool(self.server_state.tasks) or any(held.server != admin for held in self._connections)

    async def _cut(self) -> None:
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        for connection in self._connections:
            connection.transport.close()
        await asyncio.sleep(0.1)
        for connection in self._connections:
            connection.transport.abort()


def run(service: Service) -> None:
    """Serve until SIGTERM, SIGINT or the end of the lifeline."""
    # It would write a line for every scan and every hung-up client; both are counted.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    gateway = assemble(service.settings, service.shared)
    gateway.admin = service.doors.admin_address
    services = gateway.services
    if service.config is not None:
        gateway.reloader = Reloader(service.config, service.settings, services.live, services.meter)
        gateway.reloader.on_taken = gateway.taken
    if service.watching is not None:
        # With breakers of its own: what is asked beside the traffic closes no endpoint to it.
        gateway.watch = service.watching(services, Failover(Interpreter(gateway.upstream.send).send, Meter()).send)
    strike = LogFilter(lambda: services.live.endpoints)
    for handler in logging.getLogger().handlers:
        handler.addFilter(strike)
    protocol: Any = functools.partial(Connection, services.live, services.meter.refused)
    config = uvicorn.Config(
        gateway,
        interface="asgi3",
        loop="auto",
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
    )
    server = Server(config, gateway, service)
    # What is there by now stays: the garbage collector need not look through it again and again.
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=service.doors.sockets))
    finally:
        if gateway.watch is not None:
            gateway.watch.close()
        # Where the server ended at once, what was answered is still written and charged.
        services.limits.close()
        services.recorder.close()
