"""A gateway under measurement: a process tree on one core, which can be started, frozen, read and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from load import Target

HERE = Path(__file__).parent
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
FIRST_BODY = b'{"model": "MODEL/bench", "messages": [{"role": "user", "content": "Hello"}]}'


class Absent(Exception):
    """A system that cannot be installed or started here; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """How to start a system: its command, and how to ask it. Without a `url` it prints one, as a line of its own."""

    command: Sequence[str]
    url: str = ""
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = 60.0


class System:
    """`recipe(upstream url, folder to work in)` says how it is started; `with` it, then `target` and `cold_s` are set.

    `cold_s` is the time from the start of the process to its first good answer.
    """

    def __init__(self, name: str, recipe: Callable[[str, Path], Recipe], version: str = "") -> None:
        self.name, self.version = name, version
        self._recipe = recipe
        self._process: subprocess.Popen | None = None
        self._folder: tempfile.TemporaryDirectory | None = None
        self.target = Target("")
        self.cold_s = 0.0

    def start(self, upstream: str, core: int | None) -> None:
        """Start it on `core` and wait for its first good answer; Absent with what it said where none comes."""
        self._folder = tempfile.TemporaryDirectory(prefix="trimtab-benchmark-")
        folder = Path(self._folder.name)
        recipe = self._recipe(upstream, folder)
        began = time.perf_counter()
        with (folder / "said").open("wb") as said:
            self._process = subprocess.Popen(
                recipe.command,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **recipe.environment},
                cwd=folder,
                start_new_session=True,
            )
        if core is not None:
            # Before it has a second thread: threads and children inherit it.
            os.sched_setaffinity(self._process.pid, {core})
        try:
            self._wait(recipe, folder / "said", began + recipe.patience_s)
        except BaseException:
            self.stop()
            raise
        self.cold_s = time.perf_counter() - began

    def _wait(self, recipe: Recipe, said: Path, give_up: float) -> None:
        why = "it said no address"
        while why:
            if url := recipe.url or _address(said):
                self.target = Target(url, recipe.model, recipe.headers)
                why = self._answers()
            if why and (self._process.poll() is not None or time.perf_counter() > give_up):
                lines = said.read_text(errors="replace").strip().splitlines()
                raise Absent(f"did not start: {why}; its last line: {lines[-1][:200] if lines else 'none'}")
            time.sleep(0.002 if why else 0)

    def _answers(self) -> str:
        """Empty once it answers; else why not."""
        body = FIRST_BODY.replace(b"MODEL/", self.target.model.encode())
        headers = {"Content-Type": "application/json", **self.target.headers}
        request = urllib.request.Request(self.target.url + "/chat/completions", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return "" if response.status == 200 else f"answered {response.status}"
        except urllib.error.HTTPError as error:
            return f"answered {error.code}: {error.read()[:200]!r}"
        except (OSError, ValueError) as error:
            return str(error)

    def stop(self) -> None:
        """End it and all it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        self._folder.cleanup()

    def freeze(self) -> None:
        """Let it do nothing while others are measured on its core."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    @property
    def pids(self) -> list[int]:
        return tree(self._process.pid)

    @property
    def cpu_s(self) -> float:
        """User and system time of the whole tree, ended threads included."""
        return sum(cpu_s(pid) for pid in self.pids)

    @property
    def rss_mb(self) -> float:
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids) * PAGE_KB / 1024


def _address(said: Path) -> str:
    """The first line that is an address; empty where there is none yet."""
    return next((line.strip() for line in said.read_text(errors="replace").splitlines() if line[:4] == "http"), "")


def tree(pid: int) -> list[int]:
    """The process and its children, theirs too."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(one for task in tasks for child in task.read_text().split() for one in tree(int(child)))]


def cpu_s(pid: int) -> float:
    """The process's CPU clock, in nanoseconds' steps: what clock_getcpuclockid(3) gives for it."""
    return time.clock_gettime((~pid << 3) | 2)


def script(name: str, *words: str) -> list[str]:
    """The command of one of the small servers in this folder."""
    return [sys.executable, str(HERE / name), *words]


@contextlib.contextmanager
def served(command: Sequence[str]):
    """A small server of ours, on the core of this process; its url."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
