"""A kept answer given again: plain, or as the stream that its dialect's clients expect. Knows no cache."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec

from trimtab.gateway import ids
from trimtab.gateway.chain import Reply
from trimtab.gateway.dialects.crossing import named, unnamed

_PLAIN = ((b"content-type", b"application/json"),)
_STREAMED = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))
# A text goes out in pieces of about so many characters, cut between words.
_PIECE = re.compile(r".{1,48}(?:\s+|$)|.{1,48}", re.DOTALL)


class Chunks(AsyncIterator[bytes]):
    """Events that are all there already."""

    def __init__(self, events: Iterator[bytes]) -> None:
        self._events = events

    async def __anext__(self) -> bytes:
        event = next(self._events, None)
        if event is None:
            raise StopAsyncIteration
        return event


def replay(dialect: str, body: bytes, streamed: bool) -> Reply:
    """The answer `body`, plain in `dialect`, as a reply of its own: with an id and a time of its own where the server
    does not know them again."""
    answer = renewed(dialect, msgspec.json.decode(body, type=dict[str, Any]))
    if not streamed:
        return Reply(status=200, headers=_PLAIN, body=msgspec.json.encode(answer))
    return Reply(status=200, headers=_STREAMED, chunks=Chunks(events(dialect, answer)))


def renewed(dialect: str, answer: dict[str, Any]) -> dict[str, Any]:
    """`answer` with new ids, so that no client meets the same one twice. A response keeps its own: the server may have
    stored it, and a client may go on from it."""
    if dialect in ("responses", "embeddings"):
        return answer
    out = dict(answer)
    if isinstance(given := out.get("id"), str):
        out["id"] = _new(given)
    if isinstance(out.get("created"), int):
        out["created"] = int(time.time())
    if dialect == "messages":
        out["content"] = [_with_new_id(block, "tool_use") for block in out.get("content") or ()]
    elif dialect == "chat":
        out["choices"] = [_with_new_calls(choice) for choice in out.get("choices") or ()]
    return out


def _new(given: str) -> str:
    """An id like `given`, its part before the first sign kept."""
    lead = re.match(r"[A-Za-z]+[-_]", given)
    return (lead[0] if lead else "") + ids.digits(24)


def _with_new_id(block: Any, kind: str) -> Any:
    if not isinstance(block, dict) or block.get("type") != kind or not isinstance(block.get("id"), str):
        return block
    return {**block, "id": _new(block["id"])}


def _with_new_calls(choice: Any) -> Any:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(calls := message.get("tool_calls"), list):
        return choice
    return {**choice, "message": {**message, "tool_calls": [_with_new_id(call, "function") for call in calls]}}


def events(dialect: str, answer: dict[str, Any]) -> Iterator[bytes]:
    """The events of a stream that says `answer`, which is plain."""
    if dialect == "messages":
        return map(named, _messages(answer))
    if dialect == "responses":
        return map(named, _numbered(_responses(answer)))
    return map(unnamed, _completions(answer) if dialect == "completions" else _chat(answer))


def _pieces(text: Any) -> list[str]:
    return _PIECE.findall(text) if isinstance(text, str) else []


def _chat(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head = {name: held for name, held in answer.items() if name not in ("choices", "usage")}
    head["object"] = "chat.completion.chunk"
    for choice in answer.get("choices") or ():
        message, index = choice.get("message") or {}, choice.get("index", 0)
        for delta in _deltas(message):
            yield {**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}]}
        rest = {name: held for name, held in choice.items() if name not in ("message", "index")}
        yield {**head, "choices": [{"index": index, "delta": {}, **rest}]}
    if isinstance(answer.get("usage"), dict):
        yield {**head, "choices": [], "usage": answer["usage"]}
    yield {}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A message piece by piece: what is neither words nor calls first."""
    first = {name: held for name, held in message.items() if name not in ("content", "tool_calls")}
    content = message.get("content")
    yield {"role": "assistant", **first, "content": "" if isinstance(content, str) else content}
    for piece in _pieces(content):
        yield {"content": piece}
    for place, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function")
        if not isinstance(function, dict):
            yield {"tool_calls": [{"index": place, **call}]}
            continue
        yield {"tool_calls": [{"index": place, **call, "function": {**function, "arguments": ""}}]}
        for piece in _pieces(function.get("arguments")):
            yield {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}


def _completions(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head = {name: held for name, held in answer.items() if name not in ("choices", "usage")}
    for choice in answer.get("choices") or ():
        index = choice.get("index", 0)
        for piece in _pieces(choice.get("text")):
            yield {**head, "choices": [{"index": index, "text": piece, "finish_reason": None}]}
        rest = {name: held for name, held in choice.items() if name not in ("text", "index")}
        yield {**head, "choices": [{"index": index, "text": "", **rest}]}
    if isinstance(answer.get("usage"), dict):
        yield {**head, "choices": [], "usage": answer["usage"]}
    yield {}


def _messages(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    usage = answer.get("usage") or {}
    end = {name: answer.get(name) for name in ("stop_reason", "stop_sequence")}
    begun = {**answer, "content": [], **dict.fromkeys(end), "usage": {**usage, "output_tokens": 0}}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(answer.get("content") or ()):
        empty, deltas = _opened(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": end, "usage": usage}
    yield {"type": "message_stop"}


def _opened(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it is when it begins, and what fills it."""
    kind = block.get("type")
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": each} for each in block.get("citations") or ()]
        begun = {**block, "text": "", **({"citations": []} if cited else {})}
        return begun, [*cited, *({"type": "text_delta", "text": piece} for piece in _pieces(block.get("text")))]
    if kind == "tool_use":
        given = msgspec.json.encode(block.get("input") or {}).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(given)]
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block.get("thinking"))]
        signed = {"type": "signature_delta", "signature": block.get("signature") or ""}
        return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
    return block, []


def _numbered(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, event in enumerate(events):
        yield {"type": event["type"], "sequence_number": number, **event}


def _responses(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(answer.get("output") or ()):
        yield from _item(index, item)
    yield {"type": f"response.{answer.get('status') or 'completed'}", "response": answer}


def _item(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"item_id": item.get("id"), "output_index": index}
    parts = item.get("content") if isinstance(item.get("content"), list) else []
    arguments = item.get("arguments")
    open_ = {**item, "status": "in_progress"} if "status" in item else dict(item)
    if parts:
        open_["content"] = []
    if isinstance(arguments, str):
        open_["arguments"] = ""
    yield {"type": "response.output_item.added", "output_index": index, "item": open_}
    if isinstance(arguments, str):
        for piece in _pieces(arguments):
            yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
        done = {"arguments": arguments, "name": item.get("name")}
        yield {"type": "response.function_call_arguments.done", **at, **done}
    for place, part in enumerate(parts or ()):
        yield from _part({**at, "content_index": place}, part)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part(at: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = part.get("type")
    if kind != "output_text":
        yield {"type": "response.content_part.added", **at, "part": part}
        yield {"type": "response.content_part.done", **at, "part": part}
        return
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for piece in _pieces(part.get("text")):
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part.get("text"), "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}
