import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.stats.intervals import Interval, clopper_pearson
from trimtab.stats.judged import Labels, calibrated_margin, scaled_margin, split, youden_low


def test_a_perfect_judge_changes_nothing_and_a_poor_one_shrinks():
    assert scaled_margin(0.02, 1.0, 1.0) == 0.02
    assert scaled_margin(0.02, 0.9, 0.8) == pytest.approx(0.014)


@given(st.integers(1, 400), st.integers(1, 400))
def test_what_is_not_known_of_the_judge_never_helps(right, wrong):
    sensitivity, specificity = clopper_pearson(right, 400, 0.99), clopper_pearson(wrong, 400, 0.99)
    if sensitivity.low + specificity.low > 1:
        assert scaled_margin(0.05, sensitivity, specificity) <= scaled_margin(0.05, right / 400, wrong / 400)


def test_alpha_is_shared_out():
    alpha, confidence = split(0.05)
    assert alpha + (1 - confidence) == pytest.approx(0.05)
    assert alpha == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("margin", "sensitivity", "specificity", "says"),
    [
        (0.0, 0.9, 0.9, "margin"),
        (math.nan, 0.9, 0.9, "margin"),
        (0.1, 1.1, 0.9, "outside"),
        (0.1, math.nan, 0.9, "outside"),
        (0.1, 0.5, 0.5, "chance"),
        (0.1, Interval(0.4, 0.9), Interval(0.5, 0.9), "chance"),
    ],
)
def test_what_cannot_be_is_refused(margin, sensitivity, specificity, says):
    with pytest.raises(ValueError, match=says):
        scaled_margin(margin, sensitivity, specificity)
    with pytest.raises(ValueError, match="alpha"):
        split(0.0)


@pytest.mark.parametrize(("sensitivity", "specificity", "n"), [(0.9, 0.9, 12), (0.7, 0.95, 10), (0.99, 0.8, 8)])
@pytest.mark.parametrize("error", [0.01, 0.1])
def test_the_bound_on_the_sum_fails_no_oftener_than_it_says(sensitivity, specificity, n, error):
    """Every outcome of the calibration, with its probability."""
    fails = 0.0
    for right, wrong in itertools.product(range(n + 1), repeat=2):
        chance = math.comb(n, right) * sensitivity**right * (1 - sensitivity) ** (n - right)
        chance *= math.comb(n, wrong) * specificity**wrong * (1 - specificity) ** (n - wrong)
        if chance > 1e-6 and youden_low(Labels(right, n), Labels(wrong, n), error) > sensitivity + specificity - 1:
            fails += chance
    assert fails <= error


def test_one_bound_on_the_sum_is_nearer_than_two():
    right, wrong = Labels(180, 200), Labels(170, 200)
    two = scaled_margin(0.02, *(clopper_pearson(*each, split(0.05).confidence) for each in (right, wrong)))
    assert two < calibrated_margin(0.02, right, wrong) < 0.02 * 0.75


@pytest.mark.parametrize(
    ("margin", "right", "wrong", "says"),
    [
        (0.0, Labels(9, 9), Labels(9, 9), "margin"),
        (0.1, Labels(3, 6), Labels(4, 6), "chance"),
        (0.1, Labels(7, 6), Labels(4, 6), "hits"),
        (0.1, Labels(0, 0), Labels(0, 0), "chance"),
    ],
)
def test_labels_that_tell_nothing_are_refused(margin, right, wrong, says):
    with pytest.raises(ValueError, match=says):
        calibrated_margin(margin, right, wrong)
