"""Assembly: a streamed chat answer put back together, in the shape it would have had if it had not been streamed."""

from __future__ import annotations

from typing import Any

# Strings that name something come whole and may be repeated; all other strings of a delta are pieces of a text.
_NAMES = frozenset({"role", "id", "type", "name", "finish_reason", "object", "model", "created", "service_tier"})


class Pieces(list[str]):
    """A text that is still growing."""


class Assembly:
    """Takes the chunks of one stream in order; `answer()` may be asked at any time."""

    kind = "chat.completion"

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.choices: dict[int, dict[str, Any]] = {}
        self.usage: dict[str, Any] | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        """Merge one decoded chunk; parts of an unknown shape are left out."""
        if not self.head:
            self.head = {name: held for name, held in chunk.items() if name not in ("choices", "usage", "object")}
        used = chunk.get("usage")
        if isinstance(used, dict):
            self.usage = used
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._add_choice(choice)

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if not isinstance(index, int):
            return
        into = self.choices.setdefault(index, {"index": index, "message": {"role": "assistant", "content": None}})
        for name, held in choice.items():
            if name == "delta" and isinstance(held, dict):
                merge(into["message"], held)
            elif name not in ("index", "delta", "message"):
                lay(into, name, held)

    @property
    def finished(self) -> bool:
        """Whether every choice that began has said why it ended."""
        return bool(self.choices) and all(choice.get("finish_reason") for choice in self.choices.values())

    @property
    def finish_reason(self) -> str | None:
        reason = self.choices[min(self.choices)].get("finish_reason") if self.choices else None
        return reason if isinstance(reason, str) else None

    @property
    def model(self) -> str:
        model = self.head.get("model")
        return model if isinstance(model, str) else ""

    def answer(self) -> dict[str, Any] | None:
        """The plain `chat.completion` so far; None before the first choice."""
        if not self.choices:
            return None
        choices = [{"finish_reason": None, **joined(self.choices[index])} for index in sorted(self.choices)]
        answer = {**self.head, "object": self.kind, "choices": choices}
        return answer if self.usage is None else {**answer, "usage": self.usage}


def merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    """Lay `delta` over `into`, item by item."""
    for name, new in delta.items():
        lay(into, name, new)


def lay(into: dict[str, Any], name: str, new: Any) -> None:
    """Lay `new` over what `into` has of that name: texts grow, names are set, objects merge, lists merge by `index` or
    grow."""
    old = into.get(name)
    if new is None:
        into.setdefault(name, None)
    elif isinstance(new, str) and name not in _NAMES:
        if isinstance(old, Pieces):
            old.append(new)
        else:
            into[name] = Pieces([new])
    elif isinstance(new, dict):
        if not isinstance(old, dict):
            old = into[name] = {}
        merge(old, new)
    elif isinstance(new, list):
        if not isinstance(old, list) or isinstance(old, Pieces):
            old = into[name] = []
        _merge_list(old, new)
    elif new != "" or old is None:
        into[name] = new


def _merge_list(into: list[Any], new: list[Any]) -> None:
    for item in new:
        if not isinstance(item, dict) or not isinstance(item.get("index"), int):
            into.append(item)
            continue
        held = next((old for old in into if isinstance(old, dict) and old.get("index") == item["index"]), None)
        if held is None:
            held = {"index": item["index"]}
            into.append(held)
        merge(held, item)


def joined(value: Any) -> Any:
    """`value` with every growing text joined, and without the indexes that only a stream needs."""
    if isinstance(value, Pieces):
        return "".join(value)
    if isinstance(value, dict):
        whole = {name: joined(held) for name, held in value.items()}
        return {**whole, "tool_calls": _without_index(whole["tool_calls"])} if "tool_calls" in whole else whole
    return [joined(item) for item in value] if isinstance(value, list) else value


def _without_index(calls: Any) -> Any:
    if not isinstance(calls, list):
        return calls
    return [{k: v for k, v in call.items() if k != "index"} if isinstance(call, dict) else call for call in calls]
