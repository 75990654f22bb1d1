"""OpenAI's responses. What a `previous_response_id` stands for is the server's to know: it passes as it is."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.gateway import wire
from trimtab.gateway.assembly import Pieces, joined
from trimtab.gateway.dialects.chat import Chat
from trimtab.gateway.dialects.protocol import Answer, Reading
from trimtab.gateway.wire import Head, Problem

_LAST = frozenset(("response.completed", "response.incomplete", "response.failed", "response.cancelled"))
# Deltas by event: the member of the item that grows.
_GROWING = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.mcp_call_arguments.delta": "arguments",
}
_PARTS = {"response.output_text.delta": "text", "response.refusal.delta": "refusal"}
_TYPES = {"text": "output_text", "refusal": "refusal"}


class _Response(msgspec.Struct, frozen=True):
    model: Any = None
    status: Any = None
    incomplete_details: Any = None
    usage: Any = None
    error: Any = None


_RESPONSE = msgspec.json.Decoder(_Response)


class Response:
    """A streamed response put together. Its last event holds all of it; till then, what there is of its items."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.items: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, dict[int, dict[str, Any]]] = {}
        self.finished = False

    @property
    def model(self) -> str:
        model = self.head.get("model")
        return model if isinstance(model, str) else ""

    @property
    def finish_reason(self) -> str | None:
        return _reason(self.head.get("status"), self.head.get("incomplete_details")) if self.finished else None

    @property
    def usage(self) -> dict[str, Any] | None:
        usage = self.head.get("usage")
        return usage if isinstance(usage, dict) else None

    def add(self, chunk: dict[str, Any]) -> None:
        kind, response = chunk.get("type"), chunk.get("response")
        if not isinstance(kind, str):
            return
        if isinstance(response, dict):
            self.head = response
            self.finished = kind in _LAST
        index, item = chunk.get("output_index"), chunk.get("item")
        if not isinstance(index, int):
            return
        if kind in ("response.output_item.added", "response.output_item.done") and isinstance(item, dict):
            self.items[index] = dict(item)
            self._parts.pop(index, None)
        elif isinstance(delta := chunk.get("delta"), str):
            held = self.items.setdefault(index, {})
            if kind in _GROWING:
                _grow(held, _GROWING[kind], delta)
            elif kind in _PARTS:
                place, name = chunk.get("content_index"), _PARTS[kind]
                parts = self._parts.setdefault(index, {})
                part = parts.setdefault(place if isinstance(place, int) else 0, {"type": _TYPES[name]})
                _grow(part, name, delta)

    def answer(self) -> dict[str, Any] | None:
        if not self.head:
            return None
        if self.finished and self.head.get("output"):
            return self.head
        return {**self.head, "output": [self._item(index) for index in sorted(self.items)]}

    def _item(self, index: int) -> Any:
        parts = self._parts.get(index, {})
        content = {"content": [parts[place] for place in sorted(parts)]} if parts else {}
        return joined({**self.items[index], **content})


def _grow(holder: dict[str, Any], name: str, delta: str) -> None:
    held = holder.get(name)
    if not isinstance(held, Pieces):
        held = holder[name] = Pieces([held] if isinstance(held, str) else [])
    held.append(delta)


def _reason(status: Any, details: Any) -> str | None:
    why = details.get("reason") if isinstance(details, dict) else None
    reason = why if status == "incomplete" and why else status
    return reason if isinstance(reason, str) else None


class Responses(Chat):
    """POST /v1/responses."""

    name = "responses"
    path = "/v1/responses"
    spoken_by = "responses"

    def outgoing(self, body: bytes, head: Head, model: str) -> bytes:
        return wire.renamed(body, head, model)

    def answer(self, body: bytes) -> Answer | None:
        try:
            read = _RESPONSE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return Answer(
            model=read.model if isinstance(read.model, str) else "",
            finish_reason=_reason(read.status, read.incomplete_details),
            usage=read.usage if isinstance(read.usage, dict) else None,
            error=bool(read.error),
        )

    def reading(self) -> Reading:
        return Response()

    def hides(self, chunk: dict[str, Any], head: Head) -> bool:
        return False

    def can_wait(self, event: bytes) -> bool:
        kind = event[: event.find(b"\n")]
        return kind.startswith(b"event: response.") and kind.endswith(b".delta") and b'"error"' not in event

    def is_last(self, chunk: dict[str, Any]) -> bool:
        kind = chunk.get("type")
        return isinstance(kind, str) and kind in _LAST

    def failure(self, chunk: dict[str, Any]) -> str | None:
        if chunk.get("type") == "response.failed":
            return wire.reported(chunk.get("response"))
        return wire.reported(chunk) if chunk.get("type") == "error" or chunk.get("error") else None

    def error_event(self, problem: Problem) -> bytes:
        """`error` is there twice: in the event's own members, and as clients look for it in any stream of OpenAI's."""
        shaped = {"type": problem.kind, "message": problem.message, "param": problem.param, "code": problem.code}
        event = {"type": "error", "code": problem.code, "message": problem.message, "param": problem.param}
        return b"event: error\ndata: " + msgspec.json.encode({**event, "error": shaped}) + b"\n\n"


RESPONSES = Responses()
