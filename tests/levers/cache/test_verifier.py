"""Logistic regression of our own: it finds the weights, stops at the least loss, and does not peek when held out."""

import numpy as np
import pytest

from trimtab.levers.cache.verifier import Verifier, newton


def made(n=4000, seed=0, features=6):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, features)) * rng.uniform(0.1, 30, features)
    score = 1.0 + 2 * rows[:, 0] / rows[:, 0].std() - rows[:, 4] / rows[:, 4].std()
    return rows, (rng.random(n) < 1 / (1 + np.exp(-score))).astype(float), score


def test_it_finds_the_score():
    rows, right, score = made()
    verifier = Verifier(3)
    verifier.fit(rows, right)
    assert np.corrcoef(verifier.score(rows), score)[0, 1] > 0.98


def test_newton_stops_where_the_slope_is_nothing():
    rows, right, _ = made(800)
    terms = np.c_[np.ones(len(rows)), rows / rows.std(0)]
    beta = newton(terms, right, np.ones(len(rows)), np.zeros(terms.shape[1]), 1.0, 40)
    slope = terms.T @ (1 / (1 + np.exp(-terms @ beta)) - right) + np.r_[1e-6, np.ones(6)] * beta
    assert np.abs(slope).max() < 0.5  # of 800 rows


def test_separable_labels_give_finite_weights():
    rows = np.linspace(-1, 1, 200)[:, None]
    verifier = Verifier(0)
    verifier.fit(rows, (rows[:, 0] > 0).astype(float))
    assert np.isfinite(verifier.weights).all()
    assert verifier.score(np.array([[0.9]]))[0] > 2


def test_held_out_scores_of_noise_say_nothing():
    rng = np.random.default_rng(1)
    rows, right = rng.normal(size=(400, 20)), (rng.random(400) < 0.5).astype(float)
    verifier = Verifier()
    verifier.fit(rows, right)
    peeked, honest = (np.corrcoef(s, right)[0, 1] for s in (verifier.score(rows), Verifier().held_out(rows, right)))
    assert peeked > 0.4
    assert abs(honest) < 0.2


@pytest.mark.parametrize("far", [1e9, -1e9])
def test_one_wild_feature_does_not_carry_the_score_away(far):
    rows, right, _ = made(500)
    verifier = Verifier()
    verifier.fit(rows, right)
    rows[0, 3] = far
    assert np.isfinite(verifier.score(rows)).all()
