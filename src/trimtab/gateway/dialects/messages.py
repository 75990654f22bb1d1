"""Anthropic's messages, and the count of their tokens.

Their `input_tokens` exclude what a cache read or wrote; `wire.usage` adds it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.gateway import wire
from trimtab.gateway.assembly import Pieces, joined, lay, merge
from trimtab.gateway.dialects.protocol import Answer, Reading
from trimtab.gateway.wire import Head, Problem

# By the status that an error has, or would have had outside a stream.
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Message(msgspec.Struct, frozen=True):
    model: Any = None
    stop_reason: Any = None
    usage: Any = None
    error: Any = None


_MESSAGE = msgspec.json.Decoder(_Message)


class Message:
    """A streamed message put together. Whole once it gave a `stop_reason` and then stopped."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.blocks: dict[int, dict[str, Any]] = {}
        self.usage: dict[str, Any] | None = None
        self._stopped = False

    @property
    def model(self) -> str:
        model = self.head.get("model")
        return model if isinstance(model, str) else ""

    @property
    def finish_reason(self) -> str | None:
        reason = self.head.get("stop_reason")
        return reason if isinstance(reason, str) else None

    @property
    def finished(self) -> bool:
        return self._stopped and self.finish_reason is not None

    def add(self, chunk: dict[str, Any]) -> None:
        kind, index = chunk.get("type"), chunk.get("index")
        if kind == "message_start" and isinstance(begun := chunk.get("message"), dict):
            self.head = {name: held for name, held in begun.items() if name not in ("content", "usage")}
            self._count(begun.get("usage"))
        elif kind == "message_delta":
            if isinstance(delta := chunk.get("delta"), dict):
                self.head.update(delta)
            self._count(chunk.get("usage"))
        elif kind == "message_stop":
            self._stopped = True
        elif kind == "content_block_start" and isinstance(index, int):
            block = chunk.get("content_block")
            merge(self.blocks.setdefault(index, {}), block if isinstance(block, dict) else {})
        elif kind == "content_block_delta" and isinstance(index, int) and isinstance(delta := chunk.get("delta"), dict):
            _extend(self.blocks.setdefault(index, {}), delta)

    def _count(self, usage: Any) -> None:
        """Later counts are of the whole answer, and win; what they leave out stays."""
        if isinstance(usage, dict):
            self.usage = {**(self.usage or {}), **{name: held for name, held in usage.items() if held is not None}}

    def answer(self) -> dict[str, Any] | None:
        if not self.head:
            return None
        content = [_whole(self.blocks[index]) for index in sorted(self.blocks)]
        answer = {**self.head, "content": content}
        return answer if self.usage is None else {**answer, "usage": self.usage}


def _extend(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """Lay one delta over its block: pieces of text, of a tool's input as JSON, of thought, and single citations."""
    for name, held in delta.items():
        if name == "citation":
            cited = block.get("citations")
            block["citations"] = [*(cited if isinstance(cited, list) else ()), held]
        elif name == "partial_json" and isinstance(held, str):
            pieces = block.get(name)
            block[name] = pieces if isinstance(pieces, Pieces) else Pieces()
            block[name].append(held)
        elif name != "type":
            lay(block, name, held)


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    block = dict(joined(block))
    text = block.pop("partial_json", None)
    if isinstance(text, str) and text:
        given = wire.value(text.encode("utf-8", "surrogatepass"))
        block["input"] = given if isinstance(given, dict) else text  # broken off in the middle
    return block


class Messages:
    """POST /v1/messages."""

    name = "messages"
    operation = "chat"
    path = "/v1/messages"
    spoken_by = "messages"

    def outgoing(self, body: bytes, head: Head, model: str) -> bytes:
        return wire.renamed(body, head, model)

    def answer(self, body: bytes) -> Answer | None:
        try:
            read = _MESSAGE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return Answer(
            model=read.model if isinstance(read.model, str) else "",
            finish_reason=read.stop_reason if isinstance(read.stop_reason, str) else None,
            usage=read.usage if isinstance(read.usage, dict) else None,
            error=bool(read.error),
        )

    def reading(self) -> Reading:
        return Message()

    def hides(self, chunk: dict[str, Any], head: Head) -> bool:
        return False

    def can_wait(self, event: bytes) -> bool:
        return event.startswith(b"event: content_block_delta\n") and b'"error"' not in event

    def is_last(self, chunk: dict[str, Any]) -> bool:
        return chunk.get("type") == "message_stop"

    def failure(self, chunk: dict[str, Any]) -> str | None:
        return wire.reported(chunk) if chunk.get("type") == "error" or chunk.get("error") else None

    def error_body(self, problem: Problem) -> bytes:
        kind = _KINDS.get(problem.status, "api_error" if problem.status >= 500 else "invalid_request_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": problem.message}})

    def error_event(self, problem: Problem) -> bytes:
        return b"event: error\ndata: " + self.error_body(problem) + b"\n\n"


class TokenCount(Messages):
    """POST /v1/messages/count_tokens. It costs nothing and has no usage."""

    name = "count_tokens"
    operation = "count_tokens"
    path = "/v1/messages/count_tokens"


MESSAGES = Messages()
TOKEN_COUNT = TokenCount()
