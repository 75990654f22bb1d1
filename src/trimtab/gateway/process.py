"""Our own servers as child processes, for the demo and the tests. They die with their parent."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from trimtab.errors import TrimtabError


class Child:
    """Runs `python -m trimtab WORDS` on loopback, on a free port unless WORDS name one: `with` it, then `url` (ends in
    /v1), `models` and `admin` (where its admin paths are, if it has any) are set.

    At the end it gets SIGTERM and, after `patience_s` seconds, is killed. It also ends by itself when this process
    dies, because it watches its standard input.
    """

    error: type[TrimtabError] = TrimtabError
    what = "the server"
    patience_s = 15.0

    def __init__(self, words: Sequence[str]) -> None:
        port = [] if "--port" in words else ["--port", "0"]
        self._words = [*words, *port, "--json", "--attached"]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.models: tuple[str, ...] = ()
        self.admin = ""

    @property
    def pid(self) -> int:
        """The server's process id. TrimtabError when it is not running."""
        if self._process is None:
            raise TrimtabError(f"{self.what} is not running: use it inside its `with` block")
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it is ready; `error` with what the server said where it refuses."""
        with tempfile.TemporaryFile() as errors:
            # In a session of its own: Ctrl-C in the terminal reaches the parent alone, which then stops the child.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trimtab", *self._words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            try:
                self._read(self._process.stdout, errors)
            except BaseException:
                self.stop()
                raise

    def _read(self, output: IO[bytes] | None, errors: IO[bytes]) -> None:
        line = output.readline() if output is not None else b""
        if not line:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            reason = said[-1].removeprefix("trimtab: ") if said else "it said nothing"
            raise self.error(f"{self.what} did not start: {reason}")
        told = msgspec.json.decode(line, type=dict[str, Any])
        self.url, self.models, self.admin = told["url"], tuple(told["models"]), told.get("admin", "")

    def stop(self) -> int:
        """End it and all it started: by request, then by force; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.terminate()
        try:
            code = process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class GatewayProcess(Child):
    """`with GatewayProcess(Path("trimtab.toml")) as gateway:`; at the end it finishes running answers first."""

    what = "the gateway"
    patience_s = 45.0

    def __init__(self, config: Path) -> None:
        super().__init__(["serve", "--config", str(config)])
        self.config = config
