"""Acceptance counted from answers alone, against decoding step by step; and what is chosen by it."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.levers.speculation.acceptance import Costs, Tally, choose, lookup, runs_of, spent, tallies
from trimtab.levers.speculation.conversations import Said

TOKENS = st.lists(st.integers(0, 4), min_size=2, max_size=40)


def said(prompt, answer, concurrency=1):
    return Said("s", "a", concurrency, prompt, answer)


def proposed(ids, length):
    """Look-up written as one would by hand: the longest suffix that stood before, at its first place."""
    for size in (3, 2, 1):
        for at in range(len(ids) - size):
            if size <= len(ids) and ids[at : at + size] == ids[len(ids) - size :]:
                return ids[at + size : at + size + length]
    return []


def decoded(one, length):
    """(steps, taken) of greedy decoding that says `one.answer`."""
    ids, rest = [*one.prompt, one.answer[0]], one.answer[1:]
    steps = taken = 0
    while rest:
        drafts = proposed(ids, min(length, len(rest)))
        good = 0
        while good < len(drafts) and good < len(rest) and drafts[good] == rest[good]:
            good += 1
        steps, taken = steps + 1, taken + good
        ids, rest = ids + rest[: good + 1], rest[good + 1 :]
    return steps, taken


@given(TOKENS, TOKENS, st.integers(1, 8))
def test_lookup_takes_as_many_tokens_as_decoding_step_by_step(prompt, answer, length):
    one = said(prompt, answer)
    tally = Tally()
    tally.add(lookup(one), length)
    assert (tally.steps, tally.taken) == decoded(one, length)


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 8))
def test_a_step_gives_one_token_more_than_it_takes(right, length):
    tally = Tally()
    tally.add(runs_of(right), length)
    assert tally.tokens == len(right)
    assert tally.steps <= tally.tokens <= tally.steps * (length + 1)
    assert tally.taken <= tally.drafted <= tally.steps * length


def test_runs():
    assert runs_of([True, True, False, True]) == [2, 1, 0, 1]


def test_a_good_drafter_is_used_alone_and_not_in_a_crowd():
    good, bad = [runs_of([True] * 20)], [runs_of([False] * 20)]
    costs = Costs(8.0, 0.05)
    lengths = dict(choose("model", tallies(good), costs).lengths)
    assert lengths[1] >= 4
    assert lengths[16] < lengths[1]
    assert set(dict(choose("model", tallies(bad), costs).lengths).values()) == {0}


def test_what_does_not_pay_costs_what_it_cost_before():
    one = said([1, 2], [3] * 9)
    choice = choose("lookup", tallies([runs_of([False] * 8)]), Costs(8.0, 0.0))
    plain, drafted = spent(one, runs_of([False] * 8), choice, Costs(8.0, 0.0))
    assert plain == drafted
