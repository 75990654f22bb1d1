"""The recorded work: the same every time, with the right answer to each request; and what counts as right."""

import json

import pytest

from trimtab.bench import traffic


@pytest.fixture(scope="module")
def works():
    return traffic.record("test", 6, 3)


def test_every_request_has_the_turns_before_it_and_an_answer(works):
    moves = [move for work in works for move in work.moves]
    assert len(works) == 6
    assert len(moves) > 12
    for move in moves:
        assert move.right["role"] == "assistant"
        assert move.messages[-1]["role"] in ("user", "tool")
        assert move.tools
    assert works == traffic.record("test", 6, 3)
    assert works != traffic.record("test", 6, 4)


def test_the_recorded_answer_is_right_and_another_is_not(works):
    moves = [move for work in works for move in work.moves]
    assert all(traffic.is_right(move, move.right) for move in moves)
    call = next(move for move in moves if move.right.get("tool_calls"))
    text = next(move for move in moves if not move.right.get("tool_calls"))
    assert not traffic.is_right(call, text.right)
    assert not traffic.is_right(text, call.right)
    assert not traffic.is_right(text, {"content": ""})
    changed = json.loads(json.dumps(call.right))
    changed["tool_calls"][0]["function"]["arguments"] = '{"other": 1}'
    assert not traffic.is_right(call, changed)
    changed["tool_calls"][0]["function"]["arguments"] = "{broken"
    assert not traffic.is_right(call, changed)


def test_spaces_in_arguments_do_not_count(works):
    call = next(m for work in works for m in work.moves if m.right.get("tool_calls"))
    spaced = json.loads(json.dumps(call.right))
    function = spaced["tool_calls"][0]["function"]
    function["arguments"] = json.dumps(json.loads(function["arguments"]), indent=3)
    assert traffic.is_right(call, spaced)


def test_as_recorded_calls_a_session_is_one_cluster(works):
    calls = traffic.spoken(works)
    assert {each.cluster for each in calls} == {work.name for work in works}
    assert calls[0].messages[-1] == works[0].moves[0].right
