"""Kept: one whole answer, ready to be given again in the dialect in which it was given first."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.gateway import wire
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.levers.cache import question
from trimtab.money import Usage

# Why an answer ended: by itself, or to call tools. One that was cut by a limit or a filter is not kept.
_WHOLE = frozenset(("stop", "tool_calls", "function_call", "end_turn", "tool_use", "stop_sequence", "completed"))


class Kept(msgspec.Struct, frozen=True):
    """`body` is the plain answer; `price` the name it was priced by, `usage` what it took; `tools` the names of the
    tools it calls; `id` the call's whose answer it was. `stored_s` is Unix time."""

    body: bytes
    dialect: str
    usage: Usage = Usage()
    price: str = ""
    endpoint: str = ""
    tools: tuple[str, ...] = ()
    stored_s: float = 0.0
    text: str = ""


def of(dialect: Dialect, body: bytes) -> Kept | None:
    """What to keep of a plain answer; None where it is not whole or was refused."""
    said = dialect.answer(body)
    held = wire.value(body)
    if said is None or said.error or not isinstance(held, dict):
        return None
    if dialect.operation == "embeddings":
        if not held.get("data"):
            return None
    elif not _is_whole(dialect.name, held, said.finish_reason):
        return None
    text, tools = said_in(dialect.name, held)
    if not text and not tools and dialect.operation != "embeddings":
        return None
    usage = wire.usage(said.usage) or Usage()
    return Kept(body=body, dialect=dialect.name, usage=usage, price=said.model, tools=tools, text=text)


def said_in(dialect: str, held: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The words of a decoded answer, and the names of the tools that it calls."""
    if dialect == "messages":
        blocks = [each for each in held.get("content") or () if isinstance(each, dict)]
        text = "".join(str(each.get("text", "")) for each in blocks if each.get("type") == "text")
        return text, question.tool_names([each for each in blocks if each.get("type") == "tool_use"])
    if dialect == "responses":
        items = [each for each in held.get("output") or () if isinstance(each, dict)]
        parts = [part for item in items for part in item.get("content") or () if isinstance(part, dict)]
        text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "output_text")
        return text, question.tool_names([each for each in items if each.get("type") == "function_call"])
    choices = [each for each in held.get("choices") or () if isinstance(each, dict)]
    messages = [each.get("message") or {} for each in choices if isinstance(each.get("message") or {}, dict)]
    text = "".join(str(each.get("text") or "") for each in choices)
    text += "".join(str(each.get("content") or "") for each in messages)
    return text, tuple(name for each in messages for name in question.tool_names(each.get("tool_calls")))


def _is_whole(dialect: str, held: dict[str, Any], reason: str | None) -> bool:
    """Whether every part of the answer ended by itself, and none is a refusal."""
    if reason not in _WHOLE:
        return False
    if dialect in ("messages", "responses"):
        return b'"type":"refusal"' not in msgspec.json.encode(held.get("output") or held.get("content") or ())
    choices = [each for each in held.get("choices") or () if isinstance(each, dict)]
    refused = any((each.get("message") or {}).get("refusal") for each in choices if each.get("message"))
    return not refused and all(each.get("finish_reason") in _WHOLE for each in choices)
