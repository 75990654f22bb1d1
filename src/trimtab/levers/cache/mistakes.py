"""How often the comparator is wrong, measured on answers that people labelled; it tightens the policy's α."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from trimtab.levers.cache.comparator import Answer, Comparator
from trimtab.stats.intervals import exact_low


class Mistakes(NamedTuple):
    """Counts of a labelled sample, and upper bounds of two shares (Clopper and Pearson, one-sided)."""

    different: int
    called_same: int
    same: int
    called_different: int
    silent: int
    hidden: float  # of different answers, at most this share is called the same: wrong hits nobody would see
    lost: float  # of equal answers, at most this share is called different


def measured(comparator: Comparator, labelled: Iterable[tuple[Answer, Answer, bool]], error: float = 0.05) -> Mistakes:
    """Feed `Mistakes.hidden` to `policy.Setting.hidden`: the policy then keeps seen wrong hits <= α·(1 − hidden).

    Where a share `hidden` of wrong hits looks right, the true rate w and the seen one o hold w <= o/(1 − hidden).
    With no labelled pair of a kind its bound is 1: nothing may be served until some were labelled.
    """
    counts = {(truth, said): 0 for truth in (True, False) for said in (True, False, None)}
    for fresh, held, truth in labelled:
        counts[truth, comparator.same(fresh, held)] += 1
    different = counts[False, True] + counts[False, False]
    same = counts[True, True] + counts[True, False]
    return Mistakes(
        different,
        counts[False, True],
        same,
        counts[True, False],
        counts[True, None] + counts[False, None],
        1 - exact_low(different - counts[False, True], different, error) if different else 1.0,
        1 - exact_low(same - counts[True, False], same, error) if same else 1.0,
    )
