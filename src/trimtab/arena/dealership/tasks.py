"""Tasks: which customers come, in which order, and when. Some goals recur often, as in real traffic; most come once."""

from __future__ import annotations

import random
import sqlite3

import msgspec

from trimtab.arena.dealership import goals, phrases, world
from trimtab.arena.dealership.customers import PERSONAS, Customer
from trimtab.errors import ArenaError

RECURRING = 0.35
POOL = 12


class Task(msgspec.Struct, frozen=True):
    """One session to come. The same `world` and `goal` seeds with another `talk` seed is the same wish in other words;
    `arrival_s` is when the customer comes, in seconds from the start."""

    id: str
    split: str
    family: str
    world: int
    goal: int
    talk: int
    persona: str
    arrival_s: float
    recurring: bool = False

    def enter(self) -> tuple[sqlite3.Connection, Customer]:
        """A fresh world and its customer."""
        db = world.build(self.world)
        goal = goals.draw(self.family, db, random.Random(f"goal:{self.goal}"))
        return db, Customer(goal, self.persona, self.split, random.Random(f"talk:{self.talk}"))


def draw(split: str, count: int, seed: int = 0) -> list[Task]:
    """`count` tasks of a split; a longer list of the same seed starts with the shorter one.

    Arrivals are a Poisson process of one a second with a burst (five at once on average) every minute or so.
    """
    if split not in phrases.SPLITS:
        raise ArenaError(f"there is no split '{split}': use one of {', '.join(phrases.SPLITS)}")
    if count < 1:
        raise ArenaError(f"{count} tasks are none: ask for one or more")
    rng = random.Random(f"tasks:{split}:{seed}")
    base = rng.randrange(2**40)
    pool = [(_family(rng), base + i) for i in range(POOL)]
    arrival, tasks = 0.0, []
    for index in range(count):
        recurring = rng.random() < RECURRING
        family, place = (
            rng.choices(pool, [1 / (rank + 1) for rank in range(POOL)])[0]
            if recurring
            else (
                _family(rng),
                base + POOL + index,
            )
        )
        arrival += 0.0 if rng.random() < 0.08 else rng.expovariate(1.0)
        tasks.append(
            Task(
                id=f"{split}-{seed}-{index:05d}",
                split=split,
                family=family,
                world=place,
                goal=place,
                talk=base + 1_000_000 + index,
                persona=rng.choice(PERSONAS),
                arrival_s=round(arrival, 3),
                recurring=recurring,
            )
        )
    return tasks


def _family(rng: random.Random) -> str:
    names = list(goals.FAMILIES)
    return rng.choices(names, [goals.FAMILIES[name].weight for name in names])[0]
