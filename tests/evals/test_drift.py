"""The drift report: flips, their noise, lengths, style and divergence, counted by hand."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.evals import divergence, drift, style
from trimtab.evals.answer import Answer, TokenChoice, ToolCall
from trimtab.evals.drift import Drift
from trimtab.evals.replay import Outcome


def outcome(name, score, text="a b c", tokens=3, slices=(), **fields):
    answer = fields.pop("answer", Answer(text, finish_reason=fields.pop("finish", "stop")))
    return Outcome(
        item=str(name),
        cluster=str(name),
        slices=slices,
        answer=answer,
        score=score,
        total_s=1,
        output_tokens=tokens,
        **fields,
    )


def pairs(scores, slices=()):
    return [(outcome(n, a, slices=slices), outcome(n, b, slices=slices)) for n, (a, b) in enumerate(scores)]


def test_flips_both_ways_and_what_the_baseline_does_by_itself():
    """Equal accuracy, and yet 4 of 20 differ; 2 of 10 do when the baseline is asked twice."""
    made = drift.report(
        pairs([(1, 0)] * 2 + [(0, 1)] * 2 + [(1, 1)] * 15 + [(0, 0)]),
        pairs([(1, 0), (0, 1)] + [(1, 1)] * 8),
    )
    assert (made.flips.gains, made.flips.losses, made.flips.n) == (2, 2, 20)
    assert made.flips.share == 0.2 and made.flips.noise == 0.2 and made.flips.excess == 0
    assert made.flips.interval.low < 0.2 < made.flips.interval.high
    assert (made.wins.wins, made.wins.ties, made.wins.losses, made.wins.rate) == (2, 16, 2, 0.5)
    assert (made.baseline.solved, made.candidate.solved) == (17, 17)
    assert drift.report(pairs([(1, 0)])).flips.excess is None


def test_slices_have_their_own():
    some, others = pairs([(1, 0)] * 3, ("a", "b", "a")), pairs([(1, 1)] * 2, ("b",))
    others = [tuple(msgspec.structs.replace(each, item="x" + each.item) for each in pair) for pair in others]
    again = pairs([(1, 0), (1, 1)], ("a",))
    made = drift.report(some + others, again)
    assert (made.slices["a"].losses, made.slices["a"].n) == (3, 3)
    assert (made.slices["b"].losses, made.slices["b"].n) == (3, 5)
    assert made.slices["a"].excess == 0.5 and made.slices["b"].excess is None


def test_missing_counts_in_nothing_else():
    held = [
        (outcome(1, None), outcome(1, 1)),
        (outcome(2, 1), outcome(2, None, error="status 500", answer=Answer())),
        (outcome(3, 0.4), outcome(3, 0.6)),
    ]
    made = drift.report(held)
    assert (made.n, made.missing, made.flips.n, made.flips.gains) == (3, 2, 1, 1)
    assert made.wins.wins == 1 and made.baseline.solved == 0


def test_length_and_tokens_for_a_right_answer():
    held = [(outcome(1, 1, tokens=10), outcome(1, 1, tokens=30)), (outcome(2, 0, tokens=30), outcome(2, 1, tokens=14))]
    made = drift.report(held)
    assert made.length == 1.1 and (made.baseline.per_solved, made.candidate.per_solved) == (40, 22)
    assert made.candidate.median_tokens == 22
    uncounted = [(outcome(1, 0, "a b", tokens=None), outcome(1, 0, "a b c", tokens=9))]
    made = drift.report(uncounted)
    assert made.length == 1.5 and made.baseline.output_tokens is None and made.candidate.per_solved is None
    assert drift.report([]).length is None and drift.report([]).wins.rate is None


def test_sameness_declining_and_cutting():
    call = Answer(tool_calls=(ToolCall("find", {"a": 1}),))
    held = [
        (outcome(1, 1), outcome(1, 1)),
        (outcome(2, 1, answer=call), outcome(2, 1, answer=Answer(tool_calls=(ToolCall("find", {"a": 2}),)))),
        (outcome(3, 1), outcome(3, 0, "I'm sorry, I can't help with that.", finish="length")),
    ]
    made = drift.report(held)
    assert made.same == 1 and (made.baseline.declined, made.candidate.declined, made.candidate.cut) == (0, 1, 1)


def test_pairs_that_are_none():
    with pytest.raises(ValueError, match="a pair of two items, '1' and '2'"):
        drift.report([(outcome(1, 1), outcome(2, 1))])
    with pytest.raises(ValueError, match="'0' is there twice"):
        drift.report(pairs([(1, 1)]) * 2)


def test_a_report_can_be_kept():
    made = drift.report(pairs([(1, 0), (1, 1)], ("a",)), pairs([(1, 1)], ("a",)))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Drift) == made


SCORES = st.lists(st.tuples(st.none() | st.floats(0, 1), st.none() | st.floats(0, 1)), max_size=12)


@given(SCORES, SCORES)
def test_shares_are_shares(scores, again):
    made = drift.report(pairs(scores, ("s",)), pairs(again, ("s",)))
    assert made.n == len(scores) == made.missing + made.flips.n
    assert made.wins.wins + made.wins.ties + made.wins.losses == made.flips.n
    assert made.flips.excess is None or -1 <= made.flips.excess <= 1


PROSE = Answer("the car stands in the yard and waits for its new owner to come by some day").words
STUCK = Answer("I am glad to help you today").words * 4


def test_a_text_that_is_stuck_shows():
    assert style.loops(PROSE) == 0 and style.loops(STUCK) == pytest.approx(1 - 7 / 25)
    assert style.loops([]) == 0 == style.loops(["one"])


def test_texts_that_are_alike_show():
    various = [[f"{word}{number}" for word in PROSE] for number in range(8)]
    alike = [[*PROSE, str(number)] for number in range(8)]
    one, other = style.of_pairs(list(zip(various, alike, strict=True)))
    assert other.compression > 2 * one.compression and other.distinct < one.distinct == 1
    assert one.self_repetition == 0 and other.self_repetition > math.log(80)


def test_length_is_not_style():
    """The longer side is cut: it would compress better for its length alone."""
    one, other = style.of_pairs([(PROSE, PROSE * 5)])
    assert one == other


@given(st.lists(st.lists(st.text(max_size=4), max_size=8), max_size=6))
def test_style_of_anything(texts):
    found = style.of(texts)
    assert 0 <= found.loops < 1 and 0 <= found.distinct <= 1 and found.self_repetition >= 0


def choice(token, **top):
    return TokenChoice(token, top.get(token, -1.0), {name: math.log(p) for name, p in top.items()})


def test_divergence_until_the_texts_part():
    one = Answer("x", tokens=(choice("a", a=0.5, b=0.5), choice("b", b=0.9, c=0.1), choice("z", z=1.0)))
    other = Answer("x", tokens=(choice("a", a=0.5, b=0.5), choice("c", b=0.5, c=0.5), choice("q", q=1.0)))
    wanted = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    found = divergence.of([(one, other), (one, one), (one, Answer("no tokens"))])
    assert (found.n, found.identical, found.parting) == (2, 1, 1)
    # The third token was said after different texts: it is not counted. The second pair adds a zero.
    assert found.kl == pytest.approx((0 + wanted) / 2 / 2)
    assert divergence.of([(one, Answer("x"))]) is None


def test_divergence_joins_what_one_side_does_not_list():
    assert divergence.kl({"a": math.log(0.8)}, {"b": math.log(0.9)}) == 0
    joined = divergence.kl({"a": math.log(0.8), "b": math.log(0.1)}, {"a": math.log(0.4)})
    assert joined == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(0.2 / 0.6))
    assert divergence.kl({"a": 0.0}, {"a": -50.0}) == pytest.approx(math.log(1e6))


PROBABILITIES = st.dictionaries(st.sampled_from("abcd"), st.floats(-60, 0), max_size=4)


@given(PROBABILITIES, PROBABILITIES)
def test_divergence_is_not_negative_and_finite(one, other):
    assert 0 <= divergence.kl(one, other) < math.inf and divergence.kl(one, one) == pytest.approx(0, abs=1e-4)


def test_texts_without_words_have_no_style():
    assert style.of([(), (), ()]) == style.of([]) == style.Style(0.0, 0.0, 0.0, 0.0)
    assert style.of([("yes",), ()]).compression > 0
