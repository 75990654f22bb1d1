"""Runs the server: takes the port, loads the models, serves until a signal, ends the workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import uvicorn

from trimtab.engines.drafter import refuse_lengths
from trimtab.engines.protocol import Profile
from trimtab.engines.served import Served
from trimtab.engines.server import application
from trimtab.errors import ConfigError, PortInUse

_NAMED = re.compile(r"([\w.:-]+)=(.+)")
GRACE = 5  # seconds that running answers have to finish


class Settings(msgspec.Struct, frozen=True):
    """What `trimtab engine serve` was told. `models`: NAME_OR_DIR or NAME=NAME_OR_DIR; `attached`: end with stdin."""

    models: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8401
    precision: str = "bf16"
    threads: int = 0
    cache: str = ""
    max_seqs: int = 16
    kv_mib: int = 256
    draft: str = ""
    draft_lengths: str = ""
    prefix_reuse: bool = True
    attached: bool = False


class _Server(uvicorn.Server):
    """Signals are handled here, so that an orderly end is exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: Settings, announce: Callable[[str, Sequence[Served]], None]) -> int:
    """Serve until SIGINT or SIGTERM; `announce` gets the base URL and the models when all are loaded.

    Errors: PortInUse, before anything is loaded; ModelError, MissingExtra, ConfigError; nothing is left running.
    """
    with listen(settings.host, settings.port) as sock, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, sock, announce))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Errors: PortInUse; ConfigError for a host that is not this machine's."""
    if not 0 <= port < 2**16:
        raise ConfigError(f"port {port} does not exist: choose one from 0 (any free) to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host}:{port} ({error}): choose another --host or --port") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        if error.errno == 98 or "in use" in str(error):
            raise PortInUse(host, port) from error
        raise ConfigError(f"cannot listen on {host}:{port} ({error}): choose another --host or --port") from error
    return sock


def profiles(settings: Settings) -> list[Served]:
    """One entry a model, under the name given with NAME=, else its own. Errors: ConfigError for a name given twice."""
    refuse_lengths(settings.draft, settings.draft_lengths)
    models = []
    for told in settings.models:
        named = _NAMED.fullmatch(told)
        name, path = named.groups() if named else ("", told)
        profile = Profile(
            model=path,
            precision=settings.precision,
            cache=settings.cache,
            threads=settings.threads,
            max_seqs=settings.max_seqs,
            kv_mib=settings.kv_mib,
            draft=settings.draft,
            draft_lengths=settings.draft_lengths,
            prefix_reuse=settings.prefix_reuse,
        )
        models.append(Served(name, profile))
    return models


async def _serve(settings: Settings, sock: socket.socket, announce: Callable[[str, Sequence[Served]], None]) -> int:
    models = profiles(settings)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    if settings.attached:
        loop.add_reader(sys.stdin.fileno(), _watch_stdin, ending)
    end: asyncio.Future[Any] = asyncio.ensure_future(ending.wait())
    try:
        loading: asyncio.Future[Any] = asyncio.gather(*(served.start() for served in models))
        await asyncio.wait([loading, end], return_when=asyncio.FIRST_COMPLETED)
        if ending.is_set():
            loading.cancel()
            return 0
        await loading
        names = [served.name for served in models]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two models are called '{name}': name one of them otherwise with NAME=PATH")
        config = uvicorn.Config(
            application(models), http="httptools", lifespan="off", log_level="warning", access_log=False,
            timeout_graceful_shutdown=GRACE, timeout_keep_alive=75,
        )  # fmt: skip
        server = _Server(config)
        running: asyncio.Future[Any] = asyncio.ensure_future(server.serve(sockets=[sock]))
        port = sock.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        announce(f"http://{host}:{port}/v1", models)
        await asyncio.wait([running, end], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await running
        return 0
    finally:
        end.cancel()
        await asyncio.gather(*(served.worker.stop() for served in models))


def _watch_stdin(ending: asyncio.Event) -> None:
    """Standard input came to its end, so whoever started this server is gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        ending.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
