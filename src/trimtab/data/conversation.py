"""Conversation: the one record that flows through curation, and the counts of what each step took in and gave on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

Message = dict[str, Any]
SYSTEM = ("system", "developer")


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent read and said, in the chat dialect; the last message is the model's.

    `taught` are the places in `messages` of answers that were recorded as such: only they are learned from. `session`
    is what depends on one another, `endpoint` who answered.
    """

    messages: list[Message]
    tools: list[dict[str, Any]]
    taught: tuple[int, ...]
    session: str
    agent: str = ""
    endpoint: str = ""
    model: str = ""
    call_ids: tuple[str, ...] = ()
    scores: dict[str, float] = {}

    @property
    def spoken(self) -> list[Message]:
        """Without the system prompt, which is the same every time."""
        return [message for message in self.messages if message.get("role") not in SYSTEM]

    @property
    def opening(self) -> str:
        """What the user said first."""
        return next((text_of(m) for m in self.messages if m.get("role") == "user"), "")

    @property
    def text(self) -> str:
        return "\n".join(f"{message.get('role')}: {text_of(message)}" for message in self.spoken)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.messages, self.tools], sort_keys=True).encode()).hexdigest()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A preference: after `messages`, the answer `chosen` rather than `rejected`; `kind` says what is wrong with it."""

    messages: list[Message]
    tools: list[dict[str, Any]]
    chosen: Message
    rejected: Message
    kind: str
    session: str
    agent: str = ""


class Count(msgspec.Struct, frozen=True):
    """One step: how many came in, how many went on, and why the others did not."""

    step: str
    came: int
    went: int
    why: dict[str, int] = {}


class Funnel:
    """The steps so far. A filter says for each conversation why it goes no further, or None."""

    def __init__(self) -> None:
        self.counts: list[Count] = []

    def keep(
        self, step: str, found: Iterable[Conversation], against: Callable[[Conversation], str | None]
    ) -> list[Conversation]:
        kept, why, came = [], Counter[str](), 0
        for each in found:
            came += 1
            reason = against(each)
            if reason is None:
                kept.append(each)
            else:
                why[reason] += 1
        self.note(step, came, len(kept), why)
        return kept

    def note(self, step: str, came: int, went: int, why: Counter[str] | dict[str, int]) -> None:
        self.counts.append(Count(step, came, went, dict(sorted(why.items()))))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For people to read."""
        reasons = [", ".join(f"{name} {n:,}" for name, n in count.why.items()) for count in self.counts]
        return [
            {"step": count.step, "in": count.came, "out": count.went, "left out": why}
            for count, why in zip(self.counts, reasons, strict=True)
        ]


def text_of(message: Message) -> str:
    """The words of a message, then one line for each tool that it calls."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in objects(content))
    lines = [str(content)] if content else []
    for function in _functions(message):
        lines.append(f"{function.get('name')} {function.get('arguments')}")
    return "\n".join(lines)


def calls_of(message: Message) -> list[tuple[str, Any]]:
    """(name, arguments) of each tool call; arguments decoded where they are JSON, else their text."""
    found = []
    for function in _functions(message):
        given = function.get("arguments")
        if isinstance(given, str):
            with contextlib.suppress(ValueError, RecursionError):
                given = json.loads(given or "{}")
        found.append((str(function.get("name") or ""), given))
    return found


def _functions(message: Message) -> list[dict[str, Any]]:
    return [
        held if isinstance(held := call.get("function"), dict) else {} for call in objects(message.get("tool_calls"))
    ]


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list from outside; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def same_start(longer: Sequence[Message], shorter: Sequence[Message]) -> bool:
    return len(longer) > len(shorter) and list(longer[: len(shorter)]) == list(shorter)
