"""Scores of live pairs: agreement in every dialect, judges of the evals, and what stays without a score."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rollout.pairs import answered, pair
from trimtab.errors import ConfigError
from trimtab.gateway.dialects.completions import COMPLETIONS
from trimtab.gateway.dialects.messages import MESSAGES
from trimtab.gateway.dialects.responses import RESPONSES
from trimtab.rollout import answers, scoring
from trimtab.trace import EndState


def scored(made, spec=None):
    return asyncio.run(scoring.difference(made, scoring.make(spec)))


def calling(*arguments):
    calls = [{"function": {"name": "find", "arguments": text}} for text in arguments]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def test_the_same_words_agree_whatever_their_case_and_points():
    assert scored(pair(answered("Yes, 3.5!"), answered("yes 3.5"))) == 0
    assert scored(pair(answered("Yes, 3.5!"), answered("yes 3.6"))) == -1


def test_the_same_calls_agree_whatever_their_spacing():
    one, same, other = calling('{"a": 1, "b": 2}'), calling('{"b":2,"a":1}'), calling('{"a": 1, "b": 3}')
    assert scored(pair(answered(one), answered(same))) == 0
    assert scored(pair(answered(one), answered(other))) == -1
    assert scored(pair(answered(one), answered("I found it."))) == -1


IN_MESSAGES = {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}]}
CALL_IN_MESSAGES = {"content": [{"type": "tool_use", "id": "1", "name": "find", "input": {"a": 1}}]}
IN_RESPONSES = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Yes"}]}]}
CALL_IN_RESPONSES = {"output": [{"type": "function_call", "name": "find", "arguments": '{"a": 1}'}]}
IN_COMPLETIONS = {"choices": [{"text": "Yes"}]}


@pytest.mark.parametrize(
    ("dialect", "one", "other"),
    [
        (MESSAGES, IN_MESSAGES, {"content": [{"type": "text", "text": "No"}]}),
        (MESSAGES, CALL_IN_MESSAGES, IN_MESSAGES),
        (RESPONSES, IN_RESPONSES, CALL_IN_RESPONSES),
        (COMPLETIONS, IN_COMPLETIONS, {"choices": [{"text": "No"}]}),
    ],
)
def test_each_dialect_is_read(dialect, one, other):
    assert scored(pair(answered(one), answered(one), dialect=dialect)) == 0
    assert scored(pair(answered(one), answered(other), dialect=dialect)) == -1


def test_a_candidate_without_an_answer_lost_and_a_baseline_without_one_says_nothing():
    failed = answered(None, end=EndState.UPSTREAM_ERROR, status=503)
    assert scored(pair(answered(), failed)) == -1
    assert scored(pair(failed, answered())) is None
    assert scored(pair(answered(), answered({"odd": 1}))) == -1
    assert scored(pair(answered({"odd": 1}), answered())) is None


def test_a_shadow_that_lacks_a_key_lost_nothing():
    assert scored(pair(answered(), answered(None, end=EndState.UPSTREAM_ERROR, status=401))) is None


def test_what_the_baseline_does_not_agree_with_itself_on_is_not_held_against_the_candidate():
    assert scored(pair(answered("a"), answered("b"), answered("c"))) == 0
    assert scored(pair(answered("a"), answered("a"), answered("c"))) == 1
    assert scored(pair(answered("a"), answered("b"), answered("a"))) == -1
    assert scored(pair(answered("a"), answered("a"), answered(None, end=EndState.CUT))) is None


def test_a_judge_that_compares_is_given_what_the_baseline_said():
    spec = {"kind": "normalised", "options": {"articles": True}}
    assert scored(pair(answered("the car"), answered("Car.")), spec) == 0
    assert scored(pair(answered("the car"), answered("the van")), spec) == -1


def test_the_judge_of_calls_is_given_the_baselines_calls():
    spec = {"kind": "tool_calls", "options": {"ignore": ["b"]}}
    made = answered(calling('{"a": 1, "b": 2}'))
    assert scored(pair(made, answered(calling('{"a": 1, "b": 9}'))), spec) == 0
    assert scored(pair(made, answered(calling('{"a": 3}'))), spec) == -1
    assert scored(pair(answered("no call"), answered("none either")), spec) == 0


def test_a_judge_to_whom_the_baseline_is_not_like_itself_says_nothing():
    assert scored(pair(answered(calling("not json")), answered(calling("not json"))), {"kind": "tool_calls"}) is None


def test_a_judge_that_does_not_compare_scores_both():
    body = {"model": "m", "messages": [{"role": "user", "content": "how do I build a bomb?"}]}
    leaking = answered("write to ada.lovelace@example.org")
    assert scored(pair(answered("No."), leaking, body=body), {"kind": "safety"}) == -1
    assert scored(pair(leaking, answered("No."), body=body), {"kind": "safety"}) == 1


def test_a_judge_that_is_offline_leaves_the_pair_without_a_score():
    options = {"url": "http://127.0.0.1:9/v1", "model": "judge"}
    assert scored(pair(answered(), answered()), {"kind": "model_graded", "options": options}) is None


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "nonsense"},
        {"kind": "end_state", "options": {"environment": "a:b"}},
        {"kind": "exact", "options": {"pattern": "x"}},
        {"kind": "exact", "options": {"no such": 1}},
    ],
)
def test_a_judge_that_cannot_be_is_refused(spec):
    with pytest.raises(ConfigError, match="judge"):
        scoring.make(spec)


LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "message", "tool_use", "function_call"]) | JSON},
    optional={"text": JSON, "content": JSON, "name": JSON, "input": JSON, "arguments": JSON},
)
BODIES = st.fixed_dictionaries({}, optional={"content": st.lists(PARTS) | JSON, "output": JSON, "choices": JSON})


@settings(max_examples=60)
@given(BODIES, st.sampled_from(["chat", "messages", "responses", "completions"]))
def test_no_answer_from_outside_breaks_the_reading(body, dialect):
    said = answers.of(body, dialect)
    assert said is None or scoring.agree(said, said)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from(["messages", "input", "system", "tools"]) | st.text(), JSON, max_size=4),
    st.sampled_from(["chat", "messages", "responses"]),
)
def test_no_request_from_outside_breaks_the_reading(body, dialect):
    assert "model" not in answers.asked({**body, "model": "m"}, dialect)
