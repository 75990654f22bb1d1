"""Conversations as token ids and labels, by the model's own chat template: what is trained is what will be served.

Only the recorded answers count, each with its end of turn.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trimtab.data.conversation import Conversation, Message, Pair
from trimtab.errors import ConfigError, ModelError

TOOL_CALL, HANDOFF, WORDS = "tool call", "hand-off", "words"
_HANDOFFS = ("transfer_to_", "handoff_to_", "hand_off_to_", "delegate_to_")


class Line(msgspec.Struct):
    """`labels` are -100 where the loss does not count; `turns` (start, end, class) of each answer, `end` behind its
    end of turn."""

    ids: list[int]
    labels: list[int]
    turns: list[tuple[int, int, str]]
    agent: str = ""


class Preference(msgspec.Struct):
    """Token ids of what was read, and of the two answers with their ends of turn."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


class Codec:
    """Renders and encodes with a tokenizer of transformers. ModelError where its template cannot be learned from."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.stop = tokenizer.eos_token_id
        if tokenizer.chat_template is None:
            raise ModelError("the tokenizer has no chat template: add chat_template.jinja to the base model's folder")
        if self.stop is None:
            raise ModelError("the tokenizer names no eos_token: without an end of turn a model never stops")

    def render(self, messages: Sequence[Message], tools: Any, *, ask: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            [_served(message) for message in messages], tools=tools or None, tokenize=False, add_generation_prompt=ask
        )
        return text

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def line(self, each: Conversation) -> Line:
        """The pieces between answers are encoded apart, as they are when served."""
        line = Line([], [], [], each.agent)
        done = ""
        for place in each.taught:
            before = self.render(each.messages[:place], each.tools, ask=True)
            after = self.render(each.messages[: place + 1], each.tools, ask=False)
            if not before.startswith(done) or not after.startswith(before):
                raise ModelError(
                    "the chat template renders a conversation's beginning otherwise once it goes on: "
                    "give the base model a template that only appends"
                )
            self._add(line, before[len(done) :], "")
            said = self._answer(after[len(before) :])
            self._add(line, said, _class(each.messages[place]))
            done = before + said
        return line

    def _answer(self, text: str) -> str:
        """An answer to the end of its turn; what the template puts behind it belongs to the next."""
        mark = str(self.tokenizer.eos_token)
        if mark not in text:
            raise ModelError(f"the chat template ends an answer without {mark}: the model would never learn to stop")
        return text[: text.index(mark) + len(mark)]

    def _add(self, line: Line, text: str, kind: str) -> None:
        ids = self.encode(text)
        if kind:
            line.turns.append((len(line.ids), len(line.ids) + len(ids), kind))
        line.ids += ids
        line.labels += ids if kind else [-100] * len(ids)

    def preference(self, pair: Pair) -> Preference:
        before = self.render(pair.messages, pair.tools, ask=True)
        ends = []
        for answer in (pair.chosen, pair.rejected):
            after = self.render([*pair.messages, answer], pair.tools, ask=False)
            ends.append(self.encode(self._answer(after[len(before) :])))
        return Preference(self.encode(before), ends[0], ends[1])


def _served(message: Message) -> Message:
    """A message as model servers hand it to the template: arguments as an object where they are one."""
    if not message.get("tool_calls"):
        return message
    changed = copy.deepcopy(message)
    for call in changed["tool_calls"]:
        function = call.get("function") or {}
        given = function.get("arguments")
        if isinstance(given, str):
            try:
                value = json.loads(given or "{}")
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                function["arguments"] = value
    return changed


def _class(message: Message) -> str:
    calls = message.get("tool_calls") or ()
    if not calls:
        return WORDS
    name = str((calls[0].get("function") or {}).get("name") or "")
    return HANDOFF if name.startswith(_HANDOFFS) else TOOL_CALL


def lines(found: Iterable[Conversation], codec: Codec, most: int) -> list[Line]:
    """ConfigError, with counts, where any is longer than `most`: what is cut off unseen is not learned."""
    made = [codec.line(each) for each in found]
    long = [len(line.ids) for line in made if len(line.ids) > most]
    if long:
        raise ConfigError(
            f"{len(long)} of {len(made)} conversations are longer than max_length {most} (the longest has {max(long)} "
            f"tokens): raise it to {max(long)}, or take such traces out"
        )
    check(made, codec)
    return made


def check(made: Sequence[Line], codec: Codec) -> None:
    """ModelError unless, in every line, just the answers count and each ends with its end of turn."""
    for line in made:
        counted = {at for start, end, _ in line.turns for at in range(start, end)}
        if not counted:
            raise ModelError("a conversation has no answer that counts: nothing would be learned from it")
        if {at for at, label in enumerate(line.labels) if label >= 0} != counted:
            raise ModelError("the loss counts other tokens than the answers': the mask is wrong")
        if any(line.ids[end - 1] != codec.stop for _, end, _ in line.turns):
            raise ModelError("an answer's end of turn is not among its tokens: the model would never learn to stop")


def shared_head(made: Sequence[Line]) -> dict[str, int]:
    """For each agent, how many first tokens all its lines have in common: they are computed once a row."""
    heads: dict[str, list[int]] = {}
    for line in made:
        first = line.turns[0][0]
        held = heads.setdefault(line.agent, line.ids[:first])
        least = min(len(held), first)
        heads[line.agent] = held[: next((at for at in range(least) if held[at] != line.ids[at]), least)]
    return {agent: len(held) for agent, held in heads.items()}
