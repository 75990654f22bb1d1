"""The judges that need no model: what is right, what is wrong, and what is missing."""

import asyncio

import pytest

from tests.evals.items import HI, item, judged
from trimtab.errors import ConfigError
from trimtab.evals import scorers
from trimtab.evals.answer import Answer, ToolCall
from trimtab.evals.judge import Judgement
from trimtab.evals.suite import JudgeSpec, of, parse


@pytest.mark.parametrize(
    ("kind", "expected", "answer", "options", "score"),
    [
        ("exact", "42", " 42\n", {}, 1),
        ("exact", "42", "42.", {}, 0),
        ("exact", ["yes", "yep"], "yep", {}, 1),
        ("exact", 42, "42", {}, 1),
        ("exact", "42", "so 7\n#### 42", {"pattern": r"#### (\d+)"}, 1),
        ("exact", "42", "#### 42 or #### 7", {"pattern": r"#### (\d+)"}, 0),
        ("exact", "42", "it is 42", {"pattern": r"\d+"}, 1),
        ("exact", "", "no number", {"pattern": r"\d+"}, 0),
        ("exact", "None", "ab", {"pattern": "a(x)?b"}, 0),
        ("normalised", "The Ford Focus", "the ford, focus!", {}, 1),
        ("normalised", "Ford", "the Ford", {}, 0),
        ("normalised", "Ford", "the Ford", {"articles": True}, 1),
        ("json_schema", None, '{"a": 1}', {"schema": {"required": ["a"]}}, 1),
        ("json_schema", None, '{"b": 1}', {"schema": {"required": ["a"]}}, 0),
        ("json_schema", None, '{"a": NaN}', {"schema": {"required": ["a"]}}, 0),
        ("json_schema", None, '```json\n{"a": 1}\n```', {"schema": {"required": ["a"]}}, 0),
        ("json_schema", None, '```json\n{"a": 1}\n```', {"schema": {"required": ["a"]}, "fenced": True}, 1),
        ("json_schema", {"a": 1}, '{"a": 1.0}', {}, 1),
        ("json_schema", {"a": 1}, '{"a": true}', {}, 0),
        ("json_schema", {"a": 1}, '{"a": 2}', {"schema": {"required": ["a"]}}, 0),
        ("json_schema", None, "{}", {}, None),
        ("json_schema", None, "{}", {"schema": {"type": "nonsense"}}, None),
        ("json_schema", None, "{}", {"schema": {"$ref": "http://127.0.0.1:9/schema"}}, None),
    ],
)
def test_texts(kind, expected, answer, options, score):
    assert judged(kind, expected, answer, **options).score == score


def test_the_schema_of_the_request_itself():
    body = {**HI, "response_format": {"type": "json_schema", "json_schema": {"schema": {"required": ["a"]}}}}
    assert judged("json_schema", None, '{"a": 1}', request=body).score == 1
    wrong = judged("json_schema", None, '{"b": 1}', request=body)
    assert wrong.score == 0 and "required" in wrong.reason


FIND, BOOK = {"name": "find", "arguments": {"make": "Ford", "doors": 4}}, {"name": "book", "arguments": {}}


@pytest.mark.parametrize(
    ("expected", "made", "options", "score"),
    [
        ([FIND], [("find", {"doors": 4.0, "make": "Ford"})], {}, 1),
        ([FIND], [("find", {"make": "Ford"})], {}, 0),
        ([FIND], [("find", {"make": "Ford"})], {"ignore": ["doors"]}, 1),
        ([FIND], [("find", {"make": "Ford", "doors": "4"})], {}, 0),
        ([FIND], [("seek", FIND["arguments"])], {}, 0),
        ([FIND], "no calls", {}, 0),
        ([], "no calls", {}, 1),
        ([], [("book", {})], {}, 0),
        ([FIND, BOOK], [("book", {}), ("find", FIND["arguments"])], {}, 0),
        ([FIND, BOOK], [("book", {}), ("find", FIND["arguments"])], {"ordered": False}, 1),
        ([BOOK], [("book", {}), ("book", {})], {"ordered": False}, 0),
        (["find"], [("find", {})], {}, None),
        ([{"tool": "find"}], [("find", {})], {}, None),
    ],
)
def test_tool_calls(expected, made, options, score):
    assert judged("tool_calls", expected, made, **options).score == score


def test_broken_arguments_are_wrong_even_where_no_argument_counts():
    judge = scorers.make(JudgeSpec("tool_calls", {"ignore": ["make", "doors"]}))
    answer = Answer(tool_calls=(ToolCall("find", malformed='{"make'),))
    said = asyncio.run(judge.score(item([{"name": "find"}]), answer))
    assert said.score == 0 and "no JSON" in said.reason


STOCK = "tests.evals.environment:stock"


