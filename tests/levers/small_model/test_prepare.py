import json

import msgspec
import pytest

from tests.levers.small_model import shop
from trimtab.errors import ConfigError, FormatError
from trimtab.levers.small_model import options, prepare
from trimtab.trace import EndState


def steps(data):
    return {count.step: (count.came, count.went) for count in data.funnel.counts}


def test_turns_of_a_session_are_one_conversation_and_every_answer_is_taught(data):
    assert steps(data)["complete"] == (160, 160)
    assert steps(data)["turns put together"] == (160, 40)
    assert len(data.train) + len(data.validation) == 40
    assert {each.taught for each in data.train} == {(2, 4, 6, 8)}


def test_sessions_and_template_families_are_on_one_side(data):
    assert data.validation
    assert not {each.session for each in data.train} & {each.session for each in data.validation}


@pytest.mark.parametrize(
    ("changes", "given", "told"),
    [
        ({"end": EndState.CUT}, {}, "not complete 160"),
        ({}, {"licences": {}}, "'old' has no licence class 160"),
        ({}, {"licences": {"old": "closed"}}, "'old' is closed 160"),
        ({}, {"success": "stars"}, "no score 'stars' 160"),
        ({"agent": "other"}, {"agents": ["desk"]}, "record calls with store.record"),
    ],
)
def test_what_may_not_be_learned_from_is_left_out_with_its_count(tiny, changes, given, told):
    with pytest.raises(FormatError, match=told):
        prepare.prepared(shop.traces(**changes), options.read({**tiny, **given}))


def test_only_successful_sessions_where_a_score_is_asked_for(tiny):
    data = prepare.prepared(shop.traces(), options.read({**tiny, "success": "success"}))
    assert steps(data)["successful"] == (160, 144)


def test_what_the_gate_asks_is_not_trained_on(tiny, tmp_path):
    first = shop.traces()[0].payloads[f"{0:028x}{2:04x}"].request["messages"]
    item = {"id": "a", "body": {"messages": first}, "expected": "x"}
    path = tmp_path / "suite.jsonl"
    path.write_text(json.dumps(item) + "\n")
    texts = prepare.gate_texts([str(path)])
    assert first[1]["content"] in texts
    data = prepare.prepared(shop.traces(), options.read({**tiny, "gate": [str(path)]}))
    assert dict(data.funnel.counts[-2].why) == {"as in the gate's set": 1}
    with pytest.raises(ConfigError, match="no suite's file"):
        prepare.gate_texts(["nowhere.jsonl"])
    assert len(prepare.gate_texts(["arena:test:5"])) == 5


def test_hard_negatives_of_each_kind_come_from_the_traffic(data):
    kinds = {pair.kind for pair in data.pairs}
    assert kinds == {"wrong tool", "wrong argument", "forbidden"}
    for pair in data.pairs:
        assert pair.chosen != pair.rejected
        if pair.kind == "forbidden":
            assert not pair.chosen.get("tool_calls")
            assert pair.rejected["tool_calls"][0]["function"]["name"] == "book"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"licences": {"a": "mine"}}, "licence class 'mine'"),
        ({"stages": ["distil"]}, "name its folder"),
        ({"base": "/nowhere"}, "no checkpoint folder"),
        ({"lora": 8}, "LoRA tunes"),
        ({"steps": {"warm": 1}}, "no stage 'warm'"),
        ({"alpha": 2}, "docs/small_model.md"),
    ],
)
def test_wrong_options_are_told(given, told):
    with pytest.raises(ConfigError, match=told):
        options.read(given)


def test_a_share_of_the_traffic(tiny):
    some = prepare.prepared(shop.traces(120), options.read({**tiny, "traffic": 0.5}))
    assert 30 <= len(some.train) + len(some.validation) <= 90
    assert msgspec.json.encode(some.funnel.rows)
