"""The curve is as steep as the truth, and its threshold keeps the bound as often as it says."""

import math

import numpy as np
import pytest

from trimtab.levers.cache import risk


def draws(rng, n, steep=1.0):
    scores = rng.normal(2.0, 2.0, n)
    return scores, (rng.random(n) < 1 / (1 + np.exp(-steep * np.minimum(scores, 5.5)))).astype(float)


@pytest.mark.parametrize("steep", [0.7, 1.0, 1.4])
def test_the_curve_finds_the_truth(steep):
    scores, right = draws(np.random.default_rng(1), 20_000, steep)
    found = risk.curve(scores, right)
    assert found.b == pytest.approx(steep, abs=0.12)
    assert found.wrong(3.0) == pytest.approx(1 / (1 + math.exp(3 * steep)), rel=0.25)


def test_above_the_ceiling_more_score_is_not_believed():
    scores, right = draws(np.random.default_rng(2), 5000)
    found = risk.curve(scores, right)
    assert found.wrong(20.0) == found.wrong(found.ceiling) > 0


@pytest.mark.parametrize("confidence", [0.7, 0.95])
def test_the_bound_is_kept_as_often_as_it_says(confidence):
    """The true share above the chosen threshold, over 300 samples of labels."""
    rng = np.random.default_rng(3)
    recent = rng.normal(2.0, 2.0, 20_000)
    truth = 1 / (1 + np.exp(np.minimum(recent, 5.5)))
    kept = []
    for _ in range(300):
        threshold = risk.curve(*draws(rng, 1500)).threshold(recent, 0.03, confidence)
        kept.append(not np.isfinite(threshold) or truth[recent >= threshold].mean() <= 0.03)
    assert np.mean(kept) >= confidence - 0.07  # three standard errors, and a lean for the ages of labels


def test_more_confidence_and_a_smaller_alpha_serve_less():
    rng = np.random.default_rng(4)
    found, recent = risk.curve(*draws(rng, 4000)), rng.normal(2.0, 2.0, 5000)
    assert found.threshold(recent, 0.03, 0.95) >= found.threshold(recent, 0.03, 0.6)
    assert found.threshold(recent, 0.02, 0.7) > found.threshold(recent, 0.05, 0.7)


def test_where_nothing_is_safe_enough_nothing_is_served():
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 1, 2000)
    right = (rng.random(2000) < 0.6).astype(float)
    assert risk.curve(scores, right).threshold(scores, 0.01, 0.7) == math.inf


def test_recent_labels_weigh_more():
    rng = np.random.default_rng(6)
    scores, right = draws(rng, 8000)
    worse = right.copy()
    worse[4000:] = (rng.random(4000) < 0.5) * right[4000:]
    late, early = risk.curve(scores, worse), risk.curve(scores, worse[::-1].copy())
    assert late.wrong(3.0) > early.wrong(3.0)
