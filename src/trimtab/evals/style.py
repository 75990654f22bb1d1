"""Style in numbers: how much texts repeat themselves and one another. Knows no items; words are what spaces part.

Compression ratio and self-repetition as C. Shaib et al. (2024), "Standardizing the measurement of text diversity",
arXiv 2403.00553, propose them.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

Words = Sequence[str]
_LONG = 4
_SHORT = 3


class Style(msgspec.Struct, frozen=True):
    """Of a set of texts. All four depend on how much text there is: compare sets of the same size only.

    `compression`: bytes over compressed bytes of all texts together; higher = more alike. `self_repetition`: mean over
    texts of ln(1 + times that its 4-grams stand in other texts). `loops`: mean share of a text's 4-grams that it said
    before. `distinct`: different 3-grams over all 3-grams; higher = more diverse.
    """

    compression: float
    self_repetition: float
    loops: float
    distinct: float


def of(texts: Sequence[Words]) -> Style:
    """The style of `texts`; all zero where there are no words."""
    whole = "\n".join(" ".join(words) for words in texts).encode(errors="replace")
    shorts = Counter(gram for words in texts for gram in grams(words, _SHORT))
    return Style(
        compression=len(whole) / len(zlib.compress(whole, 9)) if any(texts) else 0.0,
        self_repetition=self_repetition(texts),
        loops=sum(map(loops, texts)) / len(texts) if texts else 0.0,
        distinct=len(shorts) / shorts.total() if shorts else 0.0,
    )


def of_pairs(pairs: Sequence[tuple[Words, Words]]) -> tuple[Style, Style]:
    """The styles of both sides, each pair cut to the length of its shorter text, so that length is not in them."""
    cut = [(one[: len(other)], other[: len(one)]) for one, other in pairs]
    return of([one for one, _ in cut]), of([other for _, other in cut])


def grams(words: Words, size: int) -> Iterator[tuple[str, ...]]:
    """Each run of `size` words."""
    return (tuple(words[at : at + size]) for at in range(len(words) - size + 1))


def loops(words: Words) -> float:
    """The share of a text's 4-grams that it said before, in [0, 1): near 0 for prose, near 1 where a model is stuck."""
    seen = Counter(grams(words, _LONG))
    return 1 - len(seen) / seen.total() if seen else 0.0


def self_repetition(texts: Sequence[Words]) -> float:
    """Mean over texts of ln(1 + N), N = how often the text's different 4-grams stand in the other texts."""
    own = [set(grams(words, _LONG)) for words in texts]
    holders = Counter(gram for each in own for gram in each)
    counts = [sum(holders[gram] - 1 for gram in each) for each in own]
    return sum(math.log1p(count) for count in counts) / len(texts) if texts else 0.0
