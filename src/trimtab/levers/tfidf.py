"""Words and pairs of words as weighted features: TF-IDF rows at unit length."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.levers.softmax import Sparse

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MOST_TERMS = 20_000
MOST_IN_A_TEXT = 64  # the weightiest; what bounds the time of a fit
_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_CHARS = 20_000  # of a text that are read, from its end


def terms(text: str) -> list[str]:
    """Lower-case words and pairs of neighbours."""
    words = _WORD.findall(text[-_MOST_CHARS:].lower())
    return words + [f"{left} {right}" for left, right in itertools.pairwise(words)]


class Weights(msgspec.Struct, frozen=True):
    """Places of the terms in the order of `names`, and what each weighs: 1 + ln(n/df)."""

    names: tuple[str, ...]
    idf: tuple[float, ...]

    def rows(self, texts: Iterable[str]) -> Sparse:
        """One row a text: (1 + ln count)·idf, at unit length."""
        import numpy as np

        at = {name: place for place, name in enumerate(self.names)}
        found: list[tuple[Array, Array]] = []
        for text in texts:
            counts = Counter(at[term] for term in terms(text) if term in at)
            weighed = {place: (1 + math.log(n)) * self.idf[place] for place, n in counts.items()}
            kept = sorted(sorted(weighed, key=lambda place: (-weighed[place], place))[:MOST_IN_A_TEXT])
            values = np.array([weighed[place] for place in kept], np.float32)
            length = float((values * values).sum()) ** 0.5
            found.append((np.array(kept, np.int64), values / length if length else values))
        return Sparse(found, len(self.names))


def learn(texts: Sequence[str]) -> Weights:
    """The terms that at least two of `texts` have, the commonest first."""
    held: Counter[str] = Counter()
    for text in texts:
        held.update(set(terms(text)))
    least = 2 if len(texts) > 20 else 1
    common = [(name, n) for name, n in held.items() if n >= least]
    common.sort(key=lambda pair: (-pair[1], pair[0]))
    names = [name for name, _ in common[:MOST_TERMS]]
    return Weights(tuple(names), tuple(1 + math.log(len(texts) / held[name]) for name in names))
