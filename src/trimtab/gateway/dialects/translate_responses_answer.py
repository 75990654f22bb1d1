"""A chat answer put into responses, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trimtab.gateway import wire
from trimtab.gateway.dialects import translate_responses_request
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.crossing import Asked, Turning, named
from trimtab.gateway.dialects.loose import members, objects, one_choice, string, untold
from trimtab.gateway.dialects.protocol import Dialect

# What a response says again of its request, and what it says where the request did not.
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}
_ENDS = {
    "stop": ("completed", None),
    "tool_calls": ("completed", None),
    "length": ("incomplete", {"reason": "max_output_tokens"}),
    "content_filter": ("incomplete", {"reason": "content_filter"}),
}
# What is said -> its item, its part and the part's text.
_SAID: dict[str, tuple[str, dict[str, Any], str]] = {
    "text": ("message", {"type": "output_text", "annotations": [], "logprobs": []}, "text"),
    "refusal": ("message", {"type": "refusal"}, "refusal"),
    "reasoning": ("reasoning", {"type": "reasoning_text"}, "text"),
}
_EVENTS = {"text": "response.output_text", "refusal": "response.refusal", "reasoning": "response.reasoning_text"}


class ResponsesToChat:
    """Clients of responses at endpoints of chat."""

    to: Dialect = CHAT

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        return translate_responses_request.request(body)

    def answer(self, body: dict[str, Any], asked: Asked) -> dict[str, Any]:
        return answer(body, asked)

    def turning(self, asked: Asked) -> Turning:
        return Events(asked)

    def encode(self, event: dict[str, Any]) -> bytes:
        return named(event)


def answer(body: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The response that says the same; RequestRefused names what it cannot say."""
    choice = one_choice(body, "responses")
    message = members(choice.get("message"))
    output: list[dict[str, Any]] = []
    for kind, text in _words(message):
        output.append(_item(kind, body, len(output), text))
    output += [_called(call, "completed") for call in objects(message.get("tool_calls"))]
    return _ended(_begun(body, asked), choice.get("finish_reason"), output, body.get("usage"))


def usage(raw: Any) -> dict[str, Any] | None:
    counted = wire.usage(raw)
    if counted is None:
        return None
    return {
        "input_tokens": counted.input_tokens,
        "input_tokens_details": {
            "cached_tokens": counted.cache_read_tokens,
            "cache_write_tokens": counted.cache_write_tokens,
        },
        "output_tokens": counted.output_tokens,
        "output_tokens_details": {"reasoning_tokens": counted.reasoning_tokens},
        "total_tokens": counted.input_tokens + counted.output_tokens,
    }


