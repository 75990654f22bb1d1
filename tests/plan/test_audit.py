import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plan.conftest import call, payload, tool_call
from trimtab.money import Usage
from trimtab.plan.audit import measure
from trimtab.plan.spending import Spend
from trimtab.plan.timeline import Stage
from trimtab.plan.tools import Handoff
from trimtab.trace import EndState, Payload, Score, Trace


def test_totals_count_money_tokens_and_success(session):
    lost = Trace(
        "t2", (call("d1", 0, 1, trace_id="t2", session="s2", cost_nanodollars=200),), {}, (Score("success", 0),)
    )
    totals = measure([session, lost]).totals
    assert (totals.traces, totals.sessions, totals.calls, totals.without_bodies) == (2, 2, 6, 1)
    assert (totals.input_tokens, totals.output_tokens, totals.cache_read_tokens) == (1400, 105, 40)
    assert totals.spend == Spend(1200, 5, 1)
    assert (totals.scored, totals.solved, totals.success) == (2, 1, 0.5)
    assert totals.success_low < 0.5 < totals.success_high
    assert totals.per_solved == 1200
    assert (totals.seconds, totals.session_p50, totals.session_p90) == (12, 6, 10)


def test_an_unscored_trace_is_not_in_the_price_of_a_solved_one(session):
    unscored = Trace("t2", (call("d1", 0, 1, trace_id="t2", session="s2", cost_nanodollars=10**9),))
    assert measure([session, unscored]).totals.per_solved == 1000


def test_a_cost_nobody_knows_is_never_zero():
    totals = measure([Trace("t", (call("c", 0, 1),), {}, (Score("success", 1),))]).totals
    assert totals.spend.known is None
    assert totals.per_solved is None


def test_agents_share_the_known_cost(session):
    sales, triage = measure([session]).agents
    assert (sales.agent, sales.calls, sales.share, sales.model_seconds) == ("sales", 4, 0.9, 5)
    assert (triage.agent, triage.share, triage.ttft_p50_ms) == ("triage", 0.1, 400)
    # The cut call is in calls, tokens and seconds, not in the latencies of answers.
    assert (sales.latency_p50_ms, sales.latency_p90_ms, sales.ttft_p50_ms) == (1000, 1800, 600)
    assert sales.input_tokens == 1300


def test_tools_count_errors_repeats_and_the_seconds_until_the_next_request(session):
    find, transfer = measure([session]).tools
    assert (find.tool, find.calls, find.errors, find.repeats, find.seconds) == ("find_vehicles", 2, 1, 1, 2.5)
    assert (transfer.tool, transfer.calls, transfer.errors, transfer.seconds) == ("transfer_to_sales", 1, 0, 0.5)
    assert find.share == pytest.approx(2 / 3)
    assert 0 < find.context_tokens < 1100
    assert transfer.context_tokens == 0


def test_stages_cut_the_critical_path_without_rest(session):
    audit = measure([session])
    seconds = {row.stage: row.mean for row in audit.stages}
    assert seconds == {
        Stage.PREFILL: 2.5,
        Stage.DECODE: 2.5,
        Stage.MODEL: 1,
        Stage.TOOLS: 3,
        Stage.CUSTOMER: 2,
    }
    assert sum(row.share for row in audit.stages) == pytest.approx(1)


def test_stages_of_a_session_without_one_count_as_zero(session):
    quick = Trace("t2", (call("d1", 0, 1, trace_id="t2", session="s2", ttft_ms=1000),))
    tools = next(row for row in measure([session, quick]).stages if row.stage is Stage.TOOLS)
    assert (tools.mean, tools.p50, tools.p90) == (1.5, 1.5, 2.7)


def test_exact_repeats_are_found_within_and_across_sessions():
    body = payload("", [{"role": "user", "content": "hi"}], "hello")
    shuffled = Payload("", dict(reversed(body.request.items())), body.response)
    other = payload("", [{"role": "user", "content": "hi!"}], "hello")
    sessions = {"a": [body, body], "b": [shuffled], "c": [other], "d": [body]}
    traces = []
    for start, (name, bodies) in enumerate(sessions.items()):
        calls = tuple(
            call(f"{name}{i}", start * 10 + i, 1, session=name, cost_nanodollars=5) for i in range(len(bodies))
        )
        traces.append(Trace(name, calls, {f"{name}{i}": one for i, one in enumerate(bodies)}))
    repeats = measure(traces).repeats
    assert (repeats.requests, repeats.across, repeats.spend.nanodollars) == (3, 2, 15)


def test_a_failed_call_is_neither_a_repeat_nor_repeated():
    body = payload("", [{"role": "user", "content": "hi"}], "hello")
    calls = (call("a", 0, 1, end=EndState.CUT), call("b", 2, 1), call("c", 4, 1, end=EndState.STALLED))
    assert measure([Trace("t", calls, {one.id: body for one in calls})]).repeats.requests == 0


