"""OpenAI's chat completions, and what the other dialects of OpenAI's share with them."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.gateway import wire
from trimtab.gateway.assembly import Assembly
from trimtab.gateway.dialects.protocol import Answer, Reading
from trimtab.gateway.wire import Head, Problem


class _Choice(msgspec.Struct, frozen=True):
    finish_reason: Any = None


class _Completion(msgspec.Struct, frozen=True):
    model: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_COMPLETION = msgspec.json.Decoder(_Completion)


class Chat:
    """POST /v1/chat/completions."""

    name = "chat"
    operation = "chat"
    path = "/v1/chat/completions"
    spoken_by = "chat"

    def outgoing(self, body: bytes, head: Head, model: str) -> bytes:
        """With the model's name replaced, and usage asked for on streams: most servers do not give it unasked."""
        body = wire.renamed(body, head, model)
        if not head.streamed or wants_usage(head):
            return body
        options = bytes(head.stream_options)
        if not options:
            return wire.added(body, "stream_options", b'{"include_usage":true}')
        asked = wire.replaced(options, "include_usage", b"true") if options[:1] == b"{" else b'{"include_usage":true}'
        return wire.replaced(body, "stream_options", asked)

    def answer(self, body: bytes) -> Answer | None:
        try:
            read = _COMPLETION.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        reason = read.choices[0].finish_reason if read.choices else None
        return Answer(
            model=read.model if isinstance(read.model, str) else "",
            finish_reason=reason if isinstance(reason, str) else None,
            usage=read.usage if isinstance(read.usage, dict) else None,
            error=bool(read.error) and not read.choices,
        )

    def reading(self) -> Reading:
        return Assembly()

    def hides(self, chunk: dict[str, Any], head: Head) -> bool:
        """The usage chunk: no choices, only usage."""
        return chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict) and not wants_usage(head)

    def can_wait(self, event: bytes) -> bool:
        return event.startswith(b"data: {") and not (
            b'"usage":{' in event or b'"usage": {' in event or b'"error"' in event
        )

    def is_last(self, chunk: dict[str, Any]) -> bool:
        return False  # `[DONE]` is no chunk

    def failure(self, chunk: dict[str, Any]) -> str | None:
        return wire.reported(chunk) if chunk.get("error") else None

    def error_body(self, problem: Problem) -> bytes:
        return wire.error_body(problem.message, problem.kind, param=problem.param, code=problem.code)

    def error_event(self, problem: Problem) -> bytes:
        return b"data: " + self.error_body(problem) + b"\n\n"


def wants_usage(head: Head) -> bool:
    """Whether the client itself asked for the usage chunk of a stream."""
    options = wire.value(head.stream_options)
    return isinstance(options, dict) and options.get("include_usage") is True


CHAT = Chat()
