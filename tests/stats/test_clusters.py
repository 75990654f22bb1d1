import math

import numpy as np
import pytest

from trimtab.stats.clusters import design_effect, effective_n, icc

# P. E. Shrout, J. L. Fleiss (1979), table 2: four judges, six targets.
RATINGS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_a_published_value():
    assert icc(RATINGS) == pytest.approx(0.17, abs=0.005)


def test_clusters_of_one_mind_count_once():
    clusters = [[0.0] * 5, [1.0] * 5, [0.0] * 5]
    assert icc(clusters) == 1
    assert design_effect(clusters) == pytest.approx(5)
    assert effective_n(clusters) == pytest.approx(3)


def test_the_design_effect_is_the_variance_that_clustering_adds():
    rng = np.random.default_rng(1)
    alike, shared = rng.random((4000, 1)) < 0.5, rng.normal(size=(4000, 1))
    scores = np.where(alike, shared, rng.normal(size=(4000, 6)))
    added = scores.mean(axis=1).var() * 6 / scores.var()
    assert design_effect(list(scores)) == pytest.approx(added, rel=0.05)
    assert icc(list(scores)) == pytest.approx(0.5, abs=0.05)


def test_unequal_sizes_and_no_variance():
    assert icc([[1.0], [1.0, 1.0]]) == 0
    assert design_effect([[1.0], [1.0, 1.0]]) == 1
    assert 0 < effective_n([[1.0, 0.0], [0.0], [1.0, 1.0, 1.0]]) <= 6


@pytest.mark.parametrize("clusters", [[], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0], []], [[1.0, math.nan], [1.0]]])
def test_what_cannot_be_is_refused(clusters):
    with pytest.raises(ValueError, match=r"need|finite"):
        icc(clusters)
