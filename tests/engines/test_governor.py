"""The governor: the ladder, and that it stops where drafting was measured not to pay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.engines.governor import CALM, MODEL_LADDER, MOST, PROBE, SELDOM, Governor, checked, read_ladder, text_of
from trimtab.errors import ConfigError


def test_the_ladder_as_shipped():
    crowds = (0, 1, 2, 3, 4, 7, 8, 16, 100)
    assert [Governor(MODEL_LADDER).choose(crowd) for crowd in crowds] == [8, 8, 6, 6, 5, 5, 3, 3, 0]


def test_a_lull_is_believed_after_a_while_and_a_crowd_at_once():
    governor = Governor(MODEL_LADDER)
    assert [governor.choose(crowd) for crowd in (1, 30)] == [8, 0]
    assert [governor.choose(2) for _ in range(CALM)] == [0] * (CALM - 1) + [6]


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, MOST)), max_size=5, unique_by=lambda rung: rung[0]))
def test_what_is_written_is_read_back(more):
    ladder = checked(tuple(sorted(({1: 3} | dict(more)).items())))
    assert read_ladder(text_of(ladder)) == ladder


@given(st.text(alphabet="0123456789:,- x", max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        ladder = read_ladder(text)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert ladder[0][0] == 1


@pytest.mark.parametrize("text", ["", "8", "2:4", "1:4,1:2", "1:4,3:1,2:1", "1:99", "1:4;2:2"])
def test_wrong_ladders(text):
    with pytest.raises(ConfigError):
        read_ladder(text)


def test_it_stops_where_a_drafted_token_costs_more_and_begins_again_when_it_pays():
    governor = Governor(((1, 4), (2, 2)))
    for _ in range(100):
        governor.note(1, True, 50, 2.0)
        governor.note(1, False, 50, 1.0)
    chosen = [governor.choose(1) for _ in range(PROBE * SELDOM * 3)]
    assert chosen.count(4) == 3, "now and then a request is drafted all the same"
    assert governor.choose(2) == 2, "another rung knows nothing of it"
    assert governor.lengths == ((1, 0), (2, 2))
    for _ in range(200):
        governor.note(1, True, 50, 0.5)
    assert governor.lengths == ((1, 4), (2, 2))


def test_what_is_clear_is_asked_more_seldom():
    governor = Governor(((1, 4),))

    def probes(seconds):
        for drafted, cost in ((False, 1.0), (True, seconds)):
            for _ in range(200):
                governor.note(1, drafted, 1000, cost)
        usual = 4 if seconds < 1 else 0
        return sum(governor.choose(1) != usual for _ in range(PROBE * SELDOM))

    assert [probes(seconds) for seconds in (0.5, 0.9, 1.1, 2.0)] == [1, SELDOM, SELDOM, 1]


def test_among_many_the_other_way_is_tried_by_whole_batches():
    governor = Governor(MODEL_LADDER)
    lengths = [governor.choose(8) for _ in range(4 * 8 * PROBE)]
    assert lengths.count(0) == 4 * 8
    first = lengths.index(0)
    assert lengths[first : first + 4 * 8] == [0] * (4 * 8)


def test_both_ways_are_measured_before_it_decides():
    governor = Governor(((1, 4),))
    governor.note(1, True, 10_000, 100.0)
    assert governor.choose(1) == 4
    chosen = [governor.choose(1) for _ in range(PROBE * 2)]
    assert chosen.count(0) == 2
