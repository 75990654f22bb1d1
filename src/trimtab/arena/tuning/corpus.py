"""The training corpus: the oracle's sessions on the train split, agent by agent. Knows no model."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import msgspec

from trimtab.arena.dealership import agents, tasks
from trimtab.arena.dealership.session import Segment, solved_by_oracle
from trimtab.arena.tuning.text import render

BLOCK = 400


class Example(msgspec.Struct, frozen=True):
    """One agent's part of a session, as text; `head` is the constant beginning (system prompt and tools)."""

    agent: str
    head: str
    text: str


def segments(split: str, sessions: int, seed: int) -> Iterator[Segment]:
    """What the agents saw and did in `sessions` solved sessions.

    Recurring goals are left out: a learner that meets the same few names again and again within a few steps learns
    them by heart instead of learning to copy.
    """
    once = (
        task
        for block in itertools.count()
        for task in tasks.draw(split, BLOCK, seed * 100_000 + block)
        if not task.recurring
    )
    for task in itertools.islice(once, sessions):
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
