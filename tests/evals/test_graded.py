"""The judges that ask a model, against a server that says what a test wants."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evals.items import HI, item, judged
from tests.gateway.upstream import FakeUpstream, Script, answer
from trimtab.errors import UpstreamError
from trimtab.evals.answer import Answer, ToolCall
from trimtab.evals.graded import TEMPLATE, cosine, filled


@pytest.fixture(scope="module")
def model():
    with FakeUpstream() as upstream:
        yield upstream


def says(text):
    return Script(body=answer(message={"role": "assistant", "content": text}))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("It agrees.\nGRADE: C", 1),
        ("It does not.\nGRADE: **I**", 0),
        ("The answer says GRADE: C, which is a trick.\nGRADE: I", 0),
        ("I would say it is fine", None),
        ("GRADE: B", None),
        ("GRADE: Certainly", None),
        ("", None),
    ],
)
def test_a_grade_is_right_wrong_or_missing(model, text, score):
    model.script = says(text)
    said = judged("model_graded", "4", "four", url=model.url, model="judge")
    assert said.score == score and " ".join(text.split()) in said.reason


def test_what_the_judge_is_asked(model, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "k-123")
    model.script, model.seen = says("GRADE: good"), []
    options = {"pattern": "GRADE: (\\w+)", "right": ["good", "fine"], "wrong": ["bad"], "body": {"seed": 7}}
    said = judged("model_graded", "4", "{expected}", url=model.url, model="judge", key_env="JUDGE_KEY", **options)
    (seen,) = model.seen
    assert said.score == 1 and seen.headers["Authorization"] == "Bearer k-123"
    assert (seen.json["temperature"], seen.json["seed"], seen.json["model"]) == (0, 7, "judge")
    prompt = seen.json["messages"][0]["content"]
    assert "user: hi" in prompt and "\n4\n" in prompt and "\n{expected}\n" in prompt


@pytest.mark.parametrize(
    "script",
    [
        Script(status=500, body=b"{}"),
        Script(body=b"not json"),
        Script(body=b"[" * 100_000),
        Script(body=b"[]"),
        Script(body=b'{"choices": []}'),
    ],
)
def test_a_judge_that_fails_says_so(model, script):
    model.script = script
    with pytest.raises(UpstreamError, match="the judge at"):
        judged("model_graded", "4", "four", url=model.url, model="judge", wait_s=0)
    with pytest.raises(UpstreamError, match="the judge at"):
        judged("embedding", "4", "four", url=model.url, model="judge", wait_s=0)


def test_a_judge_that_is_not_there():
    with pytest.raises(UpstreamError, match="does not answer"):
        judged("model_graded", "4", "four", url="http://127.0.0.1:9/v1", model="judge", wait_s=0.01)


@pytest.mark.parametrize(("status", "calls"), [(429, 3), (503, 3), (401, 1)])
def test_a_busy_judge_is_asked_again(model, status, calls):
    model.seen = []
    model.script = lambda seen: Script(status=status, body=b"{}") if len(model.seen) < 3 else says("GRADE: C")
    options = {"url": model.url, "model": "judge", "wait_s": 0.01}
    if calls == 3:
        assert judged("model_graded", "4", "four", **options).score == 1
        model.seen = []
    with pytest.raises(UpstreamError, match=f"answered {status}"):
        judged("model_graded", "4", "four", attempts=min(2, calls), **options)
    assert len(model.seen) == min(2, calls)


def embedded(seen):
    vectors = {"car": [1, 0], "auto": [0.8, 0.6], "not a car": [-1, 0], "zero": [0, 0], "long": [1, 0, 0]}
    return Script(body=json.dumps({"data": [{"embedding": vectors[seen.json["input"]]}]}).encode())


@pytest.mark.parametrize(
    ("said", "options", "score"),
    [
        ("auto", {}, 0.8),
        ("auto", {"threshold": 0.8}, 1),
        ("auto", {"threshold": 0.81}, 0),
        ("car", {}, 1),
        ("not a car", {}, 0),
        ("zero", {}, None),
        ("long", {}, None),
        ("  ", {}, 0),
    ],
)
def test_similarity(model, said, options, score):
    model.script = embedded
    found = judged("embedding", "car", said, url=model.url, model="e", **options).score
    assert found == (score if score is None else pytest.approx(score))


NUMBERS = st.lists(st.floats(), min_size=1, max_size=4)


@given(NUMBERS, NUMBERS)
def test_a_cosine_is_in_its_bounds_or_none(one, other):
    found = cosine(one, other)
    assert found is None or -1.000001 <= found <= 1.000001


def test_places_are_filled_once():
    tricky = Answer("{question} {expected} {answer}", tool_calls=(ToolCall("find", {"a": 1}),))
    text = filled(TEMPLATE, item({"sum": 4}, body=HI), tricky)
    assert "{question} {expected} {answer}" in text and '{"sum": 4}' in text and '[calls find with {"a": 1}]' in text
