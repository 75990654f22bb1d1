"""Siblings: what several worker processes of one gateway tell each other, through files of a folder of their own.

A Deployment that one of them was given, the settings they took last, and each one's metrics. Files are written whole
and renamed into place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from trimtab.config import Settings
from trimtab.deployment import Deployment
from trimtab.errors import TrimtabError
from trimtab.gateway.live import Live

log = logging.getLogger("trimtab.gateway")

_LOOK_S = 0.5
# A page of very many figures holds up requests: it is written again after so many times as long as it took.
_REST = 100
_DEPLOYMENT = "deployment.json"
_SETTINGS = "settings.json"
_RUNNING, _ENDED = "metrics-", "ended-"


class Siblings:
    """One worker's view of `folder`. `run` inside the event loop; `page` gives this worker's own metrics."""

    def __init__(self, folder: Path, live: Live, page: Callable[[], str]) -> None:
        self.folder = folder
        self._live = live
        self._page = page
        self._own = folder / f"{_RUNNING}{os.getpid()}"
        self._seen: tuple[int, int] | None = None

    async def start(self, config: Path | None) -> None:
        """Serve what the others were given since the configuration file was written last."""
        put = self.folder / _DEPLOYMENT
        written_ns = config.stat().st_mtime_ns if config is not None and config.exists() else 0
        if put.exists() and put.stat().st_mtime_ns > written_ns:
            await self.look()
        else:
            self._seen = self._stamp()

    async def run(self) -> None:
        """Look twice a second for what others were given, and leave this worker's metrics for them."""
        due_s = 0.0
        while True:
            await self.look()
            began_s = time.monotonic()
            if began_s >= due_s:
                page = self._page().encode()
                due_s = began_s + _REST * (time.monotonic() - began_s)
                await asyncio.to_thread(_write, self._own, page)
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            wanted = msgspec.json.decode((self.folder / _DEPLOYMENT).read_bytes(), type=Deployment)
            self._live.serving = await asyncio.to_thread(self._live.ready, wanted)
        except (OSError, msgspec.DecodeError, TrimtabError) as error:
            log.error("a deployment that another worker took was refused here: %s", error)

    def publish(self, deployment: Deployment) -> None:
        """Let the other workers serve `deployment` too."""
        _write(self.folder / _DEPLOYMENT, msgspec.json.encode(deployment))
        self._seen = self._stamp()

    def keep(self, settings: Settings) -> None:
        """Let workers that start later begin with `settings`, whatever has become of the file by then."""
        _write(self.folder / _SETTINGS, msgspec.json.encode(settings))

    def merged(self, own: str) -> str:
        """The metrics of all workers together: this one's `own` page, and the others', at most a second old."""
        running = dict(self._pages(_RUNNING))
        # A worker that ended since then has been counted.
        ended = [page for pid, page in self._pages(_ENDED) if pid not in running]
        return merged([own, *running.values()], ended)

    def _pages(self, prefix: str) -> Iterator[tuple[str, str]]:
        """The pages of others, by process id."""
        for path in sorted(self.folder.glob(f"{prefix}*")):
            # A worker's page changes its name when it ends, perhaps just now.
            with contextlib.suppress(OSError):
                if path != self._own and path.suffix != ".new":
                    yield path.name.removeprefix(prefix), path.read_bytes().decode()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = (self.folder / _DEPLOYMENT).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        new.write_bytes(content)
        new.rename(path)
    except OSError as error:
        log.error("cannot write %s: %s", path, error.strerror)


def kept(folder: Path) -> Settings | None:
    """The settings that a worker took last; None where they are still those of the start."""
    with contextlib.suppress(OSError):
        return msgspec.json.decode((folder / _SETTINGS).read_bytes(), type=Settings)
    return None


def put(folder: Path) -> Deployment | None:
    """The Deployment that a worker was given last; None where none was."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / _DEPLOYMENT).read_bytes(), type=Deployment)
    return None


def leave(folder: Path, lines: Sequence[str]) -> None:
    """Leave metrics of this process, which is no worker, for the workers' pages."""
    if lines:
        _write(folder / f"{_RUNNING}{os.getpid()}", "".join(f"{line}\n" for line in lines).encode())


def ended(folder: Path, pid: int) -> None:
    """Keep what a worker that is no more had counted: counters never go back."""
    page = folder / f"{_RUNNING}{pid}"
    if page.exists():
        page.rename(folder / f"{_ENDED}{pid}")


def merged(running: Iterable[str], ended: Iterable[str] = ()) -> str:
    """Pages in Prometheus' text format added up, sample by sample; of the `ended` ones no gauges."""
    heads: dict[str, list[str]] = {}
    sums: dict[str, dict[str, float]] = {}
    for page, is_running in [*((page, True) for page in running), *((page, False) for page in ended)]:
        comments: list[str] = []
        name, counts = "", True
        for line in page.split("\n"):
            if line.startswith("#"):
                comments.append(line)
                if line.startswith("# TYPE "):
                    name, kind = line.split()[2:4]
                    heads.setdefault(name, comments)
                    sums.setdefault(name, {})
                    counts, comments = is_running or kind != "gauge", []
            elif counts and line:
                sample, _, amount = line.rpartition(" ")
                sums[name][sample] = sums[name].get(sample, 0) + float(amount)
    lines = [
        line
        for name, samples in sums.items()
        for line in (*heads[name], *(f"{sample} {amount:.12g}" for sample, amount in samples.items()))
    ]
    return "\n".join(lines) + "\n"
