"""Answers are compared from the cheapest sign to the dearest, and the comparator's own error is bounded."""

import numpy as np
import pytest

from trimtab.levers.cache.comparator import Answer, Comparator
from trimtab.levers.cache.mistakes import measured


def embed(texts):
    """A bag of letters: close for close texts."""
    rows = np.array([[text.lower().count(chr(97 + at)) + 0.01 for at in range(26)] for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


CASES = [
    ("Your card is on its way.", "your card is on its way", True),
    ("It takes 3 days.", "It takes 5 days.", False),
    ("You can cancel it.", "You can not cancel it.", False),
    ('{"a": 1, "b": [2]}', '{"b":[2],"a":1}', True),
    ('{"a": 1}', '{"a": 2}', False),
    ("Open the app and tap on Cards.", "In the app, open Cards and tap on it.", True),
    ("zzz", "aaa", False),
    ("", "something", False),
]


@pytest.mark.parametrize(("fresh", "held", "same"), CASES)
def test_it_knows_the_same_answer(fresh, held, same):
    assert Comparator(embed).same(Answer(fresh), Answer(held)) is same
    assert Comparator(embed).same(Answer(held), Answer(fresh)) is same


def test_tool_calls_are_equal_by_value_and_order():
    one, two = ("book", '{"day": 1, "at": "9"}'), ("send", "{}")
    assert Comparator().same(Answer("", (one, two)), Answer("", (("book", '{"at":"9","day":1}'), two))) is True
    assert Comparator().same(Answer("", (one, two)), Answer("", (two, one))) is False
    assert Comparator().same(Answer("Booked.", (one,)), Answer("Booked.")) is False


def test_without_vectors_or_a_judge_it_does_not_guess():
    assert Comparator().same(Answer("the lorry is late"), Answer("the truck has a delay")) is None


def test_the_judge_is_asked_last():
    asked = []
    judge = Comparator(embed, lambda one, two: asked.append((one, two)) or True)
    assert judge.same(Answer("It takes 3 days."), Answer("It takes 5 days.")) is False
    assert asked == []
    assert judge.same(Answer("a stone in the sea"), Answer("in the sea a stone lies")) is True
    assert len(asked) == 1


def test_its_mistakes_are_bounded():
    pairs = [(Answer("yes"), Answer("Yes."), True)] * 40 + [(Answer("7"), Answer("8"), False)] * 99
    pairs += [(Answer("same words"), Answer("Same words"), False)]
    found = measured(Comparator(), pairs)
    assert (found.different, found.called_same, found.called_different) == (100, 1, 0)
    assert found.hidden == pytest.approx(0.0466, abs=0.0005)  # Clopper and Pearson, 1 of 100, one-sided 95 %
    assert measured(Comparator(), []).hidden == 1.0
