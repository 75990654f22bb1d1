"""Numbers as people read them."""

import pytest

from trimtab.plan.findings import Figure
from trimtab.plan.spending import Spend
from trimtab.ui.audit import numbers


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0"),
        (7_100, "$0.0000071"),
        (250_000_000, "$0.25"),
        (12_340_000_000, "$12.34"),
        (52_500 * 10**9, "$52.5k"),
        (3_200_000 * 10**9, "$3.2M"),
        (None, "unknown"),
    ],
)
def test_money(nano, text):
    assert numbers.money(nano) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0%"), (0.0004, "<0.1%"), (0.031, "3.1%"), (0.5, "50%"), (0.9962, "99.6%"), (1, "100%")]
)
def test_a_share_is_nothing_or_all_only_where_it_is(value, text):
    assert numbers.share(value) == text


def test_a_sum_with_unpriced_calls_is_a_lower_bound():
    assert numbers.spent(Spend(5_000_000_000, 2, 1)) == "≥ $5.00"
    assert numbers.spent(Spend(0, 0, 4)) == "unknown"


def test_a_figure_shows_its_interval_where_it_has_one():
    assert numbers.figure(Figure(value=0.5, low=0.4, high=0.6)) == "50% (40% to 60%)"
    assert numbers.figure(Figure(value=0.5)) == "50%"
    assert numbers.figure(Figure()) == "–"


def test_a_time_of_nought_is_none_known():
    assert numbers.milliseconds(0) == "–"
    assert numbers.milliseconds(1500) == "1.5 s"
