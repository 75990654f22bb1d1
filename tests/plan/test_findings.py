"""Shape and waste on traces written by hand, so that every number can be checked on paper."""

from itertools import permutations

import msgspec
import pytest

from tests.plan.conftest import call, payload, tool_call
from trimtab.money import Price, PriceTable, Usage
from trimtab.plan.audit import Auditor, measure
from trimtab.plan.findings import Part
from trimtab.plan.timeline import Stage
from trimtab.trace import EndState, Payload, Record, Score, Trace

PRICES = PriceTable("t", {"dear": Price(10.0, 40.0, batch=0.5), "cheap": Price(1.0, 4.0)})


def trace(name, *pairs, scores=()):
    """A trace of (call, payload) pairs, a session of its own."""
    calls = tuple(msgspec.structs.replace(one, session=name, trace_id=name) for one, _ in pairs)
    return Trace(name, calls, {one.id: body for one, body in pairs if body}, scores)


def audited(traces):
    auditor = Auditor(PRICES)
    for each in traces:
        for one in each.calls:
            auditor.add(Record(one, each.payloads.get(one.id)), each.scores)
    return auditor.result()


def chat(name, start, system, text, answer="ok", **fields):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return call(name, start, 1, **fields), payload(name, messages, answer)


def test_a_handover_succeeds_unless_work_comes_back_or_is_done_again(session):
    ask = payload("a", [{"role": "user", "content": "hi"}], "What is the licence plate of your car?")
    hand = payload("b", [{"role": "user", "content": "hi"}], tools=[tool_call("h", "transfer_to_sales")])
    again = payload("c", [{"role": "user", "content": "hi"}], "And what is your licence plate, of the car?")
    bad = trace("x", (call("a", 0, 1), ask), (call("b", 2, 1), hand), (call("c", 4, 1, agent="sales"), again))
    back = payload("e", [{"role": "user", "content": "hi"}], tools=[tool_call("h", "transfer_to_triage")])
    sent = trace(
        "y",
        (call("d", 0, 1), hand),
        (call("e", 2, 1, agent="sales"), back),
        (call("f", 4, 1), payload("f", [], "fine")),
    )
    edges = {(edge.source, edge.target): edge for edge in measure([session, bad, sent]).shape.edges}
    to_sales = edges["triage", "sales"]
    assert (to_sales.count, to_sales.transfers, to_sales.returned, to_sales.asked_again) == (3, 3, 1, 1)
    assert to_sales.success.value == pytest.approx(1 / 3)
    assert set(to_sales.success.look_at) == {"c", "e"}


def test_a_receiver_that_calls_the_senders_tool_again_did_its_work_again():
    look = payload("a", [], tools=[tool_call("1", "find", plate="X")])
    audit = measure([trace("x", (call("a", 0, 1), look), (call("b", 2, 1, agent="sales"), look))])
    (edge,) = audit.shape.edges
    assert (edge.done_again, edge.success.value) == (1, 0)


def test_chains_fan_out_and_time_in_parallel():
    """Two calls side by side for one second of three, then one more."""
    one = trace("x", (call("a", 0, 2), None), (call("b", 1, 2), None), (call("c", 5, 1), None))
    (flow,) = measure([one]).shape.flows
    assert (flow.calls.value, flow.chain.value, flow.fan_out) == (3, 2, 2)
    assert flow.in_parallel.value == pytest.approx(1 / 4)
    assert flow.calls.low is None, "one session has no interval"


def test_the_critical_path_names_the_agent_and_stage_that_bound_it(session):
    (flow,) = measure([session]).shape.flows
    assert sum(bound.seconds for bound in flow.bounds) == pytest.approx(11)
    seconds = {(bound.agent, bound.stage): bound.seconds for bound in flow.bounds}
    assert seconds["sales", Stage.TOOLS] == 2.5
    assert next(bound for bound in flow.bounds if bound.stage is Stage.CUSTOMER).look_at == ("c4",)
    assert {node.agent: node.calls for node in measure([session]).shape.nodes} == {"sales": 4, "triage": 1}


def test_loops_repetitions_and_early_ends_are_told_by_rule():
    ask = payload("", [], tools=[tool_call("1", "find", plate="X")])
    circle = trace("x", *((call(f"l{i}", 2 * i, 1), ask) for i in range(4)), scores=(Score("success", 0.0),))
    cut = trace("y", (call("z", 0, 1, end=EndState.CUT), None))
    fine = trace("w", (call("f", 0, 1), payload("f", [], "done")), scores=(Score("success", 1.0),))
    modes = {mode.name: mode for mode in measure([circle, cut, fine]).shape.modes}
    assert set(modes) == {"loop", "step repetition", "premature stop", "no end"}
    assert modes["loop"].share.value == pytest.approx(1 / 3)
    assert modes["loop"].share.look_at == ("l2", "l3")
    assert modes["loop"].unsolved.value == 1
    assert modes["premature stop"].share.look_at == ("l3",)
    assert modes["no end"].share.look_at == ("z",)


def test_retries_of_failed_calls_are_lost_money():
    body = payload("", [{"role": "user", "content": "hi"}])
    failed = (call("a", 0, 1, end=EndState.UPSTREAM_ERROR, cost_nanodollars=5), body)
    late = (call("c", 5000, 1, cost_nanodollars=9), body)
    audit = measure([trace("x", failed, (call("b", 2, 1, cost_nanodollars=7), body), late)])
    lost = {row.kind: row for row in audit.where.lost}
    assert (lost["failed"].spend.nanodollars, lost["retry"].spend.nanodollars) == (5, 7)
    assert lost["retry"].share.look_at == ("b",)


