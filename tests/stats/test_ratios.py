import random

import pytest

from trimtab.stats.ratios import ratio, share, summed


def test_a_ratio_is_of_sums_and_its_interval_of_clusters():
    told = ratio([(1, 1), (3, 1), (2, 1), (0, 0)])
    assert (told.value, told.n) == (2, 3)
    # Mean 2, standard error 1/√3, t with 2 degrees 4.303.
    assert told.high - told.value == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_nothing_and_one_cluster_have_no_interval():
    assert ratio([]) == (None, None, None, 0)
    assert ratio([(1, 2)]) == (0.5, None, None, 1)
    assert share([(1, 2)])[1:3] == (None, None)


def test_a_share_that_all_or_none_have_gets_wilsons_interval():
    low = share([(0, 3)] * 10)
    assert (low.value, low.low) == (0, 0)
    assert 0.2 < low.high < 0.35
    assert share([(3, 3)] * 10).low == pytest.approx(1 - low.high)


def test_the_interval_covers_where_clusters_are_alike():
    """Sessions of ten calls that share their luck: 95 % of the intervals hold the truth, give or take chance."""
    draw = random.Random(3)
    covered = 0
    for _ in range(400):
        clusters = []
        for _ in range(30):
            luck = draw.random()
            clusters.append((sum(draw.random() < luck for _ in range(10)), 10))
        told = share(clusters)
        covered += told.low <= 0.5 <= told.high
    assert covered / 400 > 0.91


def test_parts_of_a_cluster_are_summed_in_any_order():
    assert summed([("a", 1, 2), ("b", 1, 1), ("a", 0, 1)]) == [(1, 3), (1, 1)]
    assert summed([]) == []
