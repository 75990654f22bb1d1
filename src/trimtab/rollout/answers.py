"""Answers and requests of any dialect as judges of chat see them: text and tool calls; all else is left out.

Reads what any server may have sent.
"""

from __future__ import annotations

import contextlib
from typing import Any

from trimtab.errors import RequestRefused
from trimtab.evals import answer
from trimtab.evals.answer import Answer
from trimtab.gateway.dialects.translate_from_chat import MESSAGES_TO_CHAT
from trimtab.gateway.dialects.translate_responses_answer import RESPONSES_TO_CHAT

_TO_CHAT = {"messages": MESSAGES_TO_CHAT.request, "responses": RESPONSES_TO_CHAT.request}


def of(body: dict[str, Any] | None, dialect: str) -> Answer | None:
    """What the plain answer `body` of `dialect` says; None where it says nothing that can be read."""
    if body is None:
        return None
    if dialect == "messages":
        return _said(body.get("content"))
    if dialect == "responses":
        return _said(body.get("output"))
    if dialect == "completions":
        choices = body.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        return _chat({"content": first.get("text")}) if isinstance(first, dict) else None
    return answer.of(body)


def asked(body: dict[str, Any], dialect: str) -> dict[str, Any]:
    """The request as a chat request without its model; as it is where it cannot be put into one."""
    with contextlib.suppress(RequestRefused):
        body = _TO_CHAT[dialect](body) if dialect in _TO_CHAT else body
    return {name: held for name, held in body.items() if name not in ("model", "stream", "stream_options")}


def _said(parts: Any) -> Answer | None:
    """The texts and calls among blocks of Anthropic's or items of the Responses API."""
    if not isinstance(parts, list):
        return None
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in parts:
        if not isinstance(part, dict):
            continue
        kind, content = part.get("type"), part.get("content")
        if kind == "text":
            texts.append(_text(part))
        elif kind == "message" and isinstance(content, list):
            texts += [_text(each) for each in content if isinstance(each, dict)]
        elif kind == "tool_use":
            calls.append({"function": {"name": part.get("name"), "arguments": part.get("input")}})
        elif kind == "function_call":
            calls.append({"function": {"name": part.get("name"), "arguments": part.get("arguments")}})
    return _chat({"content": "".join(texts), "tool_calls": calls})


def _text(part: dict[str, Any]) -> str:
    text = part.get("text", part.get("refusal"))
    return text if isinstance(text, str) else ""


def _chat(message: dict[str, Any]) -> Answer | None:
    return answer.of({"choices": [{"message": message}]})


def calls(said: Answer) -> list[dict[str, Any]]:
    """The calls of an answer as `expected` of the judge of calls."""
    return [{"name": call.name, "arguments": call.arguments or {}} for call in said.tool_calls]