def test_a_time_at_the_head_of_a_prompt_is_named_as_what_breaks_the_prefix():
    rest = "You sell cars. " * 60
    traces = [
        trace(f"t{i}", chat(f"c{i}", 10 * i, f"It is 2024-05-01 10:{i:02}:00. {rest}", "hi", usage=Usage(250, 5)))
        for i in range(12)
    ]
    prefix = measure(traces).waste.prefix
    assert prefix.possible.value < 0.2 < 0.8 < prefix.fixable.value
    (found,) = prefix.breaks
    assert found.cause == "a time or date at the head of the system prompt"
    assert found.tokens > 0
    assert found.share.look_at


def test_shuffled_tools_are_named_as_what_breaks_the_prefix():
    tools = [
        {"type": "function", "function": {"name": name, "description": name * 60}} for name in ("buy", "find", "sell")
    ]
    traces = []
    for place, order in enumerate(permutations(tools)):
        one, body = chat(f"c{place}", 10 * place, "Be brief.", "hi", usage=Usage(100, 5))
        traces.append(trace(f"t{place}", (one, Payload(one.id, {**body.request, "tools": list(order)}, body.response))))
    waste = measure(traces).waste
    assert waste.prefix.possible.value < 0.5 < 0.8 < waste.prefix.fixable.value
    (found,) = waste.prefix.breaks
    assert found.cause == "the tools stand in another order"
    unused = {row.tool: row for row in waste.unused_tools}
    assert unused["buy"].offered == 6
    assert 0 < unused["buy"].share.high < 0.5


def test_templates_are_mined_as_constant_text_and_slots():
    names = ["Ann", "Bob", "Cleo", "Dan", "Eve", "Finn"]
    traces = [
        trace(name, chat(name, i, "Write to the customer.", f"Dear {name}, your order {i * 37} is late. Write why."))
        for i, name in enumerate(names)
    ]
    other = [
        trace(f"o{i}", chat(f"o{i}", 50 + i, "You translate text into French, word by word.", "x")) for i in range(3)
    ]
    templates = measure([*traces, *other]).where.templates
    first = next(one for one in templates if "customer" in one.text)
    assert (first.calls, first.distinct, first.slots) == (6, 6, 2)
    assert "Ann" not in first.text
    assert "your order" in first.text
    assert 0.5 < first.constant < 1
    assert sum(one.calls for one in templates) == 9


def test_nothing_shown_holds_a_secret_or_personal_data():
    """Names of agents and tools, templates, and the text round what breaks a prefix, wherever it is cut."""
    secret, mail = "sk-abcdefghijklmnop1234567890", "ann.smith@example.com"
    for gap in range(0, 60, 7):
        traces = []
        for i in range(5):
            system = f"Key {secret} {'x' * gap} 2024-05-0{i + 1} for {mail}. " + "Sell. " * 80
            one, body = chat(f"c{i}", i, system, mail, agent=mail, usage=Usage(200, 1))
            asked = payload(one.id, [], tools=[tool_call("1", mail), tool_call("2", f"transfer_to_{mail}")]).response
            traces.append(trace(f"t{i}", (one, Payload(one.id, body.request, asked))))
        audit = measure(traces)
        assert audit.waste.prefix.breaks
        text = msgspec.json.encode(audit).decode()
        assert secret[4:14] not in text
        assert "smith" not in text


def test_parts_of_a_prompt_are_told_apart():
    messages = [
        {"role": "system", "content": "s" * 100},
        {"role": "user", "content": "u" * 100},
        {"role": "assistant", "tool_calls": [tool_call("1", "search_docs", q="x")]},
        {"role": "tool", "tool_call_id": "1", "content": "d" * 400},
    ]
    one = call("a", 0, 1, request_model="dear", cost_nanodollars=100 * 10_000 + 10 * 40_000, usage=Usage(100, 10))
    audit = audited([trace("x", (one, payload("a", messages, "fine")))])
    parts = {row.part: row for row in audit.where.parts if not row.agent and not row.workflow}
    assert parts[Part.RETRIEVED].tokens > parts[Part.SYSTEM].tokens > 0
    assert parts[Part.HISTORY].tokens > 0
    assert parts[Part.OUTPUT].nanodollars == 400_000
    assert sum(row.nanodollars for row in parts.values()) == pytest.approx(1_400_000, abs=5)


def test_batchable_oversized_and_cut_calls_are_priced():
    traces = []
    for i in range(40):
        fields = {"request_model": "dear", "cost_nanodollars": 1000, "usage": Usage(50, 2), "agent": "label"}
        reason = "length" if i < 4 else "stop"
        one, body = chat(f"c{i}", i, "Say A or B.", f"text number {i}", "AB"[i % 2], finish_reason=reason, **fields)
        traces.append(trace(f"t{i}", (one, body)))
    traces.append(trace("other", chat("o", 99, "x", "y", request_model="cheap", agent="chat", stream=True)))
    waste = audited(traces).waste
    (batch,) = waste.batchable
    assert (batch.agent, batch.saving, batch.share.value) == ("label", 20_000, 1)
    (large,) = waste.oversized
    assert (large.agent, large.saving) == ("label", 36_000)
    (cut,) = waste.cut
    assert cut.share.value == pytest.approx(0.1)
    assert set(cut.share.look_at) <= {f"c{i}" for i in range(4)}


def test_questions_of_the_same_words_are_near_repeats():
    asked = ["Where is my car?", "where is MY car", "car my is where?!", "Where is my bike?", "Where is my car?"]
    traces = [trace(f"t{i}", chat(f"c{i}", i, "Help.", text)) for i, text in enumerate(asked)]
    audit = measure(traces)
    (near,) = audit.waste.near
    assert near.share.value == pytest.approx(2 / 5)
    assert near.note.endswith("2 of 2 got the same answer")
    assert audit.repeats.requests == 1
