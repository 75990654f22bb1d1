"""A chat answer put into messages, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trimtab.gateway import wire
from trimtab.gateway.dialects import translate_to_chat
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.crossing import Asked, Turning, named
from trimtab.gateway.dialects.loose import members, objects, one_choice, string, untold
from trimtab.gateway.dialects.protocol import Dialect

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class MessagesToChat:
    """Clients of messages at endpoints of chat."""

    to: Dialect = CHAT

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        return translate_to_chat.request(body)

    def answer(self, body: dict[str, Any], asked: Asked) -> dict[str, Any]:
        return answer(body)

    def turning(self, asked: Asked) -> Turning:
        return Events()

    def encode(self, event: dict[str, Any]) -> bytes:
        return named(event)


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The message that says the same; RequestRefused names what it cannot say."""
    choice = one_choice(body, "messages")
    message = members(choice.get("message"))
    content: list[dict[str, Any]] = []
    if thought := string(message.get("reasoning_content") or message.get("reasoning")):
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    refused = string(message.get("refusal"))
    if text := string(message.get("content")) + refused:
        content.append({"type": "text", "text": text})
    for call in objects(message.get("tool_calls")):
        content.append({**_tool_use(call), "input": _input(members(call.get("function")).get("arguments"))})
    stop = "refusal" if refused else stop_reason(choice.get("finish_reason"), bool(objects(message.get("tool_calls"))))
    return {**_message(body, stop), "content": content, "usage": usage(body.get("usage"))}


def stop_reason(finish: Any, called: bool) -> str:
    """`called`: some servers say that they stopped where they called a tool."""
    reason = _STOP.get(finish) if isinstance(finish, str) else None
    if reason is None:
        raise untold(f"finish_reason {finish!r:.40}", "messages")
    return "tool_use" if called and reason == "end_turn" else reason


def usage(raw: Any) -> dict[str, Any]:
    """In Anthropic's convention: `input_tokens` leave out what a cache read and wrote."""
    counted = wire.usage(raw)
    if counted is None:
        return {"input_tokens": 0, "output_tokens": 0}
    out: dict[str, Any] = {
        "input_tokens": counted.fresh_tokens,
        "cache_creation_input_tokens": counted.cache_write_tokens,
        "cache_read_input_tokens": counted.cache_read_tokens,
        "output_tokens": counted.output_tokens,
    }
    if counted.reasoning_tokens:
        out["output_tokens_details"] = {"thinking_tokens": counted.reasoning_tokens}
    return out


class Events:
    """Turns the chunks of one streamed chat completion into the events of a message."""

    def __init__(self) -> None:
        self._begun = False
        self._finish: Any = None
        self._refused = False
        self._usage: Any = None
        # The block that is open: a text, a thought, or the tool call of an index.
        self._open: Any = None
        self._blocks = -1
        self._tools: set[int] = set()

    def add(self, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        if not self._begun:
            self._begun = True
            begun = {**_message(chunk, None), "content": [], "usage": usage(None)}
            yield {"type": "message_start", "message": begun}
        if not chunk.get("choices"):
            return
        choice = one_choice(chunk, "messages")
        delta = members(choice.get("delta"))
        if text := string(delta.get("reasoning_content") or delta.get("reasoning")):
            yield from self._say("thinking", text)
        if refusal := string(delta.get("refusal")):
            self._refused = True
        if text := string(delta.get("content")) or refusal:
            yield from self._say("text", text)
        if refusal and text != refusal:
            yield from self._say("text", refusal)
        for call in objects(delta.get("tool_calls")):
            yield from self._call(call)
        self._finish = choice.get("finish_reason") or self._finish

    def end(self) -> Iterator[dict[str, Any]]:
        """A stream that gave no `finish_reason` gets no end."""
        if self._finish is None:
            return
        yield from self._close()
        stop = "refusal" if self._refused else stop_reason(self._finish, bool(self._tools))
        delta = {"stop_reason": stop, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": usage(self._usage)}
        yield {"type": "message_stop"}

    def _say(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        if self._open != kind:
            block = {"type": kind, kind: ""}
            yield from self._begin(kind, {**block, "signature": ""} if kind == "thinking" else block)
        yield self._delta({"type": f"{kind}_delta", kind: text})

    def _call(self, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        index = call.get("index", 0)
        if not isinstance(index, int):
            return
        if index not in self._tools:
            self._tools.add(index)
            yield from self._begin(index, _tool_use(call))
        elif self._open != index or type(self._open) is not int:
            raise untold("calls of several tools at once, piece by piece", "messages")
        if text := string(members(call.get("function")).get("arguments")):
            yield self._delta({"type": "input_json_delta", "partial_json": text})

    def _begin(self, what: Any, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._close()
        self._open = what
        self._blocks += 1
        yield {"type": "content_block_start", "index": self._blocks, "content_block": block}

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._open is not None:
            self._open = None
            yield {"type": "content_block_stop", "index": self._blocks}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._blocks, "delta": delta}


def _message(body: dict[str, Any], stop: str | None) -> dict[str, Any]:
    names = {"id": string(body.get("id")), "type": "message", "role": "assistant", "model": string(body.get("model"))}
    return {**names, "stop_reason": stop, "stop_sequence": None}


def _tool_use(call: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(call.get("function"), dict):
        raise untold("a call of a tool that is no function", "messages")
    return {
        "type": "tool_use",
        "id": string(call.get("id")),
        "name": string(call["function"].get("name")),
        "input": {},
    }


def _input(arguments: Any) -> dict[str, Any]:
    text = string(arguments) or "{}"
    held = wire.value(text.encode("utf-8", "surrogatepass"))
    if not isinstance(held, dict):
        raise untold("arguments of a tool that are no JSON object", "messages")
    return held


MESSAGES_TO_CHAT = MessagesToChat()
