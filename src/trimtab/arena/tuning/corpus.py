"""The training corpus: the oracle's sessions on the train split, agent by agent. Knows no model."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator

import msgspec

from trimtab.arena.dealership import agents, tasks
from trimtab.arena.dealership.session import Segment, solved_by_oracle
from trimtab.arena.tuning.text import render

# Each block of tasks has its own few recurring goals, so no goal weighs much in the whole.
BLOCK = 200
# Moves that few sessions have, and the share of such sessions to keep where they are to come more often; of sessions
# with no such move, the last share.
RARE = (
    (re.compile(r"register_customer|is taken"), 1.0),
    (re.compile(r"\$\d{4} a month"), 0.25),
    (re.compile(""), 0.02),
)


class Example(msgspec.Struct, frozen=True):
    """One agent's part of a session, as text; `head` is the constant beginning (system prompt and tools)."""

    agent: str
    head: str
    text: str


def segments(split: str, sessions: int, seed: int, *, rare: bool = False) -> Iterator[Segment]:
    """What the agents saw and did in `sessions` solved sessions; with `rare`, many without a rare move are left out."""
    chance = random.Random(seed)
    for block in range(-(-sessions // BLOCK)):
        for task in tasks.draw(split, min(BLOCK, sessions - block * BLOCK), seed * 100_000 + block):
            played = asyncio.run(solved_by_oracle(task))
            if not rare or chance.random() < share(played.segments):
                yield from played.segments


def share(session: list[Segment]) -> float:
    """How many of such sessions are kept where rare moves are to come more often."""
    text = str([segment.messages for segment in session])
    return next(kept for move, kept in RARE if move.search(text))


def examples(split: str, sessions: int, seed: int, *, rare: bool = False) -> Iterator[Example]:
    """The same as text."""
    heads = {
        name: render([{"role": "system", "content": agent.system}], agent.schemas())
        for name, agent in agents.AGENTS.items()
    }
    for segment in segments(split, sessions, seed, rare=rare):
        text = render(segment.messages, agents.AGENTS[segment.agent].schemas())
        yield Example(agent=segment.agent, head=heads[segment.agent], text=text)
