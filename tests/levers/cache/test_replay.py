"""A replay's streams are what they say, and its outcome is counted as by hand."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from trimtab.levers.cache import replay
from trimtab.levers.cache.replay import Outcome, Stream

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


def stream(n=300, names=20, dims=8):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, dims)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Stream([f"question {at}" for at in range(n)], rng.integers(0, names, n), vectors)


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield {name: importlib.import_module(name) for name in ("cache", "cache_peers", "cache_curves")}


def test_the_nearest_are_earlier_and_best_first():
    given = stream()
    places, cosines = replay.nearest(given.vectors, depth=7, block=64)
    for at in (0, 1, 5, 63, 64, 65, 299):
        near = given.vectors[:at] @ given.vectors[at]
        order = np.argsort(-near)[:7]
        assert places[at][: len(order)].tolist() == order.tolist()
        assert np.allclose(cosines[at][: len(order)], near[order], atol=1e-6)
        assert (places[at][len(order) :] == -1).all()


def test_an_order_keeps_each_question_with_its_answer():
    given = stream()
    moved = replay.shuffled(given, 4)
    assert moved.questions != given.questions
    for question, answer, vector in zip(*moved, strict=True):
        at = int(question.split()[1])
        assert answer == given.answers[at]
        assert (vector == given.vectors[at]).all()


def test_a_fifth_of_the_answers_changes_half_way():
    given = stream()
    new = replay.changed(given, 1).answers
    assert (new[:150] == given.answers[:150]).all()
    moved = new != given.answers
    assert len(set(given.answers[moved].tolist())) == 4
    assert set(new[moved].tolist()).isdisjoint(given.answers.tolist())
    assert all(moved[150:] == np.isin(given.answers[150:], given.answers[moved]))


def test_half_of_the_answers_come_late():
    late = replay.late(stream(2000), 1)
    first = [np.flatnonzero(late.answers == name).min() for name in range(20)]
    assert sorted(first)[9] < 100
    assert sorted(first)[10] > 470  # a quarter of the questions are asked in the first half of the time


def outcome(served, wrong, requests=2000, rang=()):
    return Outcome(requests, np.array(served), np.array(wrong, dtype=bool), 0, rang)


def test_the_rates_are_of_requests_and_of_hits():
    found = outcome(range(500), [1] * 5 + [0] * 495)
    assert (found.hit_rate, found.wrong_rate) == (0.25, 0.01)
    assert outcome([], []).wrong_rate == 0.0


def test_the_close_is_the_first_alarm_after_the_change(bench):
    assert bench["cache"].closes(outcome([], [], rang=(10, 1123, 1500))) == 123
    assert bench["cache"].closes(outcome([], [], rang=(10,))) == 1000


def test_settled_is_when_the_last_200_hits_are_below_two_alphas_again(bench):
    wrong = np.zeros(2000, dtype=bool)
    wrong[1000:1040] = True
    # The 200 hits up to request 1236 hold four wrong ones (1036 is out of them), those to 1236 still four: 2 %.
    assert bench["cache"].settles(outcome(range(2000), wrong)) == 236
    assert bench["cache"].settles(outcome(range(2000), np.zeros(2000))) == 0


def test_a_fixed_cosine_serves_what_is_near_enough(bench):
    given = stream(190, 5, 4)
    near = replay.nearest(given.vectors)
    none, every = (bench["cache_peers"].static(given, near, cosine) for cosine in (1.01, -1.0))
    assert (none.hit_rate, every.hit_rate) == (0.0, 189 / 190)
    wrong = (given.answers != given.answers[0])[1:]
    assert every.wrong.tolist() == wrong.tolist()  # the first question is the only entry


def test_the_per_entry_peer_keeps_its_own_promise(bench):
    """Wrong hits of requests, where nearness tells much of the answer."""
    rng = np.random.default_rng(3)
    answers = rng.integers(0, 6, 3000)
    vectors = (np.eye(8)[answers] + 0.3 * rng.normal(size=(3000, 8))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given = Stream([""] * 3000, answers, vectors)
    found = bench["cache_peers"].per_entry(given, replay.nearest(vectors), 0.02, 0)
    assert found.hit_rate > 0.2
    assert found.wrong.sum() / 3000 <= 0.025


def test_the_picture_shows_each_policy(bench):
    points = [bench["cache_peers"].point(name, 0.01, [outcome([1, 2], [0, 0])]) for name in ("ours", "theirs")]
    drawn = bench["cache_curves"].picture("a stream", points)
    assert drawn.count("<circle") == 2
    assert "ours" in drawn and "theirs" in drawn
