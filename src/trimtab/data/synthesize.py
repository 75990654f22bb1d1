"""Hard negatives: what an agent might wrongly have said instead, as preference pairs. Checked by a validator if any.

Four kinds: a wrong tool, a wrong argument, a hand-off that was missed, a forbidden act (a tool that changes something,
called where the right answer is to ask or to decline).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from trimtab.data.conversation import Conversation, Funnel, Message, Pair, calls_of, text_of

WRONG_TOOL, WRONG_ARGUMENT, MISSED_HANDOFF, FORBIDDEN = "wrong tool", "wrong argument", "missed hand-off", "forbidden"
# (what was read, the answer) → what is wrong with it, or None where it would do as well.
Validator = Callable[[Conversation, Message], str | None]
_TOKEN = re.compile(r"[A-Za-z]*\d[\w-]*|[A-Z][a-z]+")


class Acts(msgspec.Struct, frozen=True):
    """Tools by what they do: `handoffs` by the beginning of their names, `acts` those that change something."""

    handoffs: tuple[str, ...] = ("transfer_to_", "handoff_to_", "hand_off_to_", "delegate_to_")
    acts: tuple[str, ...] = ()

    def hands_off(self, name: str) -> bool:
        return name.startswith(self.handoffs)


class Chance(NamedTuple):
    """What wrong answers are drawn with, and from."""

    draw: random.Random
    pool: Mapping[str, Sequence[str]]


def pairs(
    found: Iterable[Conversation], acts: Acts, funnel: Funnel, seed: int = 0, validator: Validator | None = None
) -> list[Pair]:
    """At most one pair of each kind for every taught answer; those that a validator finds nothing wrong with are
    left out."""
    made: list[Pair] = []
    why: dict[str, int] = {}
    came = 0
    held = list(found)
    pool = values(held)
    for each in held:
        for pair in candidates(each, acts, seed, pool):
            came += 1
            wrong = "" if validator is None else validator(_read(each, pair), pair.rejected)
            if wrong is None:
                why["would do as well"] = why.get("would do as well", 0) + 1
            else:
                made.append(pair)
    funnel.note("hard negatives" + (" (verified)" if validator else " (by rule)"), came, len(made), why)
    return made


def _read(each: Conversation, pair: Pair) -> Conversation:
    return msgspec.structs.replace(each, messages=pair.messages, taught=())


def values(found: Iterable[Conversation]) -> dict[str, list[str]]:
    """Every text that was ever given for an argument, by the argument's name."""
    pool: dict[str, set[str]] = {}
    for each in found:
        for place in each.taught:
            for _, given in calls_of(each.messages[place]):
                for name, value in given.items() if isinstance(given, dict) else ():
                    if isinstance(value, str):
                        pool.setdefault(name, set()).add(value)
    return {name: sorted(held) for name, held in pool.items()}


def candidates(
    each: Conversation, acts: Acts, seed: int = 0, pool: Mapping[str, Sequence[str]] | None = None
) -> Iterator[Pair]:
    """What might wrongly have been said instead of each taught answer, unchecked. `pool`: other values of arguments."""
    chance = random.Random(f"{seed} {each.digest}")
    for place in each.taught:
        chosen, before = each.messages[place], each.messages[:place]
        calls = calls_of(chosen)
        if calls:
            rejected = _for_call(each, place, calls[0], acts, Chance(chance, pool or {}))
        else:
            rejected = [(FORBIDDEN, call) for call in _forbidden(each, place, acts)]
        for kind, message in rejected:
            yield Pair(
                messages=before, tools=each.tools, chosen=chosen, rejected=message, kind=kind,
                session=each.session, agent=each.agent,
            )  # fmt: skip


def _for_call(
    each: Conversation, place: int, call: tuple[str, Any], acts: Acts, chance: Chance
) -> list[tuple[str, Message]]:
    name, given = call
    if not isinstance(given, dict):
        return []
    found = []
    if other := _other_tool(each.tools, name, acts, chance):
        found.append((WRONG_TOOL, calling(other, _fitting(each.tools, other, given))))
    if changed := _changed(given, each.messages[:place], chance):
        found.append((WRONG_ARGUMENT, calling(name, changed)))
    if acts.hands_off(name):
        spoken = [m for m in each.messages[:place] if m.get("role") == "assistant" and m.get("content")]
        words = text_of({"content": spoken[-1]["content"]}) if spoken else "I can help you with that."
        found.append((MISSED_HANDOFF, {"role": "assistant", "content": words}))
    return found


def _other_tool(tools: Sequence[dict[str, Any]], name: str, acts: Acts, chance: Chance) -> str:
    """Of the same sort where there is one: another hand-off for a hand-off."""
    names = list(_known(tools))
    others = [other for other in names if other != name]
    alike = [other for other in others if acts.hands_off(other) == acts.hands_off(name)]
    return chance.draw.choice(alike or others) if others else ""


def _fitting(tools: Sequence[dict[str, Any]], name: str, given: dict[str, Any]) -> dict[str, Any]:
    """What of `given` the tool `name` takes."""
    return {key: value for key, value in given.items() if key in _known(tools).get(name, {})}


def _known(tools: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each tool's arguments."""
    found = {}
    for tool in tools:
        if isinstance(function := tool.get("function"), dict):
            parameters = function.get("parameters")
            held = parameters.get("properties") if isinstance(parameters, dict) else None
            found[str(function.get("name"))] = held if isinstance(held, dict) else {}
    return found


def _changed(given: dict[str, Any], before: Sequence[Message], chance: Chance) -> dict[str, Any]:
    """One argument with another value: one of its form that was said before, else one that the argument had elsewhere,
    else with a digit changed; {} if none."""
    keys = sorted(key for key, value in given.items() if isinstance(value, str | int) and not isinstance(value, bool))
    if not keys:
        return {}
    key = chance.draw.choice(keys)
    value = given[key]
    said = {word for message in before if message.get("role") != "system" for word in _TOKEN.findall(text_of(message))}
    alike = sorted(word for word in said if _form(word) == _form(str(value)) and word != str(value))
    alike = alike or [other for other in chance.pool.get(key, ()) if other != value]
    if isinstance(value, str) and alike:
        return {**given, key: chance.draw.choice(alike)}
    digits = [at for at, char in enumerate(str(value)) if char.isdigit()]
    if not digits:
        return {}
    at = chance.draw.choice(digits)
    other = chance.draw.choice([digit for digit in "123456789" if digit != str(value)[at]])
    text = str(value)[:at] + other + str(value)[at + 1 :]
    return {**given, key: type(value)(text)}


def _form(word: str) -> str:
    return re.sub(r"[a-z]+", "a", re.sub(r"[A-Z]", "A", re.sub(r"\d", "0", word)))


def _forbidden(each: Conversation, place: int, acts: Acts) -> list[Message]:
    """The act that comes later, done at once instead of asked for: the nearest later call of a tool that changes
    something."""
    for later in each.taught:
        if later <= place:
            continue
        for name, given in calls_of(each.messages[later]):
            if name in acts.acts and isinstance(given, dict):
                return [calling(name, given)]
    return []


def calling(name: str, arguments: dict[str, Any]) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": "call_0", "type": "function", "function": function}
    return {"role": "assistant", "content": "", "tool_calls": [call]}
