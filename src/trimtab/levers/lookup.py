"""How predictable outputs are from what was read before: the tokens that look-up drafting would get accepted.

Plays n-gram look-up on recorded texts: at each step the latest place where the last words stood before drafts what
followed there. Pieces of texts stand for tokens, for the model's own tokenizer is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from trimtab.levers.examples import Example
from trimtab.levers.narrowness import thinned
from trimtab.stats.ratios import ratio

DRAFT, LONGEST, SHORTEST = 8, 3, 2  # pieces drafted; pieces that must match, from the most down
MOST_CALLS, MOST_PIECES = 100, 4000
_PIECE = re.compile(r" ?[^\W\d_]{1,7}|\d{1,3}|\s+|[^\w\s]|_")


class Predictability(msgspec.Struct, frozen=True, kw_only=True):
    """Over `n` calls with `pieces` of output. `per_step` = pieces written for each run of the model, 1 = no gain, with
    its 95 % interval over sessions; `accepted` is the share of drafted pieces that were right."""

    n: int
    pieces: int
    per_step: float
    low: float
    high: float
    accepted: float


def pieces(text: str) -> list[str]:
    """About as long as tokens of common vocabularies: words in parts of seven letters, digits in threes."""
    return _PIECE.findall(text)


def measure(examples: Sequence[Example], draft: int = DRAFT) -> Predictability:
    """Of at most 100 calls at even distances; of a prompt the last 4,000 pieces."""
    some = thinned(examples, MOST_CALLS)
    rows: list[tuple[str, float, float]] = []
    drafted = right = 0
    for each in some:
        written = pieces(each.output)[:MOST_PIECES]
        steps, tried, hit = played(pieces(each.prompt[-8 * MOST_PIECES :])[-MOST_PIECES:], written, draft)
        rows.append((each.cluster, float(len(written)), float(steps)))
        drafted, right = drafted + tried, right + hit
    per_step, interval = ratio(rows)
    return Predictability(
        n=len(some),
        pieces=int(sum(row[1] for row in rows)),
        per_step=max(1.0, per_step),
        low=max(1.0, interval.low),
        high=min(float(draft + 1), max(1.0, interval.high)),
        accepted=right / drafted if drafted else 0.0,
    )


def played(prompt: list[str], written: list[str], draft: int = DRAFT) -> tuple[int, int, int]:
    """Runs of the model until `written` is there, pieces drafted, and pieces of these that were right."""
    held, seen = list(prompt), _Seen()
    for end in range(1, len(held) + 1):
        seen.add(held, end)
    steps = drafted = right = at = 0
    while at < len(written):
        start = seen.find(held)
        guess = held[start : start + draft] if start is not None else []
        good = 0
        while good < len(guess) and at + good < len(written) and guess[good] == written[at + good]:
            good += 1
        steps, drafted, right = steps + 1, drafted + len(guess), right + good
        for piece in written[at : at + good + 1]:
            held.append(piece)
            seen.add(held, len(held))
        at += good + 1
    return steps, drafted, right


class _Seen:
    """Where each run of two and of three pieces was followed by another last."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, ...], int] = {}
        self._new: list[tuple[tuple[str, ...], int]] = []

    def add(self, held: list[str], end: int) -> None:
        """The runs that end at `end`; they count from the next piece on, for now nothing follows them."""
        self._at.update(self._new)
        self._new = [(tuple(held[end - n : end]), end) for n in range(SHORTEST, LONGEST + 1) if end >= n]

    def find(self, held: list[str]) -> int | None:
        for n in range(LONGEST, SHORTEST - 1, -1):
            if (found := self._at.get(tuple(held[-n:]))) is not None:
                return found
        return None
