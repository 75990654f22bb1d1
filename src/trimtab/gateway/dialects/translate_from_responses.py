"""A responses answer put into chat, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trimtab.gateway import wire
from trimtab.gateway.dialects import translate_to_responses
from trimtab.gateway.dialects.crossing import Asked, Turning, unnamed
from trimtab.gateway.dialects.loose import members, objects, string, untold
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.dialects.responses import RESPONSES

_INTO = "chat"
_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}
# Pieces by event -> the member of chat's delta.
_PIECES = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning_content",
    "response.reasoning_summary_text.delta": "reasoning_content",
}


class ChatToResponses:
    """Clients of chat at endpoints of responses."""

    to: Dialect = RESPONSES

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        return translate_to_responses.request(body)

    def answer(self, body: dict[str, Any], asked: Asked) -> dict[str, Any]:
        return answer(body, asked)

    def turning(self, asked: Asked) -> Turning:
        return Chunks(asked)

    def encode(self, event: dict[str, Any]) -> bytes:
        return unnamed(event)


def answer(body: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The `chat.completion` that says the same; RequestRefused names what it cannot say."""
    said: dict[str, list[str]] = {}
    calls: list[dict[str, Any]] = []
    for item in objects(body.get("output")):
        if _kind(item) == "function_call":
            calls.append(_call(item, string(item.get("arguments")) or "{}"))
        for name, text in _words(item):
            said.setdefault(name, []).append(text)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    message |= {name: "".join(texts) for name, texts in said.items()}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(body, bool(calls))}
    names = {"id": string(body.get("id")), "object": "chat.completion", "created": asked.created}
    out = {**names, "model": string(body.get("model")), "choices": [choice]}
    counted = usage(body.get("usage"))
    return out if counted is None else {**out, "usage": counted}


def finish_reason(body: dict[str, Any], called: bool) -> str:
    status, why = body.get("status"), members(body.get("incomplete_details")).get("reason")
    if status == "completed":
        return "tool_calls" if called else "stop"
    if status == "incomplete" and isinstance(why, str) and why in _FINISH:
        return _FINISH[why]
    raise untold(f"status {status!r:.40} for the reason {why!r:.40}", _INTO)


def usage(raw: Any) -> dict[str, Any] | None:
    counted = wire.usage(raw)
    if counted is None:
        return None
    return {
        "prompt_tokens": counted.input_tokens,
        "completion_tokens": counted.output_tokens,
        "total_tokens": counted.input_tokens + counted.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": counted.cache_read_tokens,
            "cache_write_tokens": counted.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": counted.reasoning_tokens},
    }


class Chunks:
    """Turns the events of one streamed response into chunks of a chat completion."""

    def __init__(self, asked: Asked) -> None:
        self._head = {"id": "", "object": "chat.completion.chunk", "created": asked.created, "model": ""}
        self._calls: dict[Any, int] = {}
        self._silent: set[int] = set()

    def add(self, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kind, index, item = chunk.get("type"), chunk.get("output_index"), members(chunk.get("item"))
        if not isinstance(kind, str) or not isinstance(index, int | None):
            return
        text = string(chunk.get("delta"))
        if kind == "response.created":
            response = members(chunk.get("response"))
            self._head |= {"id": string(response.get("id")), "model": string(response.get("model"))}
            yield self._chunk({"role": "assistant", "content": ""})
        elif kind == "response.output_item.added" and _kind(item) == "function_call":
            place = self._calls[index] = len(self._calls)
            self._silent.add(place)
            yield self._chunk({"tool_calls": [{"index": place, **_call(item, "")}]})
        elif kind == "response.output_item.done":
            yield from self._done(index, item)
        elif kind == "response.function_call_arguments.delta" and index in self._calls and text:
            self._silent.discard(self._calls[index])
            yield self._arguments(self._calls[index], text)
        elif kind in _PIECES and text:
            yield self._chunk({_PIECES[kind]: text})
        elif kind in ("response.completed", "response.incomplete"):
            response = members(chunk.get("response"))
            yield self._chunk({}, finish_reason(response, bool(self._calls)))
            if counted := usage(response.get("usage")):
                yield {**self._head, "choices": [], "usage": counted}
            yield {}

    def end(self) -> Iterator[dict[str, Any]]:
        return iter(())

    def _done(self, index: Any, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """An item is whole. Arguments that came in no pieces come now; annotations only now are known."""
        for _ in _words(item):
            pass
        place = self._calls.get(index)
        if place in self._silent and place is not None:
            yield self._arguments(place, string(item.get("arguments")) or "{}")

    def _arguments(self, place: int, text: str) -> dict[str, Any]:
        return self._chunk({"tool_calls": [{"index": place, "function": {"arguments": text}}]})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}


def _kind(item: dict[str, Any]) -> str:
    """An item's type, where chat has a word for it."""
    kind = string(item.get("type"))
    if kind not in ("message", "function_call", "reasoning"):
        raise untold(f"an item of type {kind!r:.40}", _INTO)
    return kind


def _words(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What an item says: (member of chat's message, text). What only its own server can read is not said."""
    for part in [*objects(item.get("summary")), *objects(item.get("content"))]:
        kind = part.get("type")
        if part.get("annotations"):
            raise untold("annotations", _INTO)
        if kind == "output_text":
            yield "content", string(part.get("text"))
        elif kind == "refusal":
            yield "refusal", string(part.get("refusal"))
        elif kind in ("reasoning_text", "summary_text"):
            yield "reasoning_content", string(part.get("text"))
        else:
            raise untold(f"a part of type {kind!r:.40}", _INTO)


def _call(item: dict[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": string(item.get("name")), "arguments": arguments}
    return {"id": string(item.get("call_id")), "type": "function", "function": function}


CHAT_TO_RESPONSES = ChatToResponses()
