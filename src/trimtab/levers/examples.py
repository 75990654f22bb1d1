"""What an estimator learns from: one recorded call as texts, whatever dialect it was in. Knows no lever.

Bodies come from outside and may be of any shape: what cannot be read is skipped, never an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from trimtab.trace import CACHE_TAG, Call, EndState, Payload, Record, Trace

_SHADOW = "trimtab.shadow"
_SYSTEM = ("system", "developer")
_CALLS = ("function_call", "tool_use", "custom_tool_call")
_canonical = msgspec.json.Encoder(order="deterministic")


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """`head` is what is said before anyone speaks (tools as JSON, then the system prompt), `turns` the texts after it,
    oldest first, the last one what was asked. `answer` is what came back in words; `calls` the tools it asked for with
    their arguments as canonical JSON; `tools` the definitions that were offered, by name, as JSON."""

    call: Call
    head: str
    turns: tuple[str, ...]
    answer: str
    calls: tuple[tuple[str, str], ...] = ()
    tools: Mapping[str, str] = {}

    @property
    def cluster(self) -> str:
        """What depends on one another: a session's calls."""
        return self.call.session or self.call.trace_id

    @property
    def asked(self) -> str:
        return self.turns[-1] if self.turns else ""

    @property
    def prompt(self) -> str:
        """All that the model read."""
        return "\n".join((self.head, *self.turns))

    @property
    def output(self) -> str:
        """All that the model said: words, then one line for each tool call."""
        return "\n".join(part for part in (self.answer, *(f"{name} {given}" for name, given in self.calls)) if part)


def of_traces(traces: Iterable[Trace]) -> Iterator[Example]:
    """Every call that a model answered whole, in the order of its trace."""
    for trace in traces:
        for call in trace.calls:
            found = of(call, trace.payloads.get(call.id))
            if found is not None:
                yield found


def of_records(records: Iterable[Record]) -> Iterator[Example]:
    """As `of_traces`, of records; their bodies may be encoded."""
    for record in records:
        payload = record.payload.decoded() if record.payload is not None else None
        found = of(record.call, payload)
        if found is not None:
            yield found


def of(call: Call, payload: Payload | None) -> Example | None:
    """None without both bodies, for an answer that was cut or failed, and for one that no model gave for a user: a
    cache's, or one asked for a comparison."""
    if payload is None or payload.response is None or call.end is not EndState.COMPLETE:
        return None
    if _SHADOW in call.tags or call.tags.get(CACHE_TAG) == "hit":
        return None
    request = payload.request
    tools = dict(_tools(request))
    first, turns = _parted(request)
    answer, calls = said(payload.response)
    if not turns or not (answer or calls):
        return None
    head = "\n".join(part for part in (*tools.values(), first) if part)
    return Example(call=call, head=head, turns=turns, answer=answer, calls=calls, tools=tools)


def said(response: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The words of an answer in any dialect, and the tools that it calls."""
    if "choices" in response:
        parts: list[dict[str, Any]] = []
        for choice in _objects(response.get("choices"))[:1]:
            message = choice.get("message")
            parts = [message] if isinstance(message, dict) else [{"content": choice.get("text")}]
    else:
        held = response.get("output") if "output" in response else response.get("content")
        parts = _objects(held) if isinstance(held, list) else [{"content": held}]
    words, calls = [], []
    for part in parts:
        if part.get("type") in _CALLS:
            calls.append(_call(part))
            continue
        words.append(_text(part))
        calls += [_call(each.get("function")) for each in _objects(part.get("tool_calls"))]
    return "\n".join(word for word in words if word), tuple(call for call in calls if call[0])


def _parted(request: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The system prompt, and the turns after it."""
    held = next((request[name] for name in ("messages", "input", "prompt") if request.get(name)), None)
    turns = [{"role": "user", "content": held}] if isinstance(held, str) else _objects(held)
    head = [_text({"content": request.get(name)}) for name in ("system", "instructions")]
    count = 0
    while count < len(turns) and turns[count].get("role") in _SYSTEM:
        head.append(_text(turns[count]))
        count += 1
    said = tuple(_turn(turn) for turn in turns[count:])
    return "\n".join(part for part in head if part), said


def _turn(turn: dict[str, Any]) -> str:
    """One turn as text: its words, then the tools that it calls."""
    calls = [_call(each.get("function")) for each in _objects(turn.get("tool_calls"))]
    calls += [_call(turn)] if turn.get("type") in _CALLS else []
    return "\n".join(part for part in (_text(turn), *(f"{name} {given}" for name, given in calls)) if part)


def _text(part: dict[str, Any]) -> str:
    """The words in a message or a piece of one."""
    content = next((part[name] for name in ("content", "text", "output") if part.get(name) is not None), None)
    if isinstance(content, str):
        return content.encode(errors="replace").decode()
    return "\n".join(text for each in _objects(content) if (text := _text(each)))


def _tools(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for tool in _objects(request.get("tools") or request.get("functions")):
        its = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        if isinstance(its, dict) and isinstance(its.get("name"), str):
            yield its["name"], _canonical.encode(tool).decode()


def _call(call: Any) -> tuple[str, str]:
    """The tool's name ('' where there is none), and its arguments in one form whatever their spacing and order."""
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return "", ""
    given = call.get("arguments") if "arguments" in call else call.get("input")
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError:
            return call["name"], given
    return call["name"], _canonical.encode(given).decode()


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list | tuple) else []


def asked_in(request: Mapping[str, Any]) -> str:
    """What `Example.asked` would be of a request that is not answered yet."""
    _, turns = _parted(request)
    return turns[-1] if turns else ""
