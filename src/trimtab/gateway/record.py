"""The recording process of a gateway with several workers: has the store open and writes what the workers send it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.config import Settings, StoreSettings
from trimtab.endpoint import Endpoint
from trimtab.errors import TrimtabError
from trimtab.gateway import siblings
from trimtab.gateway.feed import Intake
from trimtab.gateway.recorder import Writer
from trimtab.gateway.telemetry.exporter import Exporter, exporting

if TYPE_CHECKING:
    from trimtab.store.errand import ServingWriter
    from trimtab.store.spill import Spill

log = logging.getLogger("trimtab.gateway")

SOCKET = "recorder.sock"
_IDLE_S = 1.0
_LOOK_S = 0.5
_BETWEEN_PIECES_S = 0.1
# Of what is left to replay at the end, the next start does what takes longer.
_CLOSING_S = 10.0


def writer_of(settings: StoreSettings) -> ServingWriter:
    """The writer that `settings` describe, its folder locked; StoreError where it cannot be."""
    from trimtab.store.errand import ServingWriter

    return ServingWriter(
        Path(settings.folder),
        keep_days=settings.keep_days,
        spill_bytes=settings.spill_mb * 10**6,
        redact_personal=settings.redact_personal,
    )


def run(settings: Settings, listener: socket.socket, lifeline: int, on_ready: Callable[[], None]) -> None:
    """Write until the end of `lifeline`, which lasts as long as any worker. No signal ends it, because they go to all
    processes alike, and what the workers finish after one is to be written too. StoreError where the store cannot be
    opened."""
    folder = Path(listener.getsockname()).parent
    known = Known(folder, settings)
    exporter = Exporter(known.settings.telemetry, known.endpoints)
    store = writer_of(settings.store)
    writer = exporting(store, exporter)
    upkeep = Upkeep(writer, store.spill)
    with store:
        tending = [upkeep.run, Outlook(known, exporter).run]
        asyncio.run(_take(Intake(listener, writer, store.spill), tending, lifeline, on_ready))
        upkeep.end()
        exporter.close()
    siblings.leave(folder, exporter.lines())


class Known:
    """What the workers were given last: the settings of a changed file, and a Deployment that was put."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = siblings.kept(folder) or settings
        self._put: tuple[Endpoint, ...] = ()

    def look(self) -> None:
        self.settings = siblings.kept(self.folder) or self.settings
        deployment = siblings.put(self.folder)
        self._put = deployment.endpoints if deployment is not None else ()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All that either names; of one name the one that was put."""
        return (*self.settings.endpoints, *self._put)


class Outlook:
    """Twice a second: lets the exporter follow what the workers were given, and leaves its counts for them."""

    def __init__(self, known: Known, exporter: Exporter) -> None:
        self._known = known
        self._exporter = exporter

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.turn)
            await asyncio.sleep(_LOOK_S)

    def turn(self) -> None:
        self._known.look()
        try:
            self._exporter.take(self._known.settings.telemetry)
        except TrimtabError as error:
            log.error("telemetry goes on as before: %s", error)
        siblings.leave(self._known.folder, self._exporter.lines())


class Upkeep:
    """What the store needs beside being written to: what was spilled comes back, old days go, errands are done."""

    def __init__(self, writer: Writer, spill: Spill) -> None:
        self._writer = writer
        self._spill = spill
        self._warned = False

    async def run(self) -> None:
        """For ever, in a thread: an errand may take long, and the writer takes new calls meanwhile."""
        while True:
            await asyncio.to_thread(self.turn)
            await asyncio.sleep(_BETWEEN_PIECES_S if self._spill and not self._warned else _IDLE_S)

    def turn(self) -> None:
        """A piece of the spill, and the store's own housekeeping."""
        try:
            self._replay()
            self._writer.housekeep()
        except (TrimtabError, OSError) as error:
            if not self._warned:
                log.error("the trace store is not in order: %s", error)
            self._warned = True
        else:
            self._warned = False

    def end(self) -> None:
        """Replay what there is time for, and end the spill."""
        give_up = time.monotonic() + _CLOSING_S
        try:
            while time.monotonic() < give_up and self._replay():
                pass
        except (TrimtabError, OSError) as error:
            log.error("what was spilled is written at the next start: %s", error)
        self._spill.close()

    def _replay(self) -> bool:
        done = self._spill.replay(self._writer)
        if done is not None and done[1]:
            log.error("%d spilled records could not be read back: they are lost", done[1])
        return done is not None


Tending = Callable[[], Coroutine[Any, Any, None]]


async def _take(intake: Intake, tending: Sequence[Tending], lifeline: int, on_ready: Callable[[], None]) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(lifeline, 4096):
            loop.remove_reader(lifeline)
            ending.set()

    loop.add_reader(lifeline, read)
    tasks = [asyncio.ensure_future(tend()) for tend in tending]
    on_ready()
    await intake.run(ending)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
