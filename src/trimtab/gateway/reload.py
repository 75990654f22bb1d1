"""Reload: a changed configuration file is read, checked and swapped in while requests run; a bad one changes nothing.

What the process has built itself around (its ports, the store) stays until a restart, and is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trimtab import config
from trimtab.config import Settings
from trimtab.errors import ConfigError, TrimtabError
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Counter, Gauge, Meter
from trimtab.gateway.serving import Serving
from trimtab.gateway.telemetry import collector

log = logging.getLogger("trimtab.gateway")

_LOOK_S = 0.5
# Of the tables that need a restart, the keys that do not.
_SWAPPED = (
    *("gateway.drain_s", "gateway.header_s", "gateway.body_s", "gateway.unread_s"),
    *("gateway.max_body_bytes", "gateway.max_header_bytes", "gateway.max_n", "gateway.passthrough"),
)
# These as well where the store was opened at the start.
_SWAPPED_KEPT = ("store.record", "store.record_for")

Stamp = tuple[int, int, int] | None


class State(msgspec.Struct, frozen=True):
    """What came of the file's last change: `error` where it was refused; `restart_needed` names the keys whose new
    values wait for a restart."""

    loads: int = 0
    error: str = ""
    restart_needed: tuple[str, ...] = ()


class Reloader:
    """Watches the file at `path`, which `settings` were read from. `run` inside the event loop; `ask` looks at once.

    The Deployment is replaced only where the file describes another one than before: a change of prices or limits
    leaves a Deployment that was put by hand as it is. `on_taken` is told the settings that are served from then on.
    """

    def __init__(self, path: Path, settings: Settings, live: Live, meter: Meter) -> None:
        self.state = State()
        self.on_taken: Callable[[Settings], None] = lambda settings: None
        self._path = path
        self._started = settings
        self._settings = settings
        self._live = live
        self._seen: Stamp = None
        self._tried: Stamp | str = "never"
        self._asked = asyncio.Event()
        self._loads = Counter("trimtab_config_loads_total", "Changes of the configuration file, by what came of them.")
        refused = Gauge(
            "trimtab_config_refused",
            "1 while the configuration file cannot be used and an older one is served.",
            lambda: {(): float(bool(self.state.error))},
        )
        meter.gauges += [refused]
        meter.counters += [self._loads]

    def ask(self) -> None:
        """Read the file at once, changed or not."""
        self._asked.set()

    async def run(self) -> None:
        """Look twice a second, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), _LOOK_S)
            asked = self._asked.is_set()
            self._asked.clear()
            await self.look(asked)

    async def look(self, asked: bool = False) -> None:
        """Take the file if it has changed. One that is still being written, so not the same twice in a row, waits."""
        stamp = await asyncio.to_thread(self._stamp)
        rests, self._seen = stamp == self._seen, stamp
        if not asked and (not rests or stamp == self._tried):
            return
        self._tried = stamp
        try:
            settings, serving = await asyncio.to_thread(self._read, asked)
        except TrimtabError as error:
            self._refuse(str(error))
        else:
            self._take(settings, serving, asked)

    def _stamp(self) -> Stamp:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self, asked: bool) -> tuple[Settings, Serving | None]:
        """The file's settings, and its Deployment made ready where it is to be served; ConfigError. May take long."""
        settings = config.read(self._path)
        deployment = settings.deployment()
        try:
            collector.target(settings.telemetry)
            if deployment == self._settings.deployment() and not asked:
                return settings, None
            return settings, self._live.ready(deployment)
        except ConfigError as error:
            raise ConfigError(config.placed(self._path, str(error))) from error

    def _refuse(self, error: str) -> None:
        self._loads.add((("result", "refused"),))
        self.state = msgspec.structs.replace(self.state, error=error)
        log.error("the configuration was refused, the old one stays: %s", error)

    def _take(self, settings: Settings, serving: Serving | None, asked: bool) -> None:
        if settings == self._settings and not asked and not self.state.error:
            return
        self._live.take(serving, settings.price_table(), settings.gateway)
        self._settings = settings
        self.on_taken(settings)
        waiting = _differing(self._started, settings)
        self.state = State(loads=self.state.loads + 1, restart_needed=waiting)
        self._loads.add((("result", "swapped"),))
        later = f"; restart for {', '.join(waiting)}" if waiting else ""
        log.warning("the configuration of %s was swapped in%s", self._path, later)


def settled(started: Settings, new: Settings) -> Settings:
    """`new`, with all that needs a restart as it was."""
    kept: dict[str, dict[str, Any]] = {"gateway": {}, "store": {}}
    for differing in _differing(started, new):
        table, _, key = differing.partition(".")
        kept[table][key] = getattr(getattr(started, table), key)
    tables = {table: msgspec.structs.replace(getattr(new, table), **was) for table, was in kept.items()}
    return msgspec.structs.replace(new, **tables)


def _differing(old: Settings, new: Settings) -> tuple[str, ...]:
    """The keys, `table.key`, that differ and that no swap changes."""
    tables = (("gateway", old.gateway, new.gateway), ("store", old.store, new.store))
    differing = [
        f"{name}.{key}"
        for name, was, is_now in tables
        for key, held in msgspec.structs.asdict(was).items()
        if held != getattr(is_now, key)
    ]
    swapped = _swapped(old)
    return tuple(key for key in differing if key not in swapped)


def _swapped(started: Settings) -> tuple[str, ...]:
    return (*_SWAPPED, *_SWAPPED_KEPT) if started.store.records else _SWAPPED
