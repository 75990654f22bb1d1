import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.stats.wealth import Wealth, low_end

SHIFTS = st.one_of(st.none(), st.floats(0.005, 0.5))


def expected(null, shift, chances, steps):
    """E[W] after so many scores, by going through every path; `chances`: score to probability."""
    total = 0.0
    for path in itertools.product(chances, repeat=steps):
        wealth = Wealth(null, shift)
        for x in path:
            wealth.feed(x)
        total += wealth.value * math.prod(chances[x] for x in path)
    return total


@given(null=st.floats(-0.6, 0.6), shift=SHIFTS, flips=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_at_the_edge_of_the_hypothesis_the_mean_wealth_stays_one(null, shift, flips):
    flips = max(flips, abs(null))
    chances = {-1.0: (flips - null) / 2, 0.0: 1 - flips, 1.0: (flips + null) / 2}
    assert expected(null, shift, chances, 4) == pytest.approx(1, abs=1e-9)


@given(
    scores=st.lists(st.floats(-1, 1), min_size=3, max_size=3, unique=True),
    weights=st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    shift=SHIFTS,
    slack=st.floats(0, 0.3),
)
@settings(max_examples=40, deadline=None)
def test_inside_the_hypothesis_no_distribution_makes_it_grow(scores, weights, shift, slack):
    chances = {x: w / sum(weights) for x, w in zip(scores, weights, strict=True)}
    null = min(0.9, sum(x * p for x, p in chances.items()) + slack)
    mean = sum(x * p for x, p in chances.items())
    if mean <= null:
        assert expected(null, shift, chances, 4) <= 1 + 1e-9


def test_a_bet_that_would_win_does():
    """Against 'at most −2 points', on a candidate that is never worse: 1 + λM each time, λ as in the formula."""
    wealth = Wealth(-0.02, 0.02)
    wealth.feed(0.0)
    by_hand = sum(1 + min(lean * 0.02 / (0.15 + 0.0004), 0.95 / 0.98) * 0.02 for lean in (0.5, 0.75, 1, 1.5, 2)) / 5
    assert wealth.value == pytest.approx(by_hand, rel=1e-14)
    wealth.feed(0.0)
    assert wealth.value > by_hand**2, "the moment is learnt from the first score, so the second bet is larger"


def test_the_largest_wealth_is_finite():
    wealth = Wealth(-0.5, 0.5)
    for _ in range(3000):
        wealth.feed(1.0)
    assert math.isfinite(wealth.value)


@given(scores=st.lists(st.floats(-1, 1), max_size=60), shift=SHIFTS, error=st.floats(0.005, 0.2))
@settings(max_examples=60, deadline=None)
def test_the_low_end_parts_what_was_refuted_from_what_was_not(scores, shift, error):
    low = low_end(scores, shift, error)

    def ever(null):
        wealth, highest = Wealth(null, shift), 1.0
        for x in scores:
            wealth.feed(x)
            highest = max(highest, wealth.value)
        return highest >= 1 / error

    if low - 1e-6 > -1:
        assert ever(low - 1e-6)
    if low + 1e-6 < 1:
        assert not ever(low + 1e-6)


def test_the_sequence_holds_the_mean_at_all_times():
    """At 40 times of each of 300 runs; the mean of the skewed scores is −0.02."""
    rng = np.random.default_rng(8)
    missed = 0
    for _ in range(300):
        scores = -(rng.random(400) < 0.02).astype(float)
        missed += low_end(list(scores), 0.02, 0.05) > -0.02
    assert missed / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
