"""The door: stands where a serving process watches rollouts, and loads what that needs when there is a first one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.gateway.chain import Call
from trimtab.gateway.chat import Services
from trimtab.rollout.stages import REGISTER

if TYPE_CHECKING:
    from trimtab.rollout.watch import Watch

_LOOK_S = 0.25


class Door:
    """A gateway.trial.Watch over the register in `folder` that costs a look at a file's name until it is there."""

    def __init__(self, folder: Path, services: Services, tail: Call) -> None:
        self._path = folder / REGISTER
        self._given = folder, services, tail
        self._watch: Watch | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._path.exists():
            self._open(loop)
        else:
            self._thread = threading.Thread(target=self._look, args=(loop,), name="trimtab-rollout-door", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join(5.0)
        if self._watch is not None:
            self._watch.close()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._closing.wait(_LOOK_S):
            if self._path.exists():
                self._open(loop)
                return

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        from trimtab.rollout.watch import Watch

        self._watch = Watch(*self._given)
        self._watch.start(loop)
