"""Keeps one worker process alive for a model: starts it, passes requests on, starts it again if it dies, ends it.

Never imports the engine: all it knows of a model is what the worker's first message says.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import IO

import msgspec

from trimtab.engines.protocol import Add, Batch, Cancel, Failed, Frames, FromWorker, Piece, Profile, Ready, frame
from trimtab.errors import MissingExtra, ModelError, RequestRefused

PATIENCE = 5.0  # seconds that a worker has to end by itself
DELAYS = (0.2, 1.0, 3.0, 10.0)  # seconds before each new start in a row; after the last the model is given up


class Generation:
    """One request inside a worker: its pieces as they come."""

    def __init__(self, number: int, drop: Callable[[int], None]) -> None:
        self.id = number
        self._drop = drop
        self._pieces: list[Piece] = []
        self._waiter: asyncio.Future[None] | None = None
        self._done = False

    def push(self, piece: Piece) -> None:
        """From the worker."""
        self._pieces.append(piece)
        self._done = self._done or bool(piece.finish)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> list[Piece]:
        """All pieces that have come since, at least one. The last one has a `finish`."""
        if not self._pieces:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        pieces, self._pieces = self._pieces, []
        return pieces

    def close(self) -> None:
        """Nobody waits any more: the worker stops computing it. Wakes whoever still waits with a piece 'gone'."""
        if not self._done:
            self._drop(self.id)
            self.push(Piece(self.id, [], [], "gone"))


class Worker:
    """The process of one model. Use it from one event loop."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.ready: Ready | None = None
        self.load = Batch([], 0, 0, 0.0)
        self.restarts = 0
        self.state = "starting"  # starting, ready, restarting, dead, stopped
        self._numbers = itertools.count(1)
        self._live: dict[int, Generation] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._told: asyncio.Future[Ready | Failed] | None = None
        self._errors: IO[bytes] | None = None
        self._revival: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while there is one."""
        return self._process.pid if self._process else None

    @property
    def live(self) -> int:
        """Requests inside the worker."""
        return len(self._live)

    async def start(self) -> Ready:
        """Start the process and wait until the model is loaded. Errors: ModelError, MissingExtra."""
        for package in ("openvino_genai", "tokenizers", "jinja2"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtra("engine", package.replace("_", "-"))
        loop = asyncio.get_running_loop()
        self._told = loop.create_future()
        ours, theirs = socket.socketpair()
        self._close_errors()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  the engine's own messages, read if it dies
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trimtab.engines.worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
            )
        self._transport, _ = await loop.create_unix_connection(lambda: _Line(self), sock=ours)
        self._transport.write(frame(self.profile))
        told = await self._told
        if isinstance(told, Failed):
            await self.stop()
            error = ModelError(told.message)
            error.exit_code = told.exit_code
            raise error
        self.ready = told
        self.state = "ready"
        return told

    def generate(self, add: Add) -> Generation:
        """Hand a request to the engine, under a number of its own. Errors: RequestRefused (503) while there is none."""
        if self.state != "ready" or self._transport is None:
            raise RequestRefused(f"the model is {self.state}: try again", status=503, code=f"model_{self.state}")
        number = next(self._numbers)
        generation = self._live[number] = Generation(number, self._cancel)
        self._transport.write(frame(msgspec.structs.replace(add, id=number)))
        return generation

    async def stop(self) -> None:
        """End the process, by force if it does not end by itself."""
        self.state = "stopped"
        if self._revival is not None:
            self._revival.cancel()
        if self._transport is not None:
            self._transport.close()
        self._fail_all()
        await self._reap()
        self._close_errors()

    def received(self, message: FromWorker) -> None:
        """From the socket."""
        if isinstance(message, Batch):
            self.load = message
            for piece in message.pieces:
                generation = self._live.pop(piece.id, None) if piece.finish else self._live.get(piece.id)
                if generation is not None:
                    generation.push(piece)
        elif self._told is not None and not self._told.done():
            self._told.set_result(message)

    def lost(self) -> None:
        """The socket closed: at the end as it should, else the worker died and another is started."""
        self._fail_all()
        if self._told is not None and not self._told.done():
            self._told.set_result(Failed(f"{self.profile.model}: the engine died while loading{self._reason()}", 8))
        elif self.state == "ready":
            self.state = "restarting"
            self._revival = asyncio.ensure_future(self._revive())

    async def _revive(self) -> None:
        for delay in DELAYS:
            await self._reap()
            await asyncio.sleep(delay)
            self.restarts += 1
            try:
                await self.start()
            except ModelError:
                self.state = "restarting"
                continue
            self._revival = None
            return
        self.state = "dead"

    def _cancel(self, number: int) -> None:
        if self._live.pop(number, None) is not None and self._transport is not None:
            self._transport.write(frame(Cancel(number)))

    def _fail_all(self) -> None:
        live, self._live = self._live, {}
        self.load = Batch([], 0, 0, 0.0)
        for generation in live.values():
            generation.push(Piece(generation.id, [], [], "lost"))

    async def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, process.wait, PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            await loop.run_in_executor(None, process.wait)

    def _reason(self) -> str:
        """The last thing the process said, as ': ...'."""
        if self._errors is None:
            return ""
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
            return f": {lines[-1][:300]}" if lines else ""
        return ""

    def _close_errors(self) -> None:
        if self._errors is not None:
            self._errors.close()
            self._errors = None


class _Line(asyncio.Protocol):
    """The socket's end in the event loop."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._frames = Frames(FromWorker)

    def data_received(self, data: bytes) -> None:
        for message in self._frames.feed(data):
            self._worker.received(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._worker.lost()
