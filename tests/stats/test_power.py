import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.stats.power import cap, expected_n, fixed_n, smallest_margin


@pytest.mark.parametrize(
    ("margin", "flips", "n80", "n90"),
    [(0.01, 0.05, 3088, 4278), (0.02, 0.1, 1542, 2137), (0.03, 0.1, 683, 947), (0.05, 0.2, 491, 681)],
)
def test_sizes_known_from_simulation(margin, flips, n80, n90):
    assert (fixed_n(margin, flips, 0.8), fixed_n(margin, flips, 0.9)) == (n80, n90)
    assert n90 * 1.6 <= cap(margin, flips) < n90 * 1.6 + 1


@given(st.integers(20, 100_000), st.floats(0.01, 1))
def test_the_smallest_margin_is_the_inverse(n, flips):
    margin = smallest_margin(n, flips, 0.9)
    if margin < 1:
        assert fixed_n(margin, flips, 0.9) <= n
        assert fixed_n(margin * 0.99, flips, 0.9) > n


def test_two_hundred_items_certify_about_five_points():
    assert 0.05 < smallest_margin(200, 0.1) < 0.06


def test_too_few_items_certify_nothing():
    assert smallest_margin(1, 0.5) == 1.0


def test_the_forecast_knows_good_from_bad():
    equal, bad = expected_n(0.05, 0.1, runs=300), expected_n(0.05, 0.2, -0.1, runs=300)
    assert equal.promotes > 0.8
    assert equal.n < fixed_n(0.05, 0.1)
    assert bad.rejects > 0.95
    assert expected_n(0.05, 0.1, runs=300) == equal


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: fixed_n(0, 0.1),
        lambda: fixed_n(0.1, 0.001),
        lambda: fixed_n(0.1, 1.1),
        lambda: fixed_n(0.1, 0.1, 1.0),
        lambda: smallest_margin(0, 0.1),
        lambda: expected_n(0.05, 0.05, -0.1),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