class Events:
    """Turns the chunks of one streamed chat completion into the events of a response."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._response: dict[str, Any] = {}
        self._items: list[dict[str, Any]] = []
        # What is open: what is said, or the index of a tool's call; and its text so far.
        self._open: Any = None
        self._text: list[str] = []
        self._calls: set[int] = set()
        self._finish: Any = None
        self._usage: Any = None
        self._number = 0

    def add(self, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        if not self._response:
            self._response = _begun(chunk, self._asked)
            yield self._event("response.created", response=self._response)
            yield self._event("response.in_progress", response=self._response)
        if not chunk.get("choices"):
            return
        choice = one_choice(chunk, "responses")
        delta = members(choice.get("delta"))
        for kind, text in _words(delta):
            yield from self._say(kind, text)
        for call in objects(delta.get("tool_calls")):
            yield from self._call(call)
        self._finish = choice.get("finish_reason") or self._finish

    def end(self) -> Iterator[dict[str, Any]]:
        """A stream that gave no `finish_reason` gets no end."""
        if self._finish is None:
            return
        yield from self._close()
        whole = _ended(self._response, self._finish, self._items, self._usage)
        yield self._event(f"response.{whole['status']}", response=whole)

    def _event(self, kind: str, **members: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **members}

    def _at(self) -> dict[str, Any]:
        """Where a piece belongs."""
        at = {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1}
        return at if type(self._open) is int else {**at, "content_index": 0}

    def _say(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        if self._open != kind:
            item = _item(kind, self._response, len(self._items), "")
            (part,) = item["content"]
            yield from self._begin(kind, {**item, "content": [], "status": "in_progress"})
            yield self._event("response.content_part.added", **self._at(), part=part)
        self._text.append(text)
        extra: dict[str, Any] = {"logprobs": []} if kind == "text" else {}
        yield self._event(f"{_EVENTS[kind]}.delta", **self._at(), delta=text, **extra)

    def _call(self, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        index = call.get("index", 0)
        if not isinstance(index, int):
            return
        index = int(index)
        text = string(members(call.get("function")).get("arguments"))
        if index not in self._calls:
            self._calls.add(index)
            yield from self._begin(index, {**_called(call, "in_progress"), "arguments": ""})
        elif self._open != index:
            raise untold("calls of several tools at once, piece by piece", "responses")
        if text:
            self._text.append(text)
            yield self._event("response.function_call_arguments.delta", **self._at(), delta=text)

    def _begin(self, what: Any, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._close()
        self._open, self._text = what, []
        self._items.append(item)
        yield self._event("response.output_item.added", output_index=len(self._items) - 1, item=item)

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._open is None:
            return
        text, item = "".join(self._text), self._items[-1]
        if type(self._open) is int:
            whole = {**item, "arguments": text or "{}", "status": "completed"}
            done = {"arguments": whole["arguments"], "name": item["name"]}
            yield self._event("response.function_call_arguments.done", **self._at(), **done)
        else:
            _, part, name = _SAID[self._open]
            part = {**part, name: text}
            extra: dict[str, Any] = {"logprobs": []} if self._open == "text" else {}
            yield self._event(f"{_EVENTS[self._open]}.done", **self._at(), **{name: text}, **extra)
            yield self._event("response.content_part.done", **self._at(), part=part)
            whole = {**item, "content": [part], "status": "completed"}
        self._items[-1] = whole
        yield self._event("response.output_item.done", output_index=len(self._items) - 1, item=whole)
        self._open = None


def _begun(body: dict[str, Any], asked: Asked) -> dict[str, Any]:
    echoed = {name: asked.body.get(name, held) for name, held in _ECHOED.items()}
    return {
        "id": string(body.get("id")),
        "object": "response",
        "created_at": asked.created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": string(body.get("model")),
        "output": [],
        "store": False,
        **echoed,
        "usage": None,
    }


def _ended(begun: dict[str, Any], finish: Any, output: list[dict[str, Any]], raw: Any) -> dict[str, Any]:
    end = _ENDS.get(finish) if isinstance(finish, str) else None
    if end is None:
        raise untold(f"finish_reason {finish!r:.40}", "responses")
    return {**begun, "status": end[0], "incomplete_details": end[1], "output": output, "usage": usage(raw)}


def _words(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a message or a delta says, in the order in which a response says it."""
    said = {
        "reasoning": message.get("reasoning_content") or message.get("reasoning"),
        "text": message.get("content"),
        "refusal": message.get("refusal"),
    }
    return ((kind, text) for kind, held in said.items() if (text := string(held)))


def _item(kind: str, body: dict[str, Any], place: int, text: str) -> dict[str, Any]:
    what, part, name = _SAID[kind]
    names = {"id": f"{what}_{place}_{string(body.get('id'))}", "type": what, "status": "completed"}
    own: dict[str, Any] = {"role": "assistant"} if what == "message" else {"summary": []}
    return {**names, **own, "content": [{**part, name: text}]}


def _called(call: dict[str, Any], status: str) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        raise untold("a call of a tool that is no function", "responses")
    called = string(call.get("id"))
    names = {"id": f"fc_{called}", "type": "function_call", "call_id": called, "name": string(function.get("name"))}
    return {**names, "arguments": string(function.get("arguments")) or "{}", "status": status}


RESPONSES_TO_CHAT = ResponsesToChat()
