"""Content: prompts and answers of any dialect as messages of parts, as OpenTelemetry's GenAI schemas have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from trimtab.trace import EncodedPayload, Payload

Part = dict[str, Any]
# Whatever is larger is left out whole: half a JSON text is none.
MOST_BYTES = 128 * 1024


def content(payload: Payload | EncodedPayload) -> dict[str, bytes]:
    """By neutral word the JSON of `system_instructions`, `input_messages`, `output_messages`, `tool_definitions`, as
    far as there are any; `left_out` names those that were too large."""
    payload = payload.decoded()
    found = {
        "system_instructions": list(_system(payload.request)),
        "input_messages": list(_input(payload.request)),
        "output_messages": list(_output(payload.response or {})),
        "tool_definitions": _list(payload.request.get("tools")),
    }
    told: dict[str, bytes] = {}
    left_out = []
    for word, held in found.items():
        encoded = _encoded(held) if held else b""
        if encoded and len(encoded) <= MOST_BYTES:
            told[word] = encoded
        elif held:
            left_out.append(word)
    return {**told, "content_left_out": ", ".join(left_out).encode()} if left_out else told


def _encoded(held: Any) -> bytes:
    try:
        return msgspec.json.encode(held)
    except (UnicodeEncodeError, OverflowError, RecursionError):
        return b""


def _system(request: Mapping[str, Any]) -> Iterator[Part]:
    for key in ("system", "instructions"):
        yield from _parts(request.get(key))


def _input(request: Mapping[str, Any]) -> Iterator[Part]:
    for key in ("messages", "input", "prompt"):
        held = request.get(key)
        if isinstance(held, str):
            yield {"role": "user", "parts": [_text(held)]}
        for item in _list(held):
            if isinstance(item, str):
                yield {"role": "user", "parts": [_text(item)]}
            elif isinstance(item, dict):
                yield _message(item)


def _output(response: Mapping[str, Any]) -> Iterator[Part]:
    """The answers of chat and completions, of responses, and of messages."""
    for choice in _list(response.get("choices")):
        if isinstance(choice, dict):
            said = choice.get("message")
            made = (
                _message(said) if isinstance(said, dict) else {"role": "assistant", "parts": _parts(choice.get("text"))}
            )
            yield {**made, "finish_reason": choice.get("finish_reason") or ""}
    for item in _list(response.get("output")):
        if isinstance(item, dict):
            yield {"role": "assistant", **_message(item)}
    if isinstance(response.get("content"), list):
        reason = response.get("stop_reason")
        yield {"role": "assistant", "parts": _parts(response["content"]), "finish_reason": reason or ""}


def _message(item: Mapping[str, Any]) -> Part:
    """One message of chat or messages, or one item of responses."""
    role, kind = item.get("role"), item.get("type")
    if role == "tool":
        return {"role": "tool", "parts": [_result(item.get("tool_call_id"), item.get("content"))]}
    if not isinstance(role, str):
        made = _part(item)
        is_result = made.get("type") == "tool_call_response"
        return {"role": "tool" if is_result else "assistant", "parts": [made] if isinstance(kind, str) else []}
    parts = [{"type": "reasoning", "content": item["reasoning_content"]}] if _said(item, "reasoning_content") else []
    parts += _parts(item.get("content"))
    parts += [_part(call) for call in _list(item.get("tool_calls")) if isinstance(call, dict)]
    return {"role": {"developer": "system"}.get(role, role), "parts": parts}


def _parts(held: Any) -> list[Part]:
    if isinstance(held, str):
        return [_text(held)]
    return [
        _text(part) if isinstance(part, str) else _part(part) for part in _list(held) if isinstance(part, str | dict)
    ]


def _part(part: Mapping[str, Any]) -> Part:
    """One piece of a message; of pictures, sounds and files only that they were there."""
    kind = str(part.get("type") or "")
    if kind in ("text", "input_text", "output_text", "refusal"):
        return _text(part.get("text") or part.get("refusal") or "")
    if kind == "function" and isinstance(function := part.get("function"), dict):
        return _call(part.get("id"), function.get("name"), _loaded(function.get("arguments")))
    if kind in ("tool_use", "function_call"):
        given = part.get("input") if kind == "tool_use" else _loaded(part.get("arguments"))
        return _call(part.get("call_id") or part.get("id"), part.get("name"), given)
    if kind in ("tool_result", "function_call_output"):
        return _result(part.get("tool_use_id") or part.get("call_id"), part.get("content") or part.get("output"))
    if kind == "thinking":
        return {"type": "reasoning", "content": str(part.get("thinking") or "")}
    if kind == "reasoning":
        said = [*_list(part.get("content")), *_list(part.get("summary"))]
        return {
            "type": "reasoning",
            "content": "\n".join(str(one.get("text", "")) for one in said if isinstance(one, dict)),
        }
    return {"type": kind or "unknown"}


def _text(held: Any) -> Part:
    return {"type": "text", "content": str(held)}


def _call(identity: Any, name: Any, arguments: Any) -> Part:
    return {"type": "tool_call", "id": identity, "name": str(name or ""), "arguments": arguments}


def _result(identity: Any, held: Any) -> Part:
    plain = held if isinstance(held, str) else "\n".join(part["content"] for part in _parts(held) if "content" in part)
    return {"type": "tool_call_response", "id": identity, "response": plain}


def _loaded(text: Any) -> Any:
    """A tool's arguments, which some dialects keep as JSON in a text."""
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else text
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return text


def _said(item: Mapping[str, Any], key: str) -> bool:
    return isinstance(item.get(key), str) and bool(item[key])


def _list(held: Any) -> list[Any]:
    return held if isinstance(held, list) else []
