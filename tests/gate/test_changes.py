"""What counts as a change under a run, and the figures beside the tests."""

import random

import pytest

from trimtab.evals.replay import Outcome
from trimtab.evals.suite import Item
from trimtab.gate import changes, facts
from trimtab.gate.conjunction import Pair


def pair(before="e/m/1", after="e/m/1", **more):
    item = Item("q", "c", {"messages": [{}]}, "x")
    held = {"item": "q", "cluster": "c", "score": 1.0, "total_s": 1.0, **more}
    return Pair(item, Outcome(**held, fingerprint=before), Outcome(**held, fingerprint=after))


def answered(*builds):
    return [pair(before=f"e/m/{build}") for build in builds]


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (answered(*[1] * 30, *[2] * 10), "baseline changed under the run: it answered as e/m/1, then as e/m/2"),
        (answered(*[1] * 30, 2, 1, 2, 2, 1, 2, 2, 2, 2), "baseline changed"),  # concurrency mixes the order a little
        ([pair(after="e/m/1")] * 9 + [pair(after="e/n/1")] * 9, "candidate changed"),
        (answered(*[1] * 30, *[2] * 4), ""),  # too few to tell
        (answered(*[1, 2] * 40), ""),  # two builds behind a load balancer
        ([pair(before="a/m/1")] * 20 + [pair(before="b/m/2")] * 20, ""),  # another endpoint: a fallback, a router
        ([pair(before="")] * 40, ""),
        ([], ""),
    ],
)
def test_a_change_is_one_that_stays(pairs, told):
    found = changes.under_way(pairs)
    assert told in found and bool(told) == bool(found)


def test_builds_that_come_and_go_are_never_taken_for_a_change():
    for seed in range(200):
        rng = random.Random(seed)
        assert changes.under_way(answered(*[rng.choice((1, 1, 1, 2)) for _ in range(200)])) == ""


def test_the_figures_leave_out_what_was_not_measured():
    plain = facts.of([pair()] * 4)
    assert plain["baseline_score"] == plain["candidate_score"] == 1.0
    assert (plain["gained"], plain["lost"], plain["items"]) == (0.0, 0.0, 4.0)
    assert not {"cost_ratio", "length_ratio", "candidate_usd", "candidate_tokens_per_solved"} & plain.keys()
    counted = facts.of([pair(output_tokens=30, cost_nanodollars=2_000_000_000)] * 4)
    assert counted["candidate_tokens_per_solved"] == 30
    assert (counted["candidate_usd"], counted["cost_ratio"]) == (8.0, 1.0)
    assert facts.of([])["items"] == 0
