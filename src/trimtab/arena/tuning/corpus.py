"""The training corpus: the oracle's sessions on the train split, agent by agent. Knows no model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec

from trimtab.arena.dealership import agents, tasks
from trimtab.arena.dealership.session import Segment, solved_by_oracle
from trimtab.arena.tuning.text import render

# Each block of tasks has its own few recurring goals, so no goal weighs much in the whole.
BLOCK = 200


class Example(msgspec.Struct, frozen=True):
    """One agent's part of a session, as text; `head` is the constant beginning (system prompt and tools)."""

    agent: str
    head: str
    text: str


def segments(split: str, sessions: int, seed: int) -> Iterator[Segment]:
    """What the agents saw and did in `sessions` solved sessions."""
    for block in range(-(-sessions // BLOCK)):
        for task in tasks.draw(split, min(BLOCK, sessions - block * BLOCK), seed * 100_000 + block):
            yield from asyncio.run(solved_by_oracle(task)).segments


def examples(split: str, sessions: int, seed: int) -> Iterator[Example]:
    """The same as text."""
    heads = {
        name: render([{"role": "system", "content": agent.system}], agent.schemas())
        for name, agent in agents.AGENTS.items()
    }
    for segment in segments(split, sessions, seed):
        text = render(segment.messages, agents.AGENTS[segment.agent].schemas())
        yield Example(agent=segment.agent, head=heads[segment.agent], text=text)
