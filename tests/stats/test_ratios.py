"""A ratio's interval: by hand, and its coverage where the truth is known."""

import math
import random

from trimtab.stats.ratios import ratio


def test_by_hand():
    value, its = ratio([("a", 1, 2), ("b", 1, 1), ("a", 0, 1)])
    assert value == 0.5
    # Residues: a 1 − 0.5·3 = −0.5, b 1 − 0.5 = 0.5; variance 2/1·0.5/16.
    half = 1.959964 * math.sqrt(2 * 0.5 / 16)
    assert math.isclose(its.high - value, half, rel_tol=1e-5)
    assert math.isclose(value - its.low, half, rel_tol=1e-5)


def test_too_little_says_so():
    assert ratio([]) == (0.0, (0.0, 0.0))
    assert ratio([("a", 1, 2)]) == (0.5, (-math.inf, math.inf))


def test_clusters_widen_it_and_it_covers():
    chance, held, misses = random.Random(4), 0, 0
    for _ in range(300):
        rows = []
        for cluster in range(40):
            rate = 0.2 + 0.4 * chance.random()
            rows += [(cluster, float(chance.random() < rate), 1.0) for _ in range(10)]
        _, its = ratio(rows)
        held += its.low <= 0.4 <= its.high
        alone = ratio([(at, above, below) for at, (_, above, below) in enumerate(rows)])[1]
        misses += its.high - its.low < alone.high - alone.low
    assert held / 300 >= 0.9
    assert misses / 300 < 0.3
