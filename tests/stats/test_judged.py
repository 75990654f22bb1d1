import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.stats.intervals import Interval, clopper_pearson
from trimtab.stats.judged import scaled_margin, split


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
