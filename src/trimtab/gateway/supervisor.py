"""Supervisor: several worker processes behind one listening socket, and one process that writes the traces of all.

It forks them, starts dead ones again, passes signals on, and ends them in order. It answers no request itself and runs
no thread, so that each fork begins clean.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimtab.errors import TrimtabError
from trimtab.gateway import record, server, siblings
from trimtab.gateway.reload import settled
from trimtab.gateway.server import Service

log = logging.getLogger("trimtab.gateway")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_ENDINGS = (signal.SIGTERM, signal.SIGINT)
_LOOK_S = 0.2
_START_S = 60.0
# A process that ends within this time of its start waits longer each time before the next one.
_SOUND_S = 10.0
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_RECORDER = "the recording process"


class Refusal(msgspec.Struct, frozen=True):
    """What a process says that cannot start."""

    error: str
    code: int


class Child:
    """One process. `told` is the reading end of a pipe: a line once it is ready, or why it cannot be."""

    def __init__(self, name: str, pid: int, told: int) -> None:
        self.name = name
        self.pid = pid
        self.told = told
        self.status = 0
        self.started = time.monotonic()


class Supervisor:
    """`run` serves with `workers` processes until a signal or the end of `service.lifeline`; raises what they refused.

    The first SIGTERM or SIGINT lets the workers drain, the second lets them cut, the third kills them.
    """

    def __init__(self, service: Service, workers: int) -> None:
        self._service = service
        self._workers = [f"worker {number}" for number in range(1, workers + 1)]
        self._children: dict[str, Child] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        # Its writing end is held by this process alone: when this process dies, the others read its end.
        self._life, self._alive = os.pipe()
        # And this one's by the workers as well: when the recording process reads its end, nothing more can come.
        self._served, self._serving = os.pipe()
        self._folder = Path(tempfile.mkdtemp(prefix="trimtab-"))
        self._intake = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def run(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._mask = before
        try:
            self._intake.bind(str(self._folder / record.SOCKET))
            self._intake.listen(128)
            for name in [_RECORDER, *self._workers] if self._service.records else self._workers:
                self._spawn(name)
                self._wait_ready(self._children[name])
            self._service.on_ready()
            self._watch()
        finally:
            self._end()
            self._intake.close()
            for end in (self._life, self._alive, self._served):
                os.close(end)
            shutil.rmtree(self._folder, ignore_errors=True)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _spawn(self, name: str) -> None:
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(name, tell)
        os.close(tell)
        self._children[name] = Child(name, pid, told)

    def _become(self, name: str, tell: int) -> None:
        """Be the process `name` and end with it: nothing of the supervisor's own is unwound here."""
        code = 1
        try:
            os.close(self._alive)
            # Ctrl-C reaches the whole group; what is to happen then comes from the supervisor.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(server.CUT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            if name == _RECORDER:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.close(self._serving)
                for listener in self._service.doors.sockets:
                    listener.close()
                record.run(self._service.settings, self._intake, self._served, lambda: _say(tell, b""))
            else:
                self._intake.close()
                server.run(self._as_worker(tell))
            code = 0
        except TrimtabError as error:
            code = error.exit_code
            _say(tell, msgspec.json.encode(Refusal(str(error), code)))
        finally:
            if code == 1 and sys.exc_info()[0] is not None:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)

    def _as_worker(self, tell: int) -> Service:
        settings = self._service.settings
        # Not the file itself: it may be one that the others refused.
        if (taken := siblings.kept(self._folder)) is not None:
            settings = settled(settings, taken)
        return msgspec.structs.replace(
            self._service,
            settings=settings,
            on_ready=lambda: _say(tell, b""),
            lifeline=self._life,
            shared=self._folder,
        )

    def _wait_ready(self, child: Child) -> None:
        if not select.select([child.told], [], [], _START_S)[0]:
            raise TrimtabError(f"{child.name} did not start within {_START_S:g} s: look at the machine's load")
        line = os.read(child.told, 65536).strip()
        if refusal := _refusal(line):
            error = TrimtabError(refusal.error)
            error.exit_code = refusal.code
            raise error

    def _watch(self) -> None:
        while True:
            got = signal.sigtimedwait(_SIGNALS, _LOOK_S)
            if got is not None and got.si_signo in _ENDINGS:
                return
            if got is not None and got.si_signo == signal.SIGHUP:
                self._pass_on(signal.SIGHUP, self._workers)
            if self._lifeline_ended():
                return
            for child in self._ended():
                self._mourn(child)
            for name in [name for name, due in self._due.items() if due <= time.monotonic()]:
                del self._due[name]
                self._spawn(name)

    def _ended(self) -> Iterator[Child]:
        """The processes that are no more, each once."""
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.status = os.waitstatus_to_exitcode(status)
                del self._children[child.name]
                yield child

    def _mourn(self, child: Child) -> None:
        """Say that a process died, keep what it had counted, and set when the next one starts."""
        lived = time.monotonic() - child.started
        failures = 0 if lived > _SOUND_S else self._failures.get(child.name, 0)
        self._failures[child.name] = failures + 1
        wait_s = min(_FIRST_WAIT_S * 2**failures, _LONGEST_WAIT_S)
        self._due[child.name] = time.monotonic() + wait_s
        refusal = _refusal(os.read(child.told, 65536).strip())
        os.close(child.told)
        siblings.ended(self._folder, child.pid)
        how = refusal.error if refusal else f"signal {-child.status}" if child.status < 0 else f"code {child.status}"
        log.error("%s (pid %d) ended (%s): another starts in %g s", child.name, child.pid, how, wait_s)

    def _pass_on(self, number: signal.Signals, names: list[str]) -> None:
        for name in names:
            if name in self._children:
                os.kill(self._children[name].pid, number)

    def _lifeline_ended(self) -> bool:
        lifeline = self._service.lifeline
        if lifeline is None or not select.select([lifeline], [], [], 0)[0]:
            return False
        return not os.read(lifeline, 4096)

    def _end(self) -> None:
        """The workers first, then the recording process, which writes what they sent until their end."""
        # While it were open here, the system would take connections that nobody serves.
        for listener in self._service.doors.sockets:
            listener.close()
        self._finish(self._workers, [signal.SIGTERM, server.CUT])
        os.close(self._serving)
        self._finish([_RECORDER], [])

    def _finish(self, names: list[str], signals: list[signal.Signals]) -> None:
        """Send the first of `signals`, the next ones as signals come, and SIGKILL when there are none left."""
        harder = iter(signals)
        if signals:
            self._pass_on(next(harder), names)
        while any(name in self._children for name in names):
            got = signal.sigtimedwait(_SIGNALS, _LOOK_S)
            if got is not None and got.si_signo in _ENDINGS:
                self._pass_on(next(harder, signal.SIGKILL), names)
            for child in self._ended():
                os.close(child.told)


def _say(tell: int, line: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(tell, line + b"\n")


def _refusal(line: bytes) -> Refusal | None:
    """What a line of a process says; None where that is that it is ready."""
    last = line.rpartition(b"\n")[2]
    try:
        return msgspec.json.decode(last, type=Refusal) if last else None
    except msgspec.DecodeError:
        return None
