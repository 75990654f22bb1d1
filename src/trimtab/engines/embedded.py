"""The embedded engine as a child process: `with EmbeddedEngine([...]) as engine:` gives a base URL.

The child ends with the `with` block, and by itself when this process dies: it watches its standard input.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any

import msgspec

from trimtab.errors import ModelError, TrimtabError

PATIENCE = 15.0  # seconds that the server has to finish running answers


class EmbeddedEngine:
    """Starts `trimtab engine serve` on a free loopback port; `url` ends in /v1, `models` are the names it serves."""

    def __init__(
        self, models: Sequence[str], *, precision: str = "bf16", threads: int | None = None, max_seqs: int = 16
    ) -> None:
        """`models`: shipped names, folders or .gguf files, each also as NAME=PATH; `threads` None: every core."""
        self._words = ["engine", "serve", *models, "--port", "0", "--json", "--attached", "--precision", precision]
        self._words += ["--max-seqs", str(max_seqs)]
        if threads:
            self._words += ["--threads", str(threads)]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.models: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        """The server's process id. Errors: TrimtabError when it is not running."""
        if self._process is None:
            raise TrimtabError("the engine is not running: use it inside its `with` block")
        return self._process.pid

    def __enter__(self) -> EmbeddedEngine:
        """Start, and wait until every model is loaded. Errors: ModelError with what the server said."""
        with tempfile.TemporaryFile() as errors:
            # A group of its own: Ctrl-C in the terminal ends the program above, which then ends this one in order.
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
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server and its workers: by request, then by force."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self, output: IO[bytes] | None, errors: IO[bytes]) -> None:
        line = output.readline() if output is not None else b""
        if not line:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            reason = said[-1].removeprefix("trimtab: ") if said else "it said nothing"
            raise ModelError(f"the embedded engine did not start: {reason}")
        told = msgspec.json.decode(line, type=dict[str, Any])
        self.url, self.models = told["url"], tuple(told["models"])
