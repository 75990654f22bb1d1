"""GatewayProcess: a gateway as a child process, for the demo and the tests. It dies with its parent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

import msgspec

from trimtab.errors import TrimtabError

_STOP_S = 35.0


class GatewayProcess:
    """`with GatewayProcess(Path("trimtab.toml")) as gateway:` and then `gateway.url` ("http://…/v1").

    Starts `python -m trimtab serve` on a free port and waits until it answers; on exit SIGTERM, then kill. The child
    also stops when this process dies, because it holds the other end of the child's standard input.
    """

    def __init__(self, config: Path) -> None:
        self.config = config
        self.url = ""
        self.models: list[str] = []
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id; 0 before the start."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start and wait; TrimtabError with the child's own line where it refuses."""
        words = ["serve", "--config", str(self.config), "--port", "0", "--json", "--until-stdin-closes"]
        command = [sys.executable, "-m", "trimtab", *words]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._child.stdout.readline() if self._child.stdout else b""
        if not line:
            code = self._child.wait()
            raise TrimtabError(f"the gateway did not start (exit code {code}): its line above says why")
        ready = msgspec.json.decode(line)
        self.url, self.models = ready["url"], ready["models"]

    def stop(self) -> int:
        """End the child in good order, by force after 35 s; its exit code."""
        child, self._child = self._child, None
        if child is None:
            return 0
        child.terminate()
        try:
            code = child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
