import msgspec
import pytest

from trimtab.evals import suite as suites
from trimtab.evals.replay import Outcome
from trimtab.evals.suite import Item, JudgeSpec
from trimtab.gate.conjunction import Conjunction, Pair
from trimtab.gate.criteria import Criteria, Latency, Saving
from trimtab.verdict import Decision


def outcome(score=1.0, tokens=20, **more):
    return Outcome(item="q", cluster="c", score=score, total_s=1.0, output_tokens=tokens, **more)


def item(number, cluster=None, slices=(), judge=""):
    return Item(f"q{number}", cluster or f"q{number}", {"messages": [{}]}, "x", tuple(slices), judge)


def padded(items, clusters):
    """The items, and as many more as there are to be clusters; what is fed is said apart."""
    return [*items, *(item(number) for number in range(10_000, 10_000 + clusters - len(items)))]


def built(criteria, items, clusters=2000, **more):
    return Conjunction(criteria, suites.of(padded(items, clusters), name="s"), **more)


def with_safety(items):
    head = suites._Head(judges={"guard": JudgeSpec("safety")})
    return suites.of(padded(items, 2000), name="s", head=head)


def run(conjunction, pairs):
    for each in pairs:
        if conjunction.done:
            break
        conjunction.feed([each] if isinstance(each, Pair) else each)
    return conjunction


def decisions(conjunction):
    return {(bet.criterion.metric.split()[0], bet.slice): bet.decision for bet in conjunction.bets}


SAME = Pair(item(0), outcome(), outcome())
WIDE = Criteria(margin=0.1, length=())


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (outcome(1.0), outcome(0.0), -1.0),
        (outcome(0.25), outcome(1.0), 0.75),
        (outcome(1.0), outcome(None, error="down"), -1.0),
        (outcome(None, error="down"), outcome(1.0), None),
        (outcome(1.0), outcome(None), None),
        (outcome(None), outcome(0.0), None),
    ],
)
def test_the_difference_of_a_pair(before, after, difference):
    assert Pair(item(0), before, after).difference == difference


def test_it_stops_as_soon_as_all_criteria_have_passed():
    conjunction = run(built(WIDE, [item(0)]), [SAME] * 2000)
    assert decisions(conjunction) == {("quality", ""): Decision.PROMOTE}
    assert conjunction.n < 100


def test_it_stops_at_once_when_one_criterion_rejects():
    worse = Pair(item(0), outcome(1.0), outcome(0.0))
    conjunction = run(built(Criteria(margin=0.1), [item(0)]), [worse] * 2000)
    assert decisions(conjunction)["quality", ""] is Decision.REJECT
    assert conjunction.n < 20


def test_it_ends_at_the_cap_undecided():
    # A loss of three quarters of the margin: neither harmless nor clearly harmful.
    pairs = [Pair(item(0), outcome(1.0), outcome(0.0 if at % 40 == 0 else 1.0)) for at in range(3000)]
    conjunction = run(built(Criteria(margin=0.034, length=(), cap=150), [item(0)]), pairs)
    assert conjunction.n == conjunction.cap == 150
    assert decisions(conjunction) == {("quality", ""): Decision.INCONCLUSIVE}


def test_the_value_of_a_cluster_is_its_mean():
    conjunction = built(WIDE, [item(0, "a"), item(1, "a"), item(2, "a"), item(3, "a")])
    good, bad = outcome(1.0), outcome(0.0)
    conjunction.feed([Pair(item(n, "a"), good, bad if n == 0 else good) for n in range(4)])
    assert conjunction.bets[0].finding().path == ((-0.25, 1),)


def test_each_protected_slice_is_tested_on_its_own_items():
    items = [item(0), item(1, slices=["refund"])]
    good, bad = outcome(1.0), outcome(0.0)
    pairs = [
        Pair(items[1], good, bad if at % 3 == 0 else good) if at % 5 == 0 else Pair(items[0], good, good)
        for at in range(900)
    ]
    criteria = Criteria(margin=0.1, slices={"refund": 0.1}, slice_minimum=20, length=())
    conjunction = run(built(criteria, items), pairs)
    assert decisions(conjunction)["quality", "refund"] is Decision.REJECT
    assert conjunction.bets[1].n < conjunction.bets[0].n


def test_a_protected_slice_that_never_comes_up_is_uncertified():
    items = [item(0), item(1, slices=["refund"])]
    conjunction = run(built(Criteria(margin=0.1, slices={"refund": 0.0}, length=()), items), [SAME] * 2000)
    assert decisions(conjunction) == {("quality", ""): Decision.PROMOTE, ("quality", "refund"): Decision.UNCERTIFIED}


def test_safety_is_apart_from_quality():
    guarded = item(1, judge="guard")
    leak = Pair(guarded, outcome(1.0), outcome(0.0))
    suite = with_safety([item(0), guarded])
    conjunction = run(Conjunction(WIDE, suite), [SAME, leak] * 100)
    assert decisions(conjunction)["safety", ""] is Decision.REJECT
    assert conjunction.bets[0].finding().counts["losses"] == 0


def test_a_suite_of_safety_alone_is_tested_for_that_alone():
    head = suites._Head(judges={"guard": JudgeSpec("safety")})
    suite = suites.of([item(number, judge="guard") for number in range(600)], name="s", head=head)
    conjunction = run(Conjunction(WIDE, suite), [Pair(suite.items[0], outcome(), outcome())] * 600)
    assert decisions(conjunction) == {("safety", ""): Decision.PROMOTE}


