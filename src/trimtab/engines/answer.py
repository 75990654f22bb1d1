"""One answer in the making: pieces of tokens in, text, tool calls, log-probabilities and the end out.

Knows neither HTTP nor JSON.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trimtab.engines.protocol import Piece
from trimtab.engines.request import Options
from trimtab.engines.served import Served
from trimtab.engines.text import StopStrings
from trimtab.engines.toolcalls import ToolCall, ToolCallParser
from trimtab.errors import RequestRefused


class Delta(msgspec.Struct, frozen=True):
    """What some pieces added. `logprobs`: (token id, natural log of its probability); `finish` as the API has it."""

    said: tuple[str | ToolCall, ...]
    logprobs: tuple[tuple[int, float], ...]
    finish: str | None


class Gone(Exception):
    """The client left."""


class Answer:
    """Collects one generation. After the last delta the counts are final."""

    def __init__(self, served: Served, prompt_tokens: int, options: Options, *, tools: bool) -> None:
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.drafted_tokens = self.taken_tokens = 0
        self._eos = served.eos
        self._decoder = served.codec.decoder()
        self._stops = StopStrings(options.stop)
        self._calls = ToolCallParser() if tools else None

    def push(self, pieces: Sequence[Piece]) -> Delta:
        """Errors: RequestRefused where the engine refused or died, Gone where the client left."""
        said: list[str | ToolCall] = []
        logprobs: list[tuple[int, float]] = []
        finish: str | None = None
        for piece in pieces:
            _raise(piece)
            self.cached_tokens = piece.cached
            self.drafted_tokens, self.taken_tokens = piece.drafted, piece.taken
            self.completion_tokens += len(piece.tokens)
            ids = piece.tokens
            if piece.finish == "stop" and ids and ids[-1] in self._eos:
                ids = ids[:-1]
            finish = self._text(ids, piece.finish, said)
            logprobs += zip(ids, piece.logprobs, strict=False)
            if finish:
                break
        return Delta(tuple(said), tuple(logprobs), finish)

    def _text(self, ids: Sequence[int], end: str, said: list[str | ToolCall]) -> str | None:
        text = self._decoder.push(ids)
        if end:
            text += self._decoder.flush()
        text = self._stops.push(text)
        if self._stops.hit:
            end = "stop"
        elif end:
            text += self._stops.flush()
        if self._calls is None:
            if text:
                said.append(text)
            return end or None
        said += self._calls.push(text)
        if end:
            said += self._calls.flush()
        return "tool_calls" if end == "stop" and self._calls.calls else end or None


def _raise(piece: Piece) -> None:
    if piece.finish in ("", "stop", "length"):
        return
    if piece.finish == "gone":
        raise Gone
    if piece.finish == "refused":
        raise RequestRefused(piece.message, param="response_format", code="unsupported")
    if piece.finish == "ignored":
        raise RequestRefused("the engine's cache has no room for this request: try again", status=503, code="kv_full")
    raise RequestRefused("the model's worker died: try again", status=503, code="worker_lost")
