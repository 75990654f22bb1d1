"""What a request asks, in any dialect: its last words, what came before them, and what else may change the answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

# Members of a body that say who asks, or how the answer is to be sent, and change nothing in it.
_HARMLESS = frozenset(
    (
        *("model", "stream", "stream_options", "metadata", "user", "safety_identifier", "session_id"),
        *("prompt_cache_key", "prompt_cache_retention", "service_tier", "store", "messages", "input", "prompt"),
        *("system", "instructions", "tools", "functions", "response_format", "text", "temperature"),
    )
)
_TEXTS = frozenset(("text", "input_text", "output_text"))
_WORDS = _TEXTS | {"tool_use", "tool_result", "refusal", "thinking"}
_LINKS = ("tool_call_id", "tool_use_id", "call_id")
_WITH_ID = frozenset(("function", "custom", "tool_use", "function_call", "custom_tool_call", "message", "reasoning"))
_OUR_TOOLS = frozenset((None, "function", "custom"))


class Question(msgspec.Struct, frozen=True):
    """`text` is the last turn where a user's words alone are the last turn, else ''. `system` and `tools` are JSON;
    `history` the turns before the last one, `last` that turn itself, both with the ids of tool calls numbered.

    `media` says that there is more than text in it, `hosted` that the server has tools of its own to use, `others` are
    the members of the body that may change the answer.
    """

    text: str = ""
    system: Any = None
    history: tuple[Any, ...] = ()
    last: Any = None
    tools: Any = None
    shape: Any = None
    temperature: float | None = None
    media: bool = False
    hosted: bool = False
    others: dict[str, Any] = {}


def read(dialect: str, body: dict[str, Any]) -> Question | None:
    """The question of a request in `dialect`; None where it is of no known shape."""
    turns = _turns(dialect, body)
    if not turns:
        return None
    system, said = _parted(dialect, body, turns)
    if not said:
        return None
    tools = body.get("tools") or body.get("functions") or None
    temperature = body.get("temperature")
    if temperature is not None and not isinstance(temperature, int | float):
        return None
    *history, last = _numbered(said)
    return Question(
        text=_text(last) if _is_users(last) else "",
        system=system,
        history=tuple(history),
        last=last,
        tools=tools,
        shape=[body.get("response_format"), body.get("text")],
        temperature=temperature,
        media=any(map(_has_media, said)),
        hosted=_is_hosted(tools),
        others={name: held for name, held in body.items() if name not in _HARMLESS and held is not None},
    )


def _turns(dialect: str, body: dict[str, Any]) -> list[Any]:
    name = {"chat": "messages", "messages": "messages", "responses": "input", "embeddings": "input"}.get(dialect)
    held = body.get(name or "prompt")
    if dialect in ("responses", "completions", "embeddings") and isinstance(held, str):
        return [{"role": "user", "content": held}] if held else []
    if not isinstance(held, list):
        return []
    if dialect in ("completions", "embeddings"):
        return [{"role": "user", "content": [{"type": "batch", "of": held}]}]
    return held if all(isinstance(turn, dict) for turn in held) else []


def _parted(dialect: str, body: dict[str, Any], turns: list[Any]) -> tuple[Any, list[Any]]:
    """What is said to the model before anyone speaks, and what is said then."""
    first = next((place for place, turn in enumerate(turns) if not _is_systems(turn)), len(turns))
    return [dialect, body.get("system"), body.get("instructions"), turns[:first]], turns[first:]


def _is_systems(turn: dict[str, Any]) -> bool:
    return turn.get("role") in ("system", "developer")


def _is_users(turn: dict[str, Any]) -> bool:
    return turn.get("role") == "user" and turn.get("type") in (None, "message")


def _text(turn: dict[str, Any]) -> str:
    """The words of a turn; '' where it holds anything else."""
    content = turn.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXTS]
    words = [text for text in texts if isinstance(text, str)]
    return "\n".join(words) if len(words) == len(content) else ""


def _has_media(turn: dict[str, Any]) -> bool:
    content = turn.get("content")
    return isinstance(content, list) and any(
        not isinstance(part, dict) or part.get("type") not in _WORDS for part in content
    )


def _is_hosted(tools: Any) -> bool:
    """Whether a tool is the server's own: what it finds is not in the request."""
    kinds: Iterable[Any] = (tool.get("type") if isinstance(tool, dict) else "" for tool in tools or ())
    return isinstance(tools, list) and any(kind not in _OUR_TOOLS for kind in kinds)


def _numbered(turns: list[Any]) -> list[Any]:
    """`turns` with the ids that link a tool's call to its result counted from 0: a server draws them by chance."""
    known: dict[str, str] = {}
    return [_renumbered(turn, known) for turn in turns]


def _renumbered(part: Any, known: dict[str, str]) -> Any:
    if not isinstance(part, dict):
        return part
    out: dict[str, Any] = {}
    for name, held in part.items():
        is_id = name in _LINKS or (name == "id" and part.get("type") in _WITH_ID)
        if is_id and isinstance(held, str):
            out[name] = known.setdefault(held, f"#{len(known)}")
        elif name in ("tool_calls", "content") and isinstance(held, list):
            out[name] = [_renumbered(each, known) for each in held]
        else:
            out[name] = held
    return out
