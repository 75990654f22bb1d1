"""What the bodies of a call say: tool calls asked for, tool results sent back, the digest of a request.

Bodies come from outside and may be of any shape: what cannot be read is skipped, never an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.trace import Payload

_canonical = msgspec.json.Encoder(order="deterministic")


class ToolCall(msgspec.Struct, frozen=True):
    """One tool call of an answer; `arguments` are canonical JSON, so that equal arguments are equal text."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True):
    """One `tool` message of a request: whose call it answers, how long it is in bytes, and whether it is an error."""

    call_id: str
    size: int
    failed: bool


def asked(payload: Payload | None) -> tuple[ToolCall, ...]:
    """The tool calls in the first choice of the answer."""
    if payload is None or payload.response is None:
        return ()
    choices = _mappings(payload.response.get("choices"))
    message = next(choices, {}).get("message")
    return tuple(_tool_calls(message)) if isinstance(message, Mapping) else ()


def answered(request: Mapping[str, Any]) -> list[tuple[ToolCall | None, ToolResult]]:
    """Every tool result in the request's messages, oldest first, with the call of the same request it answers."""
    calls: dict[str, ToolCall] = {}
    results: list[tuple[ToolCall | None, ToolResult]] = []
    for message in _mappings(request.get("messages")):
        if message.get("role") == "tool":
            result = _result(message)
            results.append((calls.get(result.call_id), result))
        else:
            calls.update((call.id, call) for call in _tool_calls(message))
    return results


def size(request: Mapping[str, Any]) -> int:
    """Bytes of what the model reads: messages and tool definitions as JSON."""
    return len(_read_by_model(request))


def digest(request: Mapping[str, Any]) -> bytes:
    """Equal for two requests with the same model, messages and tools, whatever the order of their keys."""
    model = str(request.get("model", "")).encode()
    return hashlib.blake2b(model + b"\0" + _read_by_model(request), digest_size=16).digest()


def _read_by_model(request: Mapping[str, Any]) -> bytes:
    return _canonical.encode([request.get("messages"), request.get("tools")])


def _tool_calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    for call in _mappings(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            yield ToolCall(str(call.get("id", "")), function["name"], _arguments(function.get("arguments")))


def _arguments(value: Any) -> str:
    """Canonical JSON of the arguments; text that is not JSON is kept as it is."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return str(value)
    return _canonical.encode(value).decode()


def _result(message: Mapping[str, Any]) -> ToolResult:
    content = message.get("content")
    text = content if isinstance(content, str) else _canonical.encode(content).decode()
    return ToolResult(str(message.get("tool_call_id", "")), len(text.encode()), _is_error(text))


def _is_error(text: str) -> bool:
    """A JSON object with a non-empty `error`, or plain text that begins with the word error."""
    start = text.lstrip()[:16].lower()
    if not start.startswith("{"):
        return start.startswith("error")
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return isinstance(value, dict) and bool(value.get("error"))


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from (item for item in value if isinstance(item, Mapping))
