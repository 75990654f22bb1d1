"""What no verifier may overrule."""

import importlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.levers.cache.test_words import TEXTS
from trimtab.levers.cache.vetoes import veto

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.mark.parametrize(
    ("asked", "held", "reason"),
    [
        ("a fee for 20 cards", "a fee for 30 cards", "numbers differ"),
        ("a fee for cards", "a fee for 30 cards", "numbers differ"),
        ("5 miles away", "5 km away", "units or currencies differ"),
        ("rates for euros", "rates for pounds", "units or currencies differ"),
        ("where is order A12-4", "where is order A12-5", "ids differ"),
        ("open on monday", "open on tuesday", "dates differ"),
        ('what is "foo"', 'what is "bar"', "quoted texts differ"),
        ("use parse_args", "use parse_known", "code differs"),
        ("do you ship to Spain?", "do you ship to france", "names differ"),
        ("do you ship to Ulm?", "do you ship?", "names differ"),
        ("why is it working", "why isn't it working", "one denies what the other says"),
        ("I want it", "I don't want it", "one denies what the other says"),
        ("turn the light on", "turn the light off", "antonyms"),
        ("how do I log in", "how do I log out", "antonyms"),
        ("lock it", "unlock it", "antonyms"),
        ("is it legal", "is it illegal", "antonyms"),
        ("from Rome to Oslo", "from Oslo to Rome", "parts exchanged"),
        ("is Rust faster than Java", "is Java faster than Rust", "parts exchanged"),
    ],
)
def test_each_rule_speaks_both_ways(asked, held, reason):
    assert veto(asked, held) == reason
    assert veto(held, asked) == reason


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ("my card isn't working", "why doesn't my card work"),
        ("I can't withdraw cash", "I am unable to withdraw cash"),
        ("twenty dollars", "$20"),
        ("it costs 5k", "it costs 5,000"),
        ("Where is my ATM card?", "where is my atm card"),
        ("the door is not open", "the door is closed"),
        ("How long do European transfers take?", "How long does a transfer from Europe take?"),
        ("where do I get my W-2", "where do I get my w2"),
        ("WHY IS MY CARD BLOCKED", "why is my card blocked?"),
        ('it says "not found"', "it says not found"),
    ],
)
def test_other_words_for_the_same_pass(asked, held):
    assert veto(asked, held) is None


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
@example("N:THAN:N", '"A0"')
def test_a_veto_is_symmetric_and_never_stands_between_a_text_and_itself(one, two):
    assert (veto(one, two) is None) == (veto(two, one) is None)
    assert veto(one, one) is None
    assert veto(one, f"  {one}\n") is None


def test_what_is_too_long_to_be_read_whole_is_never_the_same():
    long = "please read this. " * 1_000
    assert veto(f"{long} then add", f"{long} then delete") == "too long to compare"
    assert veto(long, long) is None


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 10**9),
    st.integers(2, 10**9),
    st.sampled_from(["order {} more", "why {} days", "pay ${}", "room {}?"]),
)
def test_no_two_numbers_pass_for_one_another(one, two, text):
    assert (veto(text.format(one), text.format(two)) is None) == (one == two)


def test_the_bars_hold_on_the_swaps_of_our_generator():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        pairs = importlib.import_module("cache_swaps").pairs()
    assert len(pairs) >= 3_000
    for family in ("seen", "held"):
        some = [pair for pair in pairs if pair.family == family]
        opposites = [veto(pair.asked, pair.held) is None for pair in some if pair.opposite]
        paraphrases = [veto(pair.asked, pair.held) is None for pair in some if not pair.opposite]
        assert len(opposites) >= 1_500
        assert sum(opposites) <= 0.01 * len(opposites)
        assert sum(paraphrases) >= 0.8 * len(paraphrases)
