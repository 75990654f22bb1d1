import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.stats.multiple import e_bh

VALUES = st.lists(st.floats(0, 1e6), max_size=30)


def test_by_hand():
    # K = 4 at 10 %: one alone needs 40, two 20 each, three 13.4 each.
    assert e_bh([40, 1, 1, 1], 0.1) == [0]
    assert e_bh([39, 1, 1, 1], 0.1) == []
    assert e_bh([1, 20, 0, 39], 0.1) == [1, 3]
    assert e_bh([13.4, 14, 15, 0], 0.1) == [0, 1, 2]
    assert e_bh([math.inf, 0], 0.1) == [0]
    assert e_bh([], 0.1) == []


@given(VALUES, st.floats(0.01, 0.5), st.floats(1, 100))
def test_more_evidence_never_ships_less(values, level, factor):
    ships = e_bh(values, level)
    assert set(ships) <= set(e_bh([e * factor for e in values], level))
    assert all(values[at] * level * len(ships) >= len(values) * (1 - 1e-12) for at in ships)


@pytest.mark.parametrize(("values", "level"), [([1], 0), ([1], 1), ([-1], 0.1), ([math.nan], 0.1)])
def test_what_cannot_be_is_refused(values, level):
    with pytest.raises(ValueError, match=r"outside|negative"):
        e_bh(values, level)
