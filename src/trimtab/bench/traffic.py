"""The dealership's recorded requests: the reference sessions, move by move, with the right answer to each."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from trimtab.arena.dealership import agents, tasks
from trimtab.arena.dealership.session import solved_by_oracle
from trimtab.levers.speculation.conversations import Spoken
from trimtab.trace import Call, EndState

Message = dict[str, Any]


class Move(msgspec.Struct, frozen=True):
    """One request, and the answer that the session went on with."""

    agent: str
    messages: list[Message]
    tools: list[dict[str, Any]]
    right: Message


class Work(msgspec.Struct, frozen=True):
    """One session's requests in their order; `arrival_s` is when its customer came."""

    name: str
    arrival_s: float
    moves: list[Move]


def record(split: str, sessions: int, seed: int) -> list[Work]:
    """`sessions` of the task list `seed`, solved by the oracle."""
    return [_recorded(task) for task in tasks.draw(split, sessions, seed)]


def _recorded(task: tasks.Task) -> Work:
    played = asyncio.run(solved_by_oracle(task))
    moves = []
    for segment in played.segments:
        tools = agents.AGENTS[segment.agent].schemas()
        for at, message in enumerate(segment.messages):
            if message["role"] == "assistant":
                moves.append(Move(segment.agent, segment.messages[:at], tools, message))
    return Work(task.id, task.arrival_s, moves)


def spoken(works: Sequence[Work]) -> list[Spoken]:
    """The same as recorded calls, for a drafter to learn from."""
    chance = random.Random(0)
    made = []
    for number, work in enumerate(works):
        for at, move in enumerate(work.moves):
            call = Call(
                id=f"{chance.getrandbits(128):032x}",
                trace_id=f"{number:032x}",
                span_id=f"{at:016x}",
                started_ns=(number * 1000 + at) * 10**9,
                duration_ms=500.0,
                end=EndState.COMPLETE,
                agent=move.agent,
                session=work.name,
            )
            made.append(Spoken(call, [*move.messages, move.right], move.tools))
    return made


def is_right(move: Move, answer: Message) -> bool:
    """Whether `answer` is the move: the same calls with the same arguments, or words where words were due."""
    return _calls(move.right) == _calls(answer) and bool(_calls(answer) or answer.get("content"))


def _calls(message: Message) -> list[tuple[str, Any]]:
    found = []
    for call in message.get("tool_calls") or []:
        function = call["function"]
        arguments = function.get("arguments") or "{}"
        try:
            told = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            told = arguments
        found.append((function["name"], told))
    return found
