"""A messages answer put into chat, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from trimtab.gateway import wire
from trimtab.gateway.dialects import translate_to_messages
from trimtab.gateway.dialects.crossing import Asked, Turning, unnamed
from trimtab.gateway.dialects.loose import members, objects, string, untold
from trimtab.gateway.dialects.messages import MESSAGES
from trimtab.gateway.dialects.protocol import Dialect

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class ChatToMessages:
    """Clients of chat at endpoints of messages."""

    to: Dialect = MESSAGES

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        return translate_to_messages.request(body)

    def answer(self, body: dict[str, Any], asked: Asked) -> dict[str, Any]:
        return answer(body, asked.created)

    def turning(self, asked: Asked) -> Turning:
        return Chunks(asked.created)

    def encode(self, event: dict[str, Any]) -> bytes:
        return unnamed(event)


def answer(body: dict[str, Any], created: int) -> dict[str, Any]:
    """The `chat.completion` that says the same; RequestRefused names what it cannot say."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in objects(body.get("content")):
        _check(block)
        if block.get("type") == "tool_use":
            calls.append(_call(block, msgspec.json.encode(block.get("input") or {}).decode()))
        elif block.get("type") == "thinking":
            thoughts.append(string(block.get("thinking")))
        elif block.get("type") == "text":
            texts.append(string(block.get("text")))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    finish = finish_reason(body.get("stop_reason"))
    out = {
        "id": string(body.get("id")),
        "object": "chat.completion",
        "created": created,
        "model": string(body.get("model")),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    counted = usage(body.get("usage"))
    return out if counted is None else {**out, "usage": counted}


def finish_reason(stop: Any) -> str:
    reason = _FINISH.get(stop) if isinstance(stop, str) else None
    if reason is None:
        raise untold(f"stop_reason {stop!r:.40}", "chat")
    return reason


def usage(raw: Any) -> dict[str, Any] | None:
    """In OpenAI's convention: `prompt_tokens` include what a cache read and wrote."""
    counted = wire.usage(raw)
    if counted is None:
        return None
    thought = counted.reasoning_tokens
    return {
        "prompt_tokens": counted.input_tokens,
        "completion_tokens": counted.output_tokens,
        "total_tokens": counted.input_tokens + counted.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": counted.cache_read_tokens,
            "cache_write_tokens": counted.cache_write_tokens,
        },
        **({"completion_tokens_details": {"reasoning_tokens": thought}} if thought else {}),
    }


class Chunks:
    """Turns the events of one streamed message into chunks of a chat completion."""

    def __init__(self, created: int) -> None:
        self._head: dict[str, Any] = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._usage: dict[str, Any] = {}
        self._tools: dict[Any, int] = {}
        self._silent: set[int] = set()
        self._finish: str | None = None

    def add(self, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kind, index = chunk.get("type"), chunk.get("index")
        if kind == "message_start":
            yield from self._begin(members(chunk.get("message")))
        elif not isinstance(index, int | None):
            return
        elif kind == "content_block_start":
            yield from self._block(index, members(chunk.get("content_block")))
        elif kind == "content_block_delta":
            yield from self._piece(index, members(chunk.get("delta")))
        elif kind == "content_block_stop" and (place := self._tools.get(index)) in self._silent and place is not None:
            # A tool without parameters: chat's clients expect an object all the same.
            yield self._chunk({"tool_calls": [{"index": place, "function": {"arguments": "{}"}}]})
        elif kind == "message_delta":
            self._count(chunk.get("usage"))
            if (stop := members(chunk.get("delta")).get("stop_reason")) is not None:
                self._finish = finish_reason(stop)
        elif kind == "message_stop" and self._finish is not None:
            yield self._chunk({}, self._finish)
            if counted := usage(self._usage):
                yield {**self._head, "choices": [], "usage": counted}
            yield {}

    def end(self) -> Iterator[dict[str, Any]]:
        return iter(())

    def _begin(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._head["id"], self._head["model"] = string(message.get("id")), string(message.get("model"))
        self._count(message.get("usage"))
        yield self._chunk({"role": "assistant", "content": ""})

    def _block(self, index: int | None, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        _check(block)
        if block.get("type") == "tool_use":
            place = self._tools[index] = len(self._tools)
            given = block.get("input")
            if not given:
                self._silent.add(place)
            text = msgspec.json.encode(given).decode() if given else ""
            yield self._chunk({"tool_calls": [{"index": place, **_call(block, text)}]})
        elif text := string(block.get("text")):
            yield self._chunk({"content": text})
        elif text := string(block.get("thinking")):
            yield self._chunk({"reasoning_content": text})

    def _piece(self, index: int | None, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kind = delta.get("type")
        if kind == "citations_delta":
            raise untold("a citation", "chat")
        if kind == "text_delta" and (text := string(delta.get("text"))):
            yield self._chunk({"content": text})
        elif kind == "thinking_delta" and (text := string(delta.get("thinking"))):
            yield self._chunk({"reasoning_content": text})
        elif kind == "input_json_delta" and index in self._tools and (text := string(delta.get("partial_json"))):
            place = self._tools[index]
            self._silent.discard(place)
            yield self._chunk({"tool_calls": [{"index": place, "function": {"arguments": text}}]})

    def _count(self, raw: Any) -> None:
        self._usage.update({name: held for name, held in members(raw).items() if held is not None})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}


def _check(block: dict[str, Any]) -> None:
    """Refuse what chat has no word for. What is only the server's own proof of its thinking is not said at all."""
    if block.get("type") not in ("text", "tool_use", "thinking", "redacted_thinking"):
        raise untold(f"a block of type {block.get('type')!r:.40}", "chat")
    if block.get("citations"):
        raise untold("a citation", "chat")


def _call(block: dict[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": string(block.get("name")), "arguments": arguments}
    return {"id": string(block.get("id")), "type": "function", "function": function}


CHAT_TO_MESSAGES = ChatToMessages()
