"""Curation: from traces to conversations that may be learned from. Every step says what it left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.data.conversation import Conversation, Funnel, Message, calls_of, objects, same_start
from trimtab.store import personal, redaction
from trimtab.trace import CACHE_TAG, Call, EndState, Payload, Trace

_SHADOW = "trimtab.shadow"
# Licence classes of an endpoint's output. "unknown" counts as closed until someone has read the terms.
OPEN, OWN, CLOSED = "open", "own", "closed"
CLASSES = (OPEN, OWN, CLOSED)
_ENDS = frozenset(("stop", "tool_calls", "function_call"))


class Rules(msgspec.Struct, frozen=True):
    """`licences`: class by endpoint name, or by the model that answered. `success` is the score a trace must have had
    of at least `least`; '' asks for none. `personal_data`: also strike structured personal data out."""

    licences: Mapping[str, str] = {}
    success: str = ""
    least: float = 1.0
    personal_data: bool = False
    agents: tuple[str, ...] = ()


def curated(traces: Iterable[Trace], rules: Rules, funnel: Funnel) -> list[Conversation]:
    """Complete, successful, licence-clean, scrubbed; turns of one conversation put together."""
    calls, why, came = [], Counter[str](), 0
    for trace in traces:
        scores = {score.name: score.value for score in trace.scores}
        for call in trace.calls:
            if rules.agents and call.agent not in rules.agents:
                continue
            came += 1
            found = _read(call, trace.payloads.get(call.id), scores)
            if isinstance(found, str):
                why[found] += 1
            else:
                calls.append(found)
    funnel.note("complete", came, len(calls), why)
    right = funnel.keep("successful", calls, lambda each: _failed(each, rules))
    clean = funnel.keep("licence", right, lambda each: _closed(each, rules.licences))
    whole = list(joined(clean))
    funnel.note("turns put together", len(clean), len(whole), {"said again in a later turn": len(clean) - len(whole)})
    changed = [scrubbed(each, personal_data=rules.personal_data) for each in whole]
    struck = sum(one is not two for one, two in zip(whole, changed, strict=True))
    funnel.note("scrub", len(whole), len(changed), {"struck out in": struck} if struck else {})
    return changed


def _read(call: Call, payload: Payload | None, scores: dict[str, float]) -> Conversation | str:
    """One call as a conversation, or why it is none."""
    if call.end is not EndState.COMPLETE:
        return "not complete"
    if _SHADOW in call.tags or call.tags.get(CACHE_TAG) == "hit":
        return "a comparison's or a cache's"
    if payload is None or payload.response is None:
        return "no bodies"
    given, answer = payload.request.get("messages"), _answer(payload.response)
    messages = objects(given)
    if not messages or not isinstance(given, list) or len(messages) < len(given):
        return "another dialect"
    if answer is None:
        return "answer cut or empty"
    tools = payload.request.get("tools")
    if (fault := malformed(answer, tools)) is not None:
        return fault
    return Conversation(
        messages=[*messages, answer],
        tools=objects(tools),
        taught=(len(messages),),
        session=call.session or call.trace_id,
        agent=call.agent,
        endpoint=call.endpoint,
        model=call.response_model or call.request_model,
        call_ids=(call.id,),
        scores=scores,
    )


def _answer(response: Mapping[str, Any]) -> Message | None:
    choice = next(iter(objects(response.get("choices"))), {})
    message = choice.get("message")
    if not isinstance(message, dict) or str(choice.get("finish_reason")) not in _ENDS:
        return None
    given, content = message.get("tool_calls") or [], message.get("content") or ""
    calls = objects(given)
    if not (content or calls) or not isinstance(content, str) or not isinstance(given, list) or len(calls) < len(given):
        return None
    # A content of null and one of "" are the same to say; the former upsets templates.
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


def malformed(answer: Message, tools: Any) -> str | None:
    """Why no model should learn these tool calls: an unknown tool, no JSON, a null or an unknown argument."""
    known: dict[str, Any] = {}
    for tool in objects(tools):
        if isinstance(function := tool.get("function"), dict):
            parameters = function.get("parameters")
            held = parameters.get("properties") if isinstance(parameters, dict) else None
            known[str(function.get("name"))] = held if isinstance(held, dict) else {}
    for name, given in calls_of(answer):
        if known and name not in known:
            return "calls a tool that was not offered"
        if not isinstance(given, dict):
            return "arguments that are no JSON object"
        if any(value is None for value in given.values()):
            return "a null argument"
        if known and not set(given) <= set(known[name]):
            return "an argument that the tool does not have"
    return None


def _failed(each: Conversation, rules: Rules) -> str | None:
    if not rules.success:
        return None
    value = each.scores.get(rules.success)
    if value is None:
        return f"no score '{rules.success}'"
    return None if value >= rules.least else f"'{rules.success}' below {rules.least:g}"


def _closed(each: Conversation, licences: Mapping[str, str]) -> str | None:
    """Some vendors forbid training on what their models say: an endpoint must be declared open, or one's own."""
    known = licences.get(each.endpoint) or licences.get(each.model) or licences.get("*")
    if known in (OPEN, OWN):
        return None
    name = each.endpoint or each.model
    return f"'{name}' is closed" if known else f"'{name}' has no licence class"


def joined(calls: Sequence[Conversation]) -> Iterator[Conversation]:
    """One conversation for all calls whose messages are the beginning of a later one's; every recorded answer in it is
    taught. In the order of the sessions' first calls."""
    by: dict[tuple[str, str], list[Conversation]] = {}
    for each in calls:
        by.setdefault((each.session, each.agent), []).append(each)
    for some in by.values():
        open_: list[tuple[Conversation, list[Message]]] = []
        for each in sorted(some, key=lambda call: len(call.messages)):
            bare = [_bare(message) for message in each.messages]
            at = next((n for n, (_, held) in enumerate(open_) if same_start(bare, held)), None)
            if at is None:
                open_.append((each, bare))
                continue
            before = open_[at][0]
            taught, ids = (*before.taught, *each.taught), (*before.call_ids, *each.call_ids)
            open_[at] = msgspec.structs.replace(each, taught=taught, call_ids=ids), bare
        yield from (each for each, _ in open_)


def _bare(message: Message) -> Message:
    """What two copies of a message share, whatever ids its calls got: role, words, calls."""
    content = message.get("content") or ""
    return {"role": message.get("role"), "content": content, "calls": calls_of(message)}


def scrubbed(each: Conversation, *, personal_data: bool) -> Conversation:
    """Without secrets; itself where there are none."""

    def strike(value: Any) -> Any:
        if isinstance(value, str):
            found = redaction.scrub_text(value)
            return personal.without(found) if personal_data else found
        if isinstance(value, list):
            return [strike(part) for part in value]
        if isinstance(value, dict):
            return {name: strike(held) for name, held in value.items()}
        return value

    messages = strike(each.messages)
    return each if messages == each.messages else msgspec.structs.replace(each, messages=messages)
