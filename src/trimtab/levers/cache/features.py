"""What the verifier sees of a question and the answer it might be served: one row of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

NAMES = (
    "ratio", "ratio lead", "cosine", "cosine lead", "vote", "centre", "rarest asked", "idf overlap",
    "record", "tries", "size", "groups seen", "share seen", "first is it", "fifth cosine", "rarest held",
    "overlap", "length", "number", "negation", "question word", "new words", "closest length",
)  # fmt: skip
NEGATIONS = frozenset(
    """not no never without cannot cant dont doesnt isnt wont didnt none nt wasnt havent hasnt couldnt unable arent
    shouldnt wouldnt nothing neither nor""".split()  # noqa: SIM905
)
QUESTIONS = frozenset("how what why when where who which can is do does are should will could would".split())  # noqa: SIM905
WORD = re.compile(r"[a-z0-9]+")


class Words(NamedTuple):
    """One question, cut up."""

    all: frozenset[str]
    numbers: frozenset[str]
    negations: int
    question: str
    length: int


@lru_cache(maxsize=1 << 16)
def words(text: str) -> Words:
    """Its words, numbers, how often it negates, and its first question word."""
    found = WORD.findall(text.lower().replace("'", "").replace("’", ""))
    return Words(
        frozenset(found),
        frozenset(word for word in found if word[0].isdigit()),
        sum(word in NEGATIONS for word in found),
        next((word for word in found if word in QUESTIONS), ""),
        len(found),
    )


class Rarity:
    """Inverse document frequency over the questions stored so far."""

    def __init__(self, counts: Mapping[str, int] | None = None, n: int = 0) -> None:
        self.counts: dict[str, int] = dict(counts or {})
        self.n = n

    def add(self, text: str) -> None:
        """One more question."""
        self.n += 1
        for word in words(text).all:
            self.counts[word] = self.counts.get(word, 0) + 1

    def of(self, word: str) -> float:
        """log((n + 1)/(df + ½)): 0 for a word of every question."""
        return math.log((self.n + 1) / (self.counts.get(word, 0) + 0.5))


def lexical(asked: str, held: Sequence[str], rarity: Rarity) -> list[float]:
    """How the words of `asked` differ from those of the group's nearest questions, `held`, nearest first."""
    a, b = words(asked), words(held[0])
    shared, theirs = a.all & b.all, b.all - a.all
    weight = rarity.of
    known = frozenset().union(*(words(text).all for text in held))
    # Exact sums: a set's order, and so a plain sum's rounding, differs from side to side and from process to process.
    both, either = math.fsum(map(weight, shared)), math.fsum(map(weight, a.all | b.all))
    return [
        max(map(weight, a.all - known), default=0.0),
        both / either if either else 1.0,
        max(map(weight, theirs), default=0.0),
        len(shared) / max(len(a.all | b.all), 1),
        float(a.length),
        float(a.numbers != b.numbers),
        float(a.negations % 2 != b.negations % 2),
        float(a.question != b.question),
        math.fsum(map(weight, a.all - known)),
        abs(a.length - b.length) / max(a.length, b.length, 1),
    ]
