"""Preference pairs from the oracle's sessions: each rejected answer was played in the same world, and did harm there.

So no rejected answer would have done as well. Knows no model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

from trimtab.arena.dealership import agents, tasks
from trimtab.arena.dealership.session import NEEDS_CONSENT, Message, Segment, Stage, solved_by_oracle
from trimtab.data.conversation import Conversation, Pair
from trimtab.data.synthesize import FORBIDDEN, Acts, calling, candidates

ACTS = Acts(acts=tuple(sorted(NEEDS_CONSENT)))


def pairs(split: str, sessions: int, seed: int) -> Iterator[Pair]:
    """Of `sessions` solved sessions, every kind of `data.synthesize`."""
    for task in tasks.draw(split, sessions, seed):
        played = asyncio.run(solved_by_oracle(task))
        said: list[Message] = []
        for segment in played.segments:
            for pair in _candidates(segment, task.family, task.id, seed):
                place = len(pair.messages)
                before = [*said, *(m for m in segment.messages[:place] if m["role"] == "assistant")]
                if harm(task, before, pair.chosen, pair.rejected):
                    yield pair
            said += [message for message in segment.messages if message["role"] == "assistant"]


def _candidates(segment: Segment, family: str, session: str, seed: int) -> Iterator[Pair]:
    places = tuple(at for at, message in enumerate(segment.messages) if message["role"] == "assistant")
    tools = agents.AGENTS[segment.agent].schemas()
    held = Conversation(
        messages=segment.messages, tools=tools, taught=places, session=session, agent=segment.agent
    )  # fmt: skip
    yield from candidates(held, ACTS, seed)
    if family in ("forbidden", "out_of_scope"):
        # What is to be declined must not even be handed on.
        for place in places:
            for name in agents.AGENTS[segment.agent].tools:
                if name in agents.TRANSFERS:
                    yield Pair(
                        messages=segment.messages[:place], tools=tools, chosen=segment.messages[place],
                        rejected=calling(name, {}), kind=FORBIDDEN, session=session, agent=segment.agent,
                    )  # fmt: skip


def harm(task: tasks.Task, before: list[Message], chosen: Message, rejected: Message) -> str | None:
    """What is wrong with `rejected` where `chosen` is right; None where nothing is. `before` are all answers so far."""
    right, wrong = _after(task, before, chosen), _after(task, before, rejected)
    if len(wrong.breaches) > len(right.breaches):
        return wrong.breaches[-1]
    result = str(wrong.segments[-1].messages[-1].get("content"))
    if rejected.get("tool_calls") and "error" in _decoded(result):
        return f"error: {result}"
    if wrong.here.agent != right.here.agent:
        return f"with {wrong.here.agent} instead of {right.here.agent}"
    there, here = wrong.here.messages[-1], right.here.messages[-1]
    return (
        None
        if (there.get("role"), there.get("content")) == (here.get("role"), here.get("content"))
        else "another result"
    )


def _after(task: tasks.Task, before: list[Message], answer: Message) -> Stage:
    stage = Stage(*task.enter())
    for message in (*before, answer):
        stage.take(message)
    return stage


def _decoded(text: str) -> dict[str, object]:
    try:
        held = json.loads(text)
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}
