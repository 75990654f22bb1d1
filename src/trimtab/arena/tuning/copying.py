"""Drills in copying: random words said once in a sentence and then again, as a list or in JSON.

An agent copies names, days and ids from what it read; in dialogues alone a small model learns that late. A drill has
nothing to learn by heart, so only copying pays (induction heads: Olsson et al. 2022).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.arena.tuning.pack import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATORS = (" ", '", "', '": "', ", ", ' {"')
WORDS = (12, 40)


def rows(tokenizer: Tokenizer, width: int, seed: int) -> Iterator[Row]:
    """An endless stream of rows of drills, each up to `width` tokens; only what is said again is counted."""
    rng = random.Random(f"copying:{seed}")
    words = sorted(word for word in tokenizer.get_vocab() if word.isalnum() and word.isascii())
    while True:
        row = Row([], [], [], [])
        while True:
            said, again = _drill(words, rng)
            first = tokenizer.encode(said, add_special_tokens=False).ids
            second = tokenizer.encode(again, add_special_tokens=False).ids
            if len(row.ids) + len(first) + len(second) > width:
                break
            row.parts += [(row.parts[-1] if row.parts else 0) + 1] * (len(first) + len(second))
            row.positions += range(len(first) + len(second))
            row.ids += first + second
            row.labels += [-100] * len(first) + second
        yield row


def _drill(words: list[str], rng: random.Random) -> tuple[str, str]:
    """A sentence of random words and numbers, and a part of it said again with other separators."""
    count = rng.randint(*WORDS)
    chosen = [str(rng.randrange(10, 99_999)) if rng.random() < 0.2 else rng.choice(words) for _ in range(count)]
    start = rng.randrange(count // 3)
    return " ".join(chosen) + "\n", rng.choice(SEPARATORS).join(chosen[start : start + count // 2 + 1]) + "\n"
