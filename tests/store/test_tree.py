"""The tree of a session: agents nested by hand-off, tools with results, the time that tools took."""

import json

import pytest

from tests.store.samples import make_record
from trimtab.store.tree import handoff, tree_of
from trimtab.trace import Payload, Record, Trace


class Session:
    """A conversation that grows call by call, as the dealership's agents make it: one call a second, 250.5 ms each."""

    def __init__(self):
        self.messages = [{"role": "user", "content": "hello"}]
        self.records = []

    def call(self, agent, *tools, text=None, result="done", **fields):
        number = len(self.records)
        asked = [
            {"id": f"c{number}-{i}", "function": {"name": name, "arguments": "{}"}} for i, name in enumerate(tools)
        ]
        message = {"role": "assistant", "content": text, **({"tool_calls": asked} if asked else {})}
        plain = make_record(number, agent=agent, body=False, **fields).call
        response = {"choices": [{"message": message, "finish_reason": "stop"}]}
        request = json.loads(json.dumps({"messages": self.messages}))
        self.records.append(Record(plain, Payload(plain.id, request, response)))
        self.messages.append(message)
        self.messages += [
            {"role": "tool", "tool_call_id": tool["id"], "content": f"{result} {tool['id']}"} for tool in asked
        ]
        return self

    def tree(self):
        payloads = {record.call.id: record.payload for record in self.records}
        return tree_of(Trace("t", tuple(record.call for record in self.records), payloads))


def shape(agents):
    """[(agent, [(call id, tools, nested agents)])]"""
    return [
        (agent.name, [(c.call.id, tuple(t.name for t in c.tools), shape(c.agents)) for c in agent.calls])
        for agent in agents
    ]


def test_agents_nest_by_hand_off():
    session = (
        Session().call("triage", "transfer_to_sales").call("sales", "find_vehicle").call("sales", "transfer_to_finance")
    )
    tree = session.call("finance", text="4.9 %").tree()
    finance = [("finance", [("call-3", (), [])])]
    sales = [("sales", [("call-1", ("find_vehicle",), []), ("call-2", ("transfer_to_finance",), finance)])]
    assert shape(tree.agents) == [("triage", [("call-0", ("transfer_to_sales",), sales)])]


def test_a_hand_off_back_begins_a_new_turn():
    tree = (
        Session()
        .call("triage", "transfer_to_sales")
        .call("sales", "transfer_to_triage")
        .call("triage", text="bye")
        .tree()
    )
    ((_, ((_, _, ((_, ((_, _, ((again, calls),)),)),)),)),) = shape(tree.agents)
    assert again == "triage" and [call[0] for call in calls] == ["call-2"]


def test_tools_have_results_and_their_time():
    tree = Session().call("sales", "find", "price").call("sales", text="it costs").call("sales", "book").tree()
    first, second, third = tree.agents[0].calls
    assert [tool.result for tool in first.tools] == ["done c0-0", "done c0-1"]
    assert first.tool_ms == pytest.approx(749.5) and second.tool_ms is None and second.text == "it costs"
    assert third.tool_ms is None and third.tools[0].result is None
    assert tree.tool_ms == pytest.approx(749.5) and tree.model_ms == pytest.approx(751.5)


def test_ids_counted_anew_in_every_answer_find_their_own_result():
    session = Session().call("sales", "find", result="first").call("sales", "price", result="second")
    session.call("sales", text="done")
    for record in session.records:
        text = json.dumps([record.payload.request, record.payload.response]).replace("c1-0", "c0-0")
        record.payload.request.clear(), record.payload.response.clear()
        for body, value in zip((record.payload.request, record.payload.response), json.loads(text), strict=True):
            body.update(value)
    first, second, _ = session.tree().agents[0].calls
    assert first.tools[0].result == "first c0-0"
    assert second.tools[0].result == "second c0-0" and second.tools[0].id == "c0-0"


def test_agents_at_work_at_the_same_time_keep_their_turns():
    tree = Session().call("a").call("b").call("a").call("b").tree()
    assert [(agent.name, len(agent.calls)) for agent in tree.agents] == [("a", 2), ("b", 2)]


def test_without_hand_off_the_parent_span_nests():
    session = Session().call("boss").call("worker", parent_id="span-0").call("other", parent_id="elsewhere")
    tree = session.tree()
    assert [agent.name for agent in tree.agents] == ["boss", "other"]
    assert [agent.name for agent in tree.agents[0].calls[0].agents] == ["worker"]


def test_calls_without_bodies_still_make_a_tree():
    tree = tree_of(Trace("t", tuple(make_record(n, agent=a).call for n, a in enumerate(["triage", "sales"]))))
    assert [agent.name for agent in tree.agents] == ["triage", "sales"] and tree.summary.calls == 2


@pytest.mark.parametrize(
    ("body", "response"),
    [
        ({"messages": 3}, {"choices": {}}),
        ({"messages": [3]}, {"choices": [3]}),
        ({}, {"choices": [{"message": "x"}]}),
        ({}, {"choices": [{"message": {"tool_calls": [3, {"function": 3}, {"function": {}}], "content": 3}}]}),
    ],
)
def test_odd_bodies_are_drawn_as_far_as_they_go(body, response):
    calls = [make_record(n).call for n in range(2)]
    payloads = {call.id: Payload(call.id, body, response) for call in calls}
    assert len(tree_of(Trace("t", tuple(calls), payloads)).agents[0].calls) == 2


@pytest.mark.parametrize(
    ("name", "arguments", "target"),
    [
        ("transfer_to_sales", "{}", "sales"),
        ("handoff_to_finance", "", "finance"),
        ("handoff", '{"agent": "x"}', "x"),
        ("handoff", "nonsense", "?"),
        ("find_vehicle", "", None),
        ("transfer_money", "{}", None),
    ],
)
def test_names_of_hand_offs(name, arguments, target):
    assert handoff(name, arguments) == target