@pytest.mark.parametrize(
    ("expected", "calls", "options", "score"),
    [
        ({"free": {"ford": 1, "fiat": 0}, "asked": 1}, [("reserve", "fiat"), ("reserve", "ford")], {}, 1),
        ({"free": {"ford": 2, "fiat": 1}, "asked": 1}, [("reserve", "fiat"), ("cancel", "fiat")], {}, 1),
        ({"free": {"ford": 1}}, [("reserve", "ford")], {}, 0),
        ({"free": {"ford": 1}}, [("reserve", "ford")], {"part": True}, 1),
        ({"free": {"ford": 1}}, [("reserve", "opel")], {"part": True}, None),
        ({"free": {"fiat": -1}}, [("reserve", "fiat")] * 2, {"part": True}, None),
    ],
)
def test_end_states(expected, calls, options, score):
    made = [(name, {"car": car}) for name, car in calls]
    assert judged("end_state", expected, made, environment=STOCK, **options).score == score


def test_an_environment_of_ones_own(tmp_path):
    """Out of a file, which is part of the judge's version."""
    path = tmp_path / "mine.py"
    path.write_text("def state(request, calls):\n    return len(calls)\n")
    spec = JudgeSpec("end_state", {"environment": f"{path}:state"})
    assert judged("end_state", 2, [("a", {}), ("b", {})], **spec.options).score == 1
    version = scorers.make(spec).version
    path.write_text("def state(request, calls):\n    return 3\n")
    assert judged("end_state", 3, [], **spec.options).score == 1 and scorers.make(spec).version != version
    path.write_text("def state(request")
    with pytest.raises(ConfigError, match="there is no environment"):
        scorers.make(spec)
    with pytest.raises(ConfigError, match="there is no environment"):
        scorers.make(JudgeSpec("end_state", {"environment": f"{tmp_path}/none.py:state"}))


@pytest.mark.parametrize(
    ("kind", "options", "wanted"),
    [
        ("exact", {"patern": "x"}, "unknown field `patern`"),
        ("exact", {"pattern": "("}, "is no regular expression"),
        ("end_state", {}, "missing required field `environment`"),
        ("end_state", {"environment": "tests.evals.environment:gone"}, "there is no environment"),
        ("end_state", {"environment": "no.such.module:x"}, "there is no environment"),
        ("end_state", {"environment": ""}, "there is no environment"),
        ("end_state", {"environment": "tests.evals.environment:NUMBER"}, "cannot be called"),
        ("model_graded", {"url": "http://x/v1"}, "missing required field `model`"),
        ("model_graded", {"url": "u", "model": "m", "pattern": "GRADE"}, "has no group"),
        ("model_graded", {"url": "u", "model": "m", "template": "grade it"}, "has no {answer}"),
        ("model_graded", {"url": "u", "model": "m", "wrong": ["C"]}, "must each name a grade"),
        ("embedding", {"url": "u", "model": "m", "threshold": 2}, "threshold"),
    ],
)
def test_options_that_will_not_do(kind, options, wanted):
    with pytest.raises(ConfigError) as caught:
        scorers.make(JudgeSpec(kind, options))
    assert wanted in str(caught.value)


def test_a_version_changes_with_what_may_change_a_judgement():
    specs = [
        JudgeSpec("exact"),
        JudgeSpec("normalised"),
        JudgeSpec("exact", {"pattern": "x"}),
        JudgeSpec("model_graded", {"url": "u", "model": "m"}),
        JudgeSpec("model_graded", {"url": "u", "model": "n"}),
        JudgeSpec("model_graded", {"url": "u", "model": "m", "template": "{answer}?"}),
    ]
    versions = [scorers.make(spec).version for spec in specs]
    assert len(set(versions)) == len(versions) and versions == [scorers.make(spec).version for spec in specs]
    patient = {"url": "u", "model": "m", "timeout_s": 5, "attempts": 9, "wait_s": 0, "key_env": "K"}
    assert scorers.make(JudgeSpec("model_graded", patient)).version == versions[3]


def test_a_panel_asks_each_items_own_judge():
    head = '+++\n[judge]\nkind = "exact"\n[judges.tools]\nkind = "tool_calls"\n+++\n'
    lines = '{"id": 1, "body": {"messages": [1]}, "expected": "4"}\n'
    lines += '{"id": 2, "body": {"messages": [1]}, "expected": [], "judge": "tools"}'
    suite = parse(head + lines, "x")
    panel = scorers.Panel(suite)
    scores = [asyncio.run(panel.score(each, Answer("4"))).score for each in suite.items]
    assert scores == [1, 1]
    assert panel.version != scorers.Panel(of(suite.items[:1], name="x")).version


def test_a_score_is_a_share_or_missing():
    for odd in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="outside"):
            Judgement(odd)
