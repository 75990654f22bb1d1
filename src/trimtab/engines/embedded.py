"""The embedded engine as a child process: `with EmbeddedEngine([...]) as engine:` gives a base URL."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.errors import ModelError
from trimtab.gateway.process import Child


class EmbeddedEngine(Child):
    """Starts `trimtab engine serve` on a free loopback port; `url` ends in /v1, `models` are the names it serves.

    Starting raises ModelError with what the server said.
    """

    error = ModelError
    what = "the embedded engine"

    def __init__(
        self,
        models: Sequence[str],
        *,
        precision: str = "bf16",
        threads: int | None = None,
        max_seqs: int = 16,
        options: Sequence[str] = (),
    ) -> None:
        """`models`: shipped names, folders or .gguf files, each also as NAME=PATH; `threads` None: every core;
        `options`: further words for `trimtab engine serve`."""
        words = ["engine", "serve", *models, "--precision", precision, "--max-seqs", str(max_seqs), *options]
        super().__init__([*words, "--threads", str(threads)] if threads else words)
