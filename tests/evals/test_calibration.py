"""Judges held against labels: counts, bounds, slices, and what cannot be read."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evals.items import HI, item
from trimtab.errors import FormatError, UpstreamError
from trimtab.evals import calibration, scorers
from trimtab.evals.answer import Answer
from trimtab.evals.calibration import Label, held_against
from trimtab.evals.judge import Judgement, missing
from trimtab.evals.suite import JudgeSpec


def label(right, slices=()):
    return Label(item("4", slices=slices), Answer("4" if right else "5"), right)


def test_counts_and_exact_bounds():
    """Bounds as tables give them: 18 of 20 is 0.683 to 0.988; 10 of 10 is 0.692 to 1."""
    scored = [(label(True), 1.0)] * 18 + [(label(True), 0.0)] * 2 + [(label(False), 0.2)] * 10
    scored += [(label(False), None)] * 3
    made = held_against("v", scored)
    sens, spec = made.overall.sensitivity, made.overall.specificity
    assert (sens.good, sens.n, spec.good, spec.n, made.overall.missing) == (18, 20, 10, 10, 3)
    assert sens.low == pytest.approx(0.6830, abs=1e-4) and sens.high == pytest.approx(0.9877, abs=1e-4)
    assert spec.low == pytest.approx(0.6915, abs=1e-4) and spec.high == 1
    assert made.overall.youden == pytest.approx(0.9)


def test_slices_stand_alone_where_they_have_enough():
    scored = [(label(True, ("a",)), 1.0), (label(False, ("a", "b")), 1.0)] * 30 + [(label(True, ("b",)), 0.0)]
    made = held_against("v", scored)
    assert set(made.slices) == {"a", "b"}
    assert made.of_slice("a") is made.slices["a"] and made.slices["a"].specificity.good == 0
    assert made.of_slice("b") is made.overall and made.of_slice("none") is made.overall
    assert made.of_slice("b", least=1) is made.slices["b"]


def test_nothing_seen_is_nothing_known():
    made = held_against("v", [(label(True), 1.0)])
    assert made.overall.youden is None and made.overall.specificity.value is None
    assert (made.overall.specificity.low, made.overall.specificity.high) == (0, 1)


class Odd:
    version = "odd"

    async def score(self, item, answer):
        if answer.text == "5":
            raise UpstreamError("offline")
        return missing("no grade") if "hard" in item.slices else Judgement(1.0)


def test_a_judge_is_asked_for_each():
    made = asyncio.run(calibration.measure(scorers.make(JudgeSpec("exact")), [label(True), label(False)] * 20))
    assert (made.overall.sensitivity.good, made.overall.specificity.good) == (20, 20)
    assert made.judge == scorers.make(JudgeSpec("exact")).version
    odd = asyncio.run(calibration.measure(Odd(), [label(True), label(False), label(True, ("hard",))]))
    assert (odd.overall.sensitivity.n, odd.overall.specificity.n, odd.overall.missing) == (1, 0, 2)


def line(**fields):
    return json.dumps({"id": 1, "body": HI, "answer": "4", "right": True, "expected": "4", **fields})


def test_labels_are_read(tmp_path):
    path = tmp_path / "labels.jsonl"
    calls = {"tool_calls": [{"name": "find", "arguments": {"a": 1}}]}
    path.write_text(line() + "\n\n" + line(answer=calls, right=False, slices=["x"]))
    first, second = calibration.read(path)
    assert first == Label(item("4", name="1"), Answer("4"), True)
    assert second.answer.tool_calls[0].arguments == {"a": 1} and second.item.slices == ("x",) and not second.right


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "has no labels"),
        (line() + "\n{", "x:2:"),
        (line(right="yes"), "x:1: Expected `bool`"),
        (line(right=None), "x:1: Expected `bool`"),
        (line(odd=1), "unknown field `odd`"),
        ('{"id": 1}', "x:1: "),
    ],
)
def test_labels_that_will_not_do(text, wanted):
    with pytest.raises(FormatError) as caught:
        calibration.parse(text, "x")
    assert wanted in str(caught.value)


@given(st.text(max_size=100))
def test_any_text_is_labels_or_a_format_error(text):
    for whole in (text, line() + "\n" + text):
        try:
            assert calibration.parse(whole, "x")
        except FormatError as error:
            assert str(error).startswith("x")
