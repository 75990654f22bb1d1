import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.stats.noninferiority import clustered_bootstrap, newcombe, tango

COUNTS = st.integers(1, 400).flatmap(
    lambda n: st.integers(0, n).flatmap(
        lambda g: st.integers(0, n - g).flatmap(
            lambda lost: st.tuples(st.just(g), st.just(lost), st.just(n), st.integers(0, n - g - lost))
        )
    )
)


def inverted(gains, losses, n, tail=0.025):
    """The low end of the score interval: the difference that the test just refutes."""
    low, high = -0.999, 0.999
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if tango(gains, losses, n, -middle) < tail else (low, middle)
    return low


def test_published_intervals():
    # M. W. Fagerland, S. Lydersen, P. Laake (2014), Statistics in Medicine 33:2850-2875: (1, 1; 7, 12).
    assert inverted(1, 7, 21) == pytest.approx(-0.517, abs=5e-4)
    assert -inverted(7, 1, 21) == pytest.approx(-0.026, abs=5e-4)
    assert newcombe(1, 7, 21, 1) == pytest.approx((-0.507, -0.026), abs=5e-4)
    # R. G. Newcombe (1998), Statistics in Medicine 17:2635-2650, table II: 36, 12, 2, 0, method 10.
    assert newcombe(12, 2, 50, 36) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(COUNTS)
def test_at_margin_zero_tango_is_mcnemar(counts):
    gains, losses, n, _ = counts
    if gains + losses:
        z = (gains - losses) / math.sqrt(gains + losses)
        assert tango(gains, losses, n, 0.0) == pytest.approx(1 - NormalDist().cdf(z), abs=1e-9)


@given(COUNTS, st.floats(0.001, 0.5), st.floats(0.001, 0.4))
def test_a_wider_margin_is_easier_and_a_gain_helps(counts, margin, more):
    gains, losses, n, _ = counts
    p = tango(gains, losses, n, margin)
    assert 0 <= p <= 1
    assert tango(gains, losses, n, margin + more) <= p + 1e-12
    if losses:
        assert tango(gains + 1, losses - 1, n, margin) <= p + 1e-12


@given(COUNTS, st.floats(0.5, 0.99))
def test_newcombe_holds_the_difference_and_mirrors(counts, confidence):
    gains, losses, n, right = counts
    low, high = newcombe(gains, losses, n, right, confidence)
    assert -1 <= low <= (gains - losses) / n + 1e-12
    assert (gains - losses) / n - 1e-12 <= high <= 1
    assert newcombe(losses, gains, n, right, confidence) == pytest.approx((-high, -low), abs=1e-9)


def test_no_pair_tells_nothing():
    assert tango(0, 0, 0, 0.02) == 1
    assert newcombe(0, 0, 0, 0) == (-1, 1)


def test_the_bootstrap_covers_the_mean_of_clusters():
    rng, held, runs = np.random.default_rng(7), 0, 120
    for seed in range(runs):
        shared = rng.normal(0, 0.2, 40)
        clusters = [list(rng.normal(mean, 0.2, 5)) for mean in shared]
        low, high = clustered_bootstrap(clusters, 0.9, seed, resamples=400)
        held += low <= 0 <= high
    assert held / runs > 0.9 - 3 * math.sqrt(0.09 / runs)


def test_the_bootstrap_draws_whole_clusters():
    """Ten alike items tell no more than one."""
    few = [[x] for x in (-0.5, 0.0, 0.5, 0.25) * 10]
    many = [cluster * 10 for cluster in few]
    assert clustered_bootstrap(few, seed=3) == clustered_bootstrap(many, seed=3)
    assert clustered_bootstrap(few, seed=3) != clustered_bootstrap(few, seed=4)
    assert clustered_bootstrap([[0.0], [0.0]]) == (0, 0)
    assert clustered_bootstrap([[0.0], [1e-127]]).high <= 1e-127, "what is tiny is not nothing"


@given(st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=3), min_size=2, max_size=12), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_bootstrap_stays_within_the_means(clusters, seed):
    low, high = clustered_bootstrap(clusters, seed=seed, resamples=200)
    means = [sum(cluster) / len(cluster) for cluster in clusters]
    assert min(means) - 1e-9 <= low <= high <= max(means) + 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: tango(-1, 0, 5, 0.1),
        lambda: tango(3, 3, 5, 0.1),
        lambda: tango(1, 1, 5, 1.0),
        lambda: tango(1, 1, 5, math.nan),
        lambda: newcombe(1, 1, 5, 4),
        lambda: newcombe(1, 1, 5, 1, 1.0),
        lambda: clustered_bootstrap([[1.0]]),
        lambda: clustered_bootstrap([[1.0], []]),
        lambda: clustered_bootstrap([[1.0], [math.nan]]),
        lambda: clustered_bootstrap([[1.0], [0.0]], 0.0),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
