"""Closed sets, label heads and their cut-offs: on made-up vectors whose truth is known, and on hostile states."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.levers import public
from trimtab.errors import FormatError
from trimtab.levers import examples, labels, softmax
from trimtab.levers.slots import Slot
from trimtab.stats.intervals import clopper_pearson

WORDS = {"card": ["card", "plastic", "visa"], "loan": ["loan", "credit", "borrow"], "app": ["app", "login", "screen"]}


def calls(count, noise=0.0, seed=1):
    """Questions whose words tell the label, but for a share of `noise`."""
    chance = random.Random(seed)
    made = []
    for at in range(count):
        name = chance.choice(sorted(WORDS))
        text = f"please help with my {chance.choice(WORDS[name])} number {chance.randrange(50)} today"
        said = chance.choice(sorted(WORDS)) if chance.random() < noise else name
        made.append(public.record(at, text, said))
    return list(examples.of_records(made))


def embed(texts):
    """Counts of the telling words: a perfect encoder for these questions."""
    known = [word for words in WORDS.values() for word in words]
    rows = np.array([[text.count(word) for word in known] for text in texts], np.float32)
    return rows / np.maximum(1e-9, np.linalg.norm(rows, axis=1, keepdims=True))


def test_labels_are_a_closed_set_and_sentences_are_not():
    found = labels.closed_set(["yes", "no", "no", "maybe"] * 50)
    assert found.labels[0] == "no" and set(found.labels) == {"yes", "no", "maybe"}
    assert found.unseen == 0
    assert labels.closed_set([f"your order {at} is on its way" for at in range(500)]) is None
    assert labels.closed_set(["yes", "no"] * 20) is None, "too few to say"
    assert labels.closed_set(["always this"] * 500) is None, "one label is no choice"
    assert labels.closed_set(["a" * 200, "b" * 200] * 200) is None, "long texts are no labels"


def test_both_ways_learn_what_words_tell():
    some = calls(900)
    closed = labels.closed_set(map(labels.label, some))
    parts = labels.parted(some, closed)
    for judged in (labels.by_encoder(parts, closed, embed), labels.by_terms(parts, closed)):
        assert judged.agreement.share > 0.97
        assert judged.agreement.low <= judged.agreement.share <= judged.agreement.high
        assert judged.agreement.commonest < 0.5
        assert judged.cutoff.answered > 0.8 and judged.cutoff.wrong_high < 0.1


def test_what_cannot_be_learned_is_not_answered():
    """Labels by lot: agreement near that of chance, and the cut-off lets nothing through."""
    some = calls(900, noise=1.0)
    closed = labels.closed_set(map(labels.label, some))
    judged = labels.by_encoder(labels.parted(some, closed), closed, embed)
    assert judged.agreement.share < 0.5
    assert judged.cutoff.threshold == float("inf")
    assert judged.cutoff.answered == 0


def test_a_session_is_on_one_side_alone_and_new_labels_count_as_wrong():
    some = [*calls(300), *examples.of_records([public.record(10_000 + at, "?", f"new {at}") for at in range(9)])]
    closed = labels.closed_set(map(labels.label, some))
    parts = labels.parted(some, closed)
    assert not set(parts.clusters[0]) & {*parts.clusters[1], *parts.clusters[2]}
    assert (parts.labels[0] >= 0).all()
    with pytest.raises(FormatError, match="too few"):
        labels.parted(some[:30], closed)


def test_the_cut_off_keeps_its_risk_in_most_draws():
    """Scores that say little: over 300 drawn worlds the true risk exceeds alpha in at most a tenth, and some noise."""
    chance, broken = np.random.default_rng(0), 0
    for _ in range(300):
        sure = chance.random(600)
        right = chance.random(600) < 0.8 + 0.2 * sure
        threshold = labels.cutoff(sure, right, 0.05)
        if np.isfinite(threshold):
            broken += 0.2 * (1 - (1 + threshold) / 2) > 0.05
    assert broken / 300 <= clopper_pearson(30, 300, 0.999).high


def test_a_head_comes_back_from_its_bytes_and_a_damaged_one_does_not():
    chance = np.random.default_rng(0)
    head = labels.Head(("a", "b", "c"), "v1", Slot("say: ", ""), chance.normal(size=(5, 3)).astype(np.float32))
    again = labels.Head.opened(head.packed())
    assert (again.labels, again.encoder, again.slot) == (head.labels, "v1", head.slot)
    rows = chance.normal(size=(7, 4)).astype(np.float32)
    assert np.allclose(again.chances(rows), head.chances(rows))
    assert np.allclose(head.chances(rows).sum(1), 1)
    with pytest.raises(FormatError, match="fit its labels"):
        labels.Head.opened(labels.Head(("a",), "v1", Slot(), head.weights).packed())


@given(st.binary(max_size=200))
def test_any_other_bytes_are_no_head(state):
    with pytest.raises(FormatError):
        labels.Head.opened(state)


def test_sparse_rows_multiply_as_dense_ones():
    chance = np.random.default_rng(3)
    dense = (chance.random((40, 30)) * (chance.random((40, 30)) < 0.2)).astype(np.float32)
    rows = [(np.flatnonzero(row), row[np.flatnonzero(row)]) for row in dense]
    sparse, weights = softmax.Sparse(rows, 30), chance.normal(size=(30, 4)).astype(np.float32)
    assert np.allclose(sparse.dot(weights), dense @ weights, atol=1e-5)
    slopes = chance.normal(size=(40, 4)).astype(np.float32)
    assert np.allclose(sparse.back(slopes), dense.T @ slopes, atol=1e-5)


def test_the_fit_is_where_its_slope_is_nought():
    chance = np.random.default_rng(5)
    rows, true = chance.normal(size=(400, 6)).astype(np.float32), chance.integers(0, 3, 400)
    found = softmax.fit(softmax.Dense(rows), true, 3, 1.0, 200)
    slopes = softmax.probabilities(rows @ found[:-1] + found[-1]) - np.eye(3)[true]
    assert np.abs(rows.T @ slopes + found[:-1]).max() < 2.0
    assert np.abs(slopes.sum(0)).max() < 2.0