def test_the_cap_is_that_of_what_needs_most():
    """A margin of 2 points on safety needs more clusters than 10 points of quality; so do 10 points on a rare slice."""
    plain = built(WIDE, [item(0)], 20_000).cap
    guarded = Conjunction(WIDE, with_safety([item(n, judge="guard") for n in range(1000)])).cap
    rare = built(msgspec.structs.replace(WIDE, slices={"s": 0.1}), [item(n, slices="s") for n in range(400)], 4000).cap
    assert plain == 130 and guarded == 2000
    assert rare == pytest.approx(1300, abs=10)
    assert built(Criteria(margin=0.1), [item(0)], 20_000).cap == 400  # for the claims


def late(share, many, **more):
    slow, quick = outcome(ttft_s=2.0, **more), outcome(ttft_s=0.1, **more)
    return [Pair(item(0), quick, slow if at * share % 1 + share >= 1 else quick) for at in range(many)]


@pytest.mark.parametrize(("share", "decision"), [(0.0, Decision.PROMOTE), (0.2, Decision.REJECT)])
def test_latency_is_the_share_of_requests_that_miss(share, decision):
    criteria = Criteria(margin=0.1, length=(), latency=Latency(ttft_s=1.0))
    assert decisions(run(built(criteria, [item(0)]), late(share, 1000)))["latency", ""] is decision


def test_latency_of_clusters_is_tested_by_their_means():
    criteria = Criteria(margin=0.1, length=(), latency=Latency(ttft_s=1.0))
    items = [item(0, "a"), item(1, "a")]
    quick, slow = outcome(ttft_s=0.1), outcome(ttft_s=2.0)
    pairs = [[Pair(items[0], quick, quick), Pair(items[1], quick, slow)]] * 50
    conjunction = run(built(criteria, items), pairs)
    assert decisions(conjunction)["latency", ""] is Decision.REJECT
    assert conjunction.bets[1].finding().path[0][0] == -0.5


@pytest.mark.parametrize("answer", [outcome(ttft_s=None), outcome(None, error="cut", ttft_s=0.1)])
def test_what_was_not_measured_or_not_answered_misses(answer):
    criteria = Criteria(margin=0.1, length=(), latency=Latency(ttft_s=1.0))
    conjunction = built(criteria, [item(0)])
    conjunction.feed([Pair(item(0), outcome(ttft_s=0.1), answer)])
    assert conjunction.bets[1].finding().path == ((1.0, 1),)


def priced(before, after):
    return Pair(item(0), outcome(cost_nanodollars=before), outcome(cost_nanodollars=after))


@pytest.mark.parametrize(
    ("share", "decision"), [(0.4, Decision.PROMOTE), (0.6, Decision.REJECT), (-0.1, Decision.PROMOTE)]
)
def test_a_claimed_saving_is_proven_or_refuted(share, decision):
    criteria = Criteria(margin=0.1, length=(), cost=Saving(share=share))
    pairs = [priced(1000 + 100 * (at % 3), 500 + 50 * (at % 3)) for at in range(500)]
    assert decisions(run(built(criteria, [item(0)]), pairs))["cost", ""] is decision


def test_an_unknown_price_proves_nothing():
    criteria = Criteria(margin=0.1, length=(), cost=Saving(share=0.2))
    conjunction = run(built(criteria, [item(0)]), [priced(1000, None)] * 500)
    assert decisions(conjunction)["cost", ""] is Decision.INCONCLUSIVE
    assert "could not be told" in conjunction.findings()[1].reason
    assert conjunction.n < 100  # the rest of the run could not make it good


@pytest.mark.parametrize(("tokens", "above", "below"), [(20, 1, 1), (30, 0, 1), (10, 1, 0)])
def test_length_is_held_between_its_bounds(tokens, above, below):
    pairs = [Pair(item(0), outcome(tokens=20), outcome(tokens=tokens))] * 500
    conjunction = built(Criteria(margin=0.1), [item(0)])
    for pair in pairs[:60]:
        conjunction.feed([pair])
    found = [bet.decision for bet in conjunction.bets[1:]]
    assert found == [Decision.PROMOTE if held else Decision.REJECT for held in (above, below)]


def test_items_that_a_judge_could_not_score_end_the_run_before_its_time():
    missing = Pair(item(0), outcome(None), outcome(1.0))
    conjunction = run(built(WIDE, [item(0)]), [SAME, missing] * 500)
    assert decisions(conjunction)["quality", ""] is Decision.INCONCLUSIVE
    assert conjunction.n < 100


def test_a_noisy_judge_makes_the_margin_smaller_and_takes_a_share_of_alpha():
    conjunction = built(Criteria(margin=0.1, length=()), [item(0, slices=["s"])], scale={"": 0.8, "s": 0.5})
    counts = conjunction.bets[0].finding().counts
    assert counts["rule_margin"] == pytest.approx(0.08)
    assert counts["rule_harm"] == pytest.approx(-0.04)
    assert counts["rule_alpha"] == pytest.approx(0.04)


def test_the_power_it_was_planned_for_follows_from_the_cap():
    full, small = (built(Criteria(length=()), [item(0)], clusters).findings()[0].power for clusters in (5000, 1000))
    assert full == pytest.approx(0.9, abs=0.005)
    assert 0.3 < small < 0.6
