"""The recording process of a gateway with several workers: has the store open and writes what the workers send it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.config import StoreSettings
from trimtab.errors import TrimtabError
from trimtab.gateway.feed import Intake

if TYPE_CHECKING:
    from trimtab.store.errand import ServingWriter

log = logging.getLogger("trimtab.gateway")

SOCKET = "recorder.sock"
_IDLE_S = 1.0
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


def run(settings: StoreSettings, listener: socket.socket, lifeline: int, on_ready: Callable[[], None]) -> None:
    """Write until the end of `lifeline`, which lasts as long as any worker. No signal ends it, because they go to all
    processes alike, and what the workers finish after one is to be written too. StoreError where the store cannot be
    opened."""
    writer = writer_of(settings)
    upkeep = Upkeep(writer)
    with writer:
        asyncio.run(_take(Intake(listener, writer, writer.spill), upkeep, lifeline, on_ready))
        upkeep.end()


class Upkeep:
    """What the store needs beside being written to: what was spilled comes back, old days go, errands are done."""

    def __init__(self, writer: ServingWriter) -> None:
        self._writer = writer
        self._warned = False

    async def run(self) -> None:
        """For ever, in a thread: an errand may take long, and the writer takes new calls meanwhile."""
        while True:
            await asyncio.to_thread(self.turn)
            await asyncio.sleep(_BETWEEN_PIECES_S if self._writer.spill and not self._warned else _IDLE_S)

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
        self._writer.spill.close()

    def _replay(self) -> bool:
        done = self._writer.spill.replay(self._writer)
        if done is not None and done[1]:
            log.error("%d spilled records could not be read back: they are lost", done[1])
        return done is not None


async def _take(intake: Intake, upkeep: Upkeep, lifeline: int, on_ready: Callable[[], None]) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(lifeline, 4096):
            loop.remove_reader(lifeline)
            ending.set()

    loop.add_reader(lifeline, read)
    tending = asyncio.ensure_future(upkeep.run())
    on_ready()
    await intake.run(ending)
    tending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await tending