def test_failures_by_end_state_with_unknown_cost_apart(session):
    (cut,) = measure([session]).failures
    assert (cut.end, cut.calls, cut.spend.known) == (EndState.CUT, 1, None)


def test_handoffs_are_named_from_source_to_target(session):
    assert measure([session]).handoffs == (Handoff("triage", "sales", 1),)


def test_tools_asked_for_together_share_the_seconds():
    ask = payload("c1", [], tools=[tool_call("a", "price"), tool_call("b", "stock")])
    audit = measure([Trace("t", (call("c1", 0, 1), call("c2", 4, 1)), {"c1": ask})])
    assert [(row.tool, row.seconds) for row in audit.tools] == [("price", 1.5), ("stock", 1.5)]


def test_the_wait_after_a_failed_call_is_neither_tools_nor_customer():
    ask = payload("c1", [], tools=[tool_call("a", "price")])
    audit = measure([Trace("t", (call("c1", 0, 1, end=EndState.CUT), call("c2", 4, 1)), {"c1": ask})])
    assert {row.stage: row.mean for row in audit.stages} == {Stage.MODEL: 2, Stage.OTHER: 3}


def test_a_session_of_two_traces_has_one_critical_path():
    first = Trace("t1", (call("c1", 0, 1, finish_reason="stop"),))
    second = Trace("t2", (call("c2", 5, 1, trace_id="t2"),))
    audit = measure([second, first])
    assert (audit.totals.traces, audit.totals.sessions, audit.totals.seconds) == (2, 1, 6)
    alone = [Trace(str(i), (call(str(i), i * 5, 1, session=""),)) for i in range(2)]
    assert (measure(alone).totals.sessions, measure(alone).totals.seconds) == (2, 2)


def test_the_last_word_on_success_counts():
    scores = (Score("success", 1), Score("polite", 1), Score("success", 0))
    assert measure([Trace("t", (call("c", 0, 1),), {}, scores)]).totals.success == 0


def test_counters_alone_still_give_money_and_time(session):
    calls = tuple(
        msgspec.structs.replace(one, finish_reason=reason)
        for one, reason in zip(session.calls, ["tool_calls", "tool_calls", "tool_calls", "stop", None], strict=True)
    )
    bare = measure([Trace("t1", calls)])
    full = measure([session])
    assert (bare.totals.spend, bare.agents, bare.stages) == (full.totals.spend, full.agents, full.stages)
    assert (bare.tools, bare.repeats.requests, bare.totals.without_bodies) == ((), 0, 5)


def test_a_retry_does_not_count_a_tool_error_twice():
    ask = payload("c1", [{"role": "user", "content": "x"}], tools=[tool_call("a", "book")])
    history = [
        {"role": "assistant", "tool_calls": [tool_call("a", "book")]},
        {"role": "tool", "tool_call_id": "a", "content": "Error: full"},
    ]
    calls = (call("c1", 0, 1), call("c2", 2, 1, end=EndState.STALLED), call("c3", 4, 1))
    bodies = {"c1": ask, "c2": payload("c2", history), "c3": payload("c3", history, "sorry")}
    (book,) = measure([Trace("t", calls, bodies)]).tools
    assert (book.calls, book.errors) == (1, 1)


@pytest.mark.parametrize(
    "response",
    [None, {}, {"choices": None}, {"choices": [None]}, {"choices": [{"message": {"tool_calls": [{"function": 3}]}}]}],
)
def test_bodies_of_any_shape_are_survived(response):
    request = {"messages": [None, "x", {"role": "tool", "content": {"a": 1}}, {"role": "tool", "content": "{"}]}
    audit = measure([Trace("t", (call("c", 0, 1, usage=Usage()),), {"c": Payload("c", request, response)})])
    assert audit.totals.calls == 1
    assert audit.tools == ()


def test_nothing_recorded_is_an_audit_too():
    audit = measure([])
    assert (audit.totals.calls, audit.totals.success, audit.agents, audit.stages) == (0, None, (), ())


times = st.tuples(
    st.integers(-(10**9), 10**9), st.floats(-10, 1e4), st.none() | st.floats(-10, 2e4), st.sampled_from(EndState)
)


@given(st.lists(times, min_size=1, max_size=8))
def test_the_stages_of_overlapping_calls_sum_to_the_session(rows):
    """Whatever the clock did: no second is lost, counted twice or negative."""
    calls = tuple(
        call(str(i), 0, 0, started_ns=start, duration_ms=duration, ttft_ms=ttft, end=end)
        for i, (start, duration, ttft, end) in enumerate(rows)
    )
    audit = measure([Trace("t", calls)])
    last = max(one.started_ns + max(0, round(one.duration_ms * 1e6)) for one in calls)
    assert all(row.mean >= 0 for row in audit.stages)
    assert math.isclose(
        sum(row.mean for row in audit.stages), (last - min(one.started_ns for one in calls)) / 1e9, abs_tol=1e-6
    )
