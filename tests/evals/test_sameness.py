"""When values and texts count as the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evals.test_suite import JSON
from trimtab.evals.sameness import contains, normalised, same, same_unordered


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (False, 0, False),
        ("1", 1, False),
        (None, "", False),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        ([1, 2], [2, 1], False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ("é", "e\u0301", False),
    ],
)
def test_values(one, other, alike):
    assert same(one, other) is alike and same(other, one) is alike


@given(JSON)
def test_a_value_is_the_same_through_json(value):
    again = json.loads(json.dumps(value))
    assert same(value, again) and contains(again, value) and same_unordered([value, 1], [1.0, again])


def test_orders_and_counts():
    assert same_unordered([1, 2, 2], [2, 1, 2.0])
    assert not same_unordered([1, 2, 2], [1, 1, 2])


def test_a_part():
    whole = {"orders": [{"id": 1, "state": "paid", "at": "now"}], "stock": 4}
    assert contains(whole, {"orders": [{"state": "paid"}]})
    assert not contains(whole, {"orders": []}) and not contains(whole, {"orders": [{"state": None}]})
    assert not contains(whole, {"gone": None}) and not contains([1], {"0": 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The answer: 1,000 cars!", "the answer 1000 cars"),
        ("Ｆｕｌｌ width", "full width"),
        ("STRASSE", "straße"),
        ("  many   spaces\n", "many spaces"),
        ("yes.", "Yes"),
    ],
)
def test_texts_that_are_one(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("-3", "3"), ("2.5", "25"), ("1,5", "15"), ("कि", "क"), ("the car", "car"), ("not 3", "3")]
)
def test_texts_that_are_two(one, other):
    assert normalised(one) != normalised(other)


def test_articles_go_where_said():
    assert normalised("The car of an owner", articles=True) == "car of owner"


@given(st.text())
def test_once_is_enough(text):
    assert normalised(normalised(text)) == normalised(text)
