"""Kept: one whole answer, ready to be given again in the dialect in which it was given first."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.gateway import wire
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.money import Usage

# Why an answer ended: by itself, or to call tools. One that was cut by a limit or a filter is not kept.
_WHOLE = frozenset(("stop", "tool_calls", "function_call", "end_turn", "tool_use", "stop_sequence", "completed"))

_canonical = msgspec.json.Encoder(order="deterministic")


class Kept(msgspec.Struct, frozen=True):
    """`body` is the plain answer, `usage` what it took and `latency_ms` how long; `model` is who gave it. `text` are
    its words and `calls` the tools that it calls, each with its arguments as canonical JSON. Times are Unix seconds."""

    body: bytes
    dialect: str
    usage: Usage = Usage()
    model: str = ""
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    latency_ms: float = 0.0
    stored_s: float = 0.0
    expires_s: float = 0.0

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.calls)


def of(dialect: Dialect, body: bytes) -> Kept | None:
    """What to keep of a plain answer; None where it is not whole, was refused, or says nothing."""
    said = dialect.answer(body)
    held = wire.value(body)
    if said is None or said.error or not isinstance(held, dict):
        return None
    if dialect.operation == "embeddings":
        return read(dialect.name, body) if held.get("data") else None
    if not _is_whole(dialect.name, held, said.finish_reason):
        return None
    found = read(dialect.name, body)
    return found if found.text or found.calls else None


def read(dialect: str, body: bytes) -> Kept:
    """A kept answer's bytes with what they say."""
    held = wire.value(body)
    held = held if isinstance(held, dict) else {}
    text, calls = said_in(dialect, held)
    model = held.get("model")
    usage = wire.usage(used) if isinstance(used := held.get("usage"), dict) else None
    return Kept(
        body=body,
        dialect=dialect,
        usage=usage or Usage(),
        model=model if isinstance(model, str) else "",
        text=text,
        calls=calls,
    )


def said_in(dialect: str, held: dict[str, Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The words of a decoded answer, and the tools that it calls."""
    if dialect == "messages":
        blocks = _objects(held.get("content"))
        text = "".join(str(each.get("text", "")) for each in blocks if each.get("type") == "text")
        return text, tuple(_call(each, each.get("input")) for each in blocks if each.get("type") == "tool_use")
    if dialect == "responses":
        items = _objects(held.get("output"))
        parts = [part for item in items for part in _objects(item.get("content"))]
        text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "output_text")
        return text, tuple(_call(each, each.get("arguments")) for each in items if each.get("type") == "function_call")
    choices = _objects(held.get("choices"))
    messages = _objects([each.get("message") for each in choices])
    text = "".join(str(each.get("text") or "") for each in choices)
    text += "".join(str(each.get("content") or "") for each in messages)
    asked = _objects([call.get("function") for each in messages for call in _objects(each.get("tool_calls"))])
    return text, tuple(_call(each, each.get("arguments")) for each in asked)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _call(call: dict[str, Any], arguments: Any) -> tuple[str, str]:
    """The tool's name, and its arguments in one form whatever their spacing and order."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            return str(call.get("name", "")), str(arguments)
    return str(call.get("name", "")), _canonical.encode(arguments).decode()


def _is_whole(dialect: str, held: dict[str, Any], reason: str | None) -> bool:
    """Whether every part of the answer ended by itself, and none is a refusal."""
    if reason not in _WHOLE:
        return False
    if dialect in ("messages", "responses"):
        return b'"type":"refusal"' not in msgspec.json.encode(held.get("output") or held.get("content") or ())
    choices = [each for each in held.get("choices") or () if isinstance(each, dict)]
    refused = any((each.get("message") or {}).get("refusal") for each in choices if each.get("message"))
    return not refused and all(each.get("finish_reason") in _WHOLE for each in choices)
