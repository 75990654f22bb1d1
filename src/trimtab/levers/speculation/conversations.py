"""Recorded calls as token ids: what a model was given and what it said. Words stand in where none is named."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.engines.chat import ChatTemplate, special_tokens
from trimtab.engines.prepared import locate
from trimtab.engines.shape import read_shape
from trimtab.engines.text import Codec
from trimtab.engines.vocabulary import read_vocabulary
from trimtab.errors import FormatError, ModelError, RequestRefused
from trimtab.trace import Call, EndState, Trace

Message = dict[str, Any]
_PIECES = re.compile(r"[^\W\d]+|\d|[^\w\s]|\s+")


class Spoken(msgspec.Struct, frozen=True):
    """One recorded call; the last of `messages` is its answer."""

    call: Call
    messages: list[Message]
    tools: list[dict[str, Any]]

    @property
    def cluster(self) -> str:
        return self.call.session or self.call.trace_id


class Said(msgspec.Struct, frozen=True):
    """A call in tokens."""

    cluster: str
    agent: str
    concurrency: int
    prompt: list[int]
    answer: list[int]


class Text(msgspec.Struct, frozen=True):
    """A conversation in tokens; `counted` are the places whose token the assistant wrote."""

    agent: str
    ids: list[int]
    counted: list[int]


def spoken(traces: Iterable[Trace], most: int) -> list[Spoken]:
    """The newest `most` whole chat calls with both bodies, oldest first. FormatError where there are none."""
    found = [made for trace in traces for call in trace.calls if (made := _spoken(trace, call)) is not None]
    if not found:
        raise FormatError(
            "no recorded chat call has both its bodies: record with store.record = 'full', then try again"
        )
    found.sort(key=lambda each: (each.call.started_ns, each.call.id))
    return found[-most:]


def _spoken(trace: Trace, call: Call) -> Spoken | None:
    payload = trace.payloads.get(call.id)
    if payload is None or payload.response is None or call.end is not EndState.COMPLETE:
        return None
    messages, choices = payload.request.get("messages"), payload.response.get("choices")
    if not isinstance(messages, list) or not isinstance(choices, list) or not choices:
        return None
    answer = choices[0].get("message") if isinstance(choices[0], dict) else None
    if not isinstance(answer, dict) or not (answer.get("content") or answer.get("tool_calls")):
        return None
    kept = {name: answer[name] for name in ("content", "tool_calls") if answer.get(name)}
    tools = payload.request.get("tools")
    return Spoken(call, [*messages, {"role": "assistant", **kept}], tools if isinstance(tools, list) else [])


def concurrency(calls: Sequence[Spoken]) -> dict[str, int]:
    """By call id: how many calls, itself included, were being answered in the middle of it."""
    edges = sorted(
        edge
        for each in calls
        for edge in (
            (each.call.started_ns, 1, 1, ""),
            (each.call.started_ns + int(each.call.duration_ms * 5e5), 2, 0, each.call.id),
            (each.call.started_ns + int(each.call.duration_ms * 1e6) + 1, 0, -1, ""),
        )
    )
    found, live = {}, 0
    for _, _, change, name in edges:
        live += change
        if name:
            found[name] = max(1, live)
    return found


class Reader:
    """A model's tokenizer and chat template."""

    def __init__(self, folder: Path) -> None:
        """ModelError where either is missing."""
        vocabulary = read_vocabulary(folder, read_shape(folder / "config.json").vocab)
        if vocabulary.tokenizer_json is None or not vocabulary.chat_template:
            raise ModelError(
                f"{folder} has no tokenizer.json or no chat template: traffic cannot be told in its tokens"
            )
        self._codec = Codec(vocabulary.tokenizer_json)
        self._template = ChatTemplate(vocabulary.chat_template, special_tokens(folder))
        self._ends = frozenset(vocabulary.eos)

    def said(self, each: Spoken) -> tuple[list[int], list[int]]:
        """(prompt, answer) ids; both empty where the template refuses."""
        try:
            prompt = self._encode(each.messages[:-1], each.tools, True)
            whole = self._encode(each.messages, each.tools, False)
        except RequestRefused:
            return [], []
        if whole[: len(prompt)] != prompt:
            return [], []
        return prompt, self._ended(whole[len(prompt) :])

    def text(self, each: Spoken) -> Text | None:
        """The conversation with every turn of the assistant counted; None where the template refuses."""
        try:
            ids = self._encode(each.messages, each.tools, False)
            counted: list[int] = []
            for at, message in enumerate(each.messages):
                if message.get("role") == "assistant":
                    begin = len(self._encode(each.messages[:at], each.tools, True))
                    counted += range(begin, begin + len(self._ended(ids[begin:])))
        except RequestRefused:
            return None
        return Text(each.call.agent, ids, counted) if counted else None

    def _encode(self, messages: Sequence[Message], tools: list[dict[str, Any]], opened: bool) -> list[int]:
        return self._codec.encode(self._template.render(messages, tools, {"add_generation_prompt": opened}))

    def _ended(self, ids: list[int]) -> list[int]:
        end = next((at + 1 for at, token in enumerate(ids) if token in self._ends), len(ids))
        return ids[:end]


class Words:
    """Stands in for a tokenizer: words, digits and signs, numbered as they come."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(lambda: len(self._numbers))

    def said(self, each: Spoken) -> tuple[list[int], list[int]]:
        prompt = json.dumps(each.tools, ensure_ascii=False) + "".join(_words(message) for message in each.messages[:-1])
        return self._encode(prompt), self._encode(_words(each.messages[-1]))

    def _encode(self, text: str) -> list[int]:
        return [self._numbers[piece] for piece in _PIECES.findall(text)]


def _words(message: Message) -> str:
    calls = [call.get("function") for call in message.get("tool_calls") or [] if isinstance(call, dict)]
    content = message.get("content") or ""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text + "".join(json.dumps(call, ensure_ascii=False) for call in calls) + "\n"


def reader(target: str) -> Reader | Words:
    return Reader(locate(target)) if target else Words()


def said(calls: Sequence[Spoken], by: Reader | Words) -> list[Said]:
    """Each call in tokens; without those that the template refuses or whose answer is a single token."""
    live = concurrency(calls)
    found = []
    for each in calls:
        prompt, answer = by.said(each)
        if len(answer) > 1:
            found.append(Said(each.cluster, each.call.agent, live[each.call.id], prompt, answer))
    return found


def whole(calls: Sequence[Spoken]) -> list[Spoken]:
    """Without the calls that a later one of the same trace and agent goes on from: it holds their turns as well."""
    kept: list[Spoken] = []
    last: dict[tuple[str, str], list[Spoken]] = {}
    for each in sorted(calls, key=lambda each: -len(each.messages)):
        longer = last.setdefault((each.call.trace_id, each.call.agent), [])
        asked = each.messages[:-1]
        if not any(
            other.messages[: len(asked)] == asked and len(other.messages) > len(each.messages) for other in longer
        ):
            kept.append(each)
            longer.append(each)
    return kept
