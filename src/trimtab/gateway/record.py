"""The recording process of a gateway with several workers: has the store open and writes what the workers send it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from trimtab.config import StoreSettings
from trimtab.gateway.feed import Intake

SOCKET = "recorder.sock"


def run(settings: StoreSettings, listener: socket.socket, lifeline: int, on_ready: Callable[[], None]) -> None:
    """Write until the end of `lifeline`, which lasts as long as any worker. No signal ends it, because they go to all
    processes alike, and what the workers finish after one is to be written too. StoreError where the store cannot be
    opened."""
    from trimtab.store.traces import TraceWriter

    with TraceWriter(Path(settings.folder)) as writer:
        asyncio.run(_take(Intake(listener, writer), lifeline, on_ready))


async def _take(intake: Intake, lifeline: int, on_ready: Callable[[], None]) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(lifeline, 4096):
            loop.remove_reader(lifeline)
            ending.set()

    loop.add_reader(lifeline, read)
    on_ready()
    await intake.run(ending)
