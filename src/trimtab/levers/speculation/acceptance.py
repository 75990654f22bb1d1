"""What drafting gains on recorded answers, counted exactly for greedy decoding, and what it then costs.

A drafted token stands if it is what the model says. So a recorded answer alone tells how many would have stood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from trimtab.levers.speculation.conversations import Said

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16)
STARTS = (1, 2, 4, 8, 16)
NGRAM = 3
# For each token of an answer after the first: how many tokens, from it on, the drafter would have got right in a row.
Runs = list[int]
Drafts = Callable[[Said], Runs]


class Tally(msgspec.Struct):
    """Over some answers, at one draft length: tokens after each first one, steps they took, tokens drafted, taken."""

    tokens: int = 0
    steps: int = 0
    drafted: int = 0
    taken: int = 0

    @property
    def per_step(self) -> float:
        """The acceptance length: tokens a step gives, at least 1."""
        return self.tokens / self.steps if self.steps else 1.0

    @property
    def rate(self) -> float:
        return self.taken / self.drafted if self.drafted else 0.0

    def add(self, runs: Runs, length: int) -> None:
        """One answer: each step takes the tokens drafted right, and one of the model's own."""
        place, end = 0, len(runs)
        while place < end:
            drafted = min(length, end - place)
            taken = min(runs[place], drafted)
            self.steps += 1
            self.drafted += drafted
            self.taken += taken
            place += taken + 1
        self.tokens += end


def runs_of(right: Sequence[bool]) -> Runs:
    """[right, right, wrong, right] -> [2, 1, 0, 1]."""
    found, run = [], 0
    for good in reversed(right):
        run = run + 1 if good else 0
        found.append(run)
    return found[::-1]


def lookup(said: Said, most: int = max(LENGTHS)) -> Runs:
    """Prompt look-up: after the longest run of at most NGRAM tokens that stood before, what followed it is drafted.

    A. Saxena (2023), "Prompt lookup decoding"; of several places the first, as the engine does.
    """
    ids = [*said.prompt, *said.answer]
    begin = len(said.prompt) + 1
    seen: dict[tuple[int, ...], int] = {}
    for place in range(begin):
        _note(seen, ids, place)
    found = []
    for place in range(begin, len(ids)):
        found.append(_run(seen, ids, place, most))
        _note(seen, ids, place)
    return found


def _note(seen: dict[tuple[int, ...], int], ids: list[int], end: int) -> None:
    """Each run of tokens that ends before `end`, with the place `end` that followed it first."""
    for size in range(1, NGRAM + 1):
        if end >= size:
            seen.setdefault(tuple(ids[end - size : end]), end)


def _run(seen: dict[tuple[int, ...], int], ids: list[int], place: int, most: int) -> int:
    for size in range(NGRAM, 0, -1):
        source = seen.get(tuple(ids[place - size : place])) if place >= size else None
        if source is not None and source < place:
            run = 0
            while (
                run < most and place + run < len(ids) and source + run < place and ids[source + run] == ids[place + run]
            ):
                run += 1
            return run
    return 0


class Costs(msgspec.Struct, frozen=True):
    """Steps of the model are counted in readings of its weights: one over T tokens costs 1 + T/`crossover`, and a
    drafted token `draft` more for all requests together."""

    crossover: float
    draft: float

    def step(self, concurrency: int, length: int) -> float:
        """What one step costs each of `concurrency` requests."""
        return (1 + concurrency * (length + 1) / self.crossover + self.draft * length) / concurrency

    def prompt(self, tokens: int) -> float:
        return tokens / self.crossover


class Choice(msgspec.Struct, frozen=True):
    """For one drafter: the draft length at each start of STARTS, 0 where none pays."""

    drafter: str
    lengths: tuple[tuple[int, int], ...]

    @property
    def text(self) -> str:
        """The ladder, without rungs that only repeat the one before."""
        kept = [pair for at, pair in enumerate(self.lengths) if not at or pair[1] != self.lengths[at - 1][1]]
        return ",".join(f"{start}:{length}" for start, length in kept)

    def length(self, concurrency: int) -> int:
        return [length for start, length in self.lengths if start <= max(1, concurrency)][-1]


def choose(drafter: str, tallies: dict[int, Tally], costs: Costs) -> Choice:
    """The length that costs least for each token, by concurrency; `tallies` by length."""

    def cost(start: int, length: int) -> float:
        return costs.step(start, length) / (tallies[length].per_step if length else 1.0)

    return Choice(
        drafter, tuple((start, min((0, *tallies), key=lambda length: cost(start, length))) for start in STARTS)
    )


def tallies(runs: Sequence[Runs], lengths: Sequence[int] = LENGTHS) -> dict[int, Tally]:
    found = {length: Tally() for length in lengths}
    for length, tally in found.items():
        for each in runs:
            tally.add(each, length)
    return found


def spent(said: Said, runs: Runs, choice: Choice, costs: Costs) -> tuple[float, float]:
    """(undrafted, drafted) cost of one call, its prompt included, at the concurrency it had."""
    length = choice.length(said.concurrency)
    prompt = costs.prompt(len(said.prompt)) + costs.step(said.concurrency, 0)
    plain = len(runs) * costs.step(said.concurrency, 0)
    if not length:
        return prompt + plain, prompt + plain
    tally = Tally()
    tally.add(runs, length)
    drafter = costs.draft * costs.prompt(len(said.prompt)) if choice.drafter == "model" else 0.0
    return prompt + plain, prompt + drafter + tally.steps * costs.step(said.concurrency, length)
