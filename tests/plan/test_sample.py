"""The stream: what is kept is bounded, chosen by name and seed alone, and every call is counted whatever is kept."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.conftest import call, payload
from trimtab.money import Usage
from trimtab.plan.audit import Auditor, Limits
from trimtab.trace import EncodedPayload, EndState, Record, Score, members

LIMITS = Limits(calls=200, size=1 << 20, a_session=50)


def stream(sessions, calls=4):
    for number in range(sessions * calls):
        name = f"s{number % sessions}"
        one = call(f"c{number}", number, 1, session=name, trace_id=name, cost_nanodollars=number, usage=Usage(100, 10))
        body = payload(one.id, [{"role": "user", "content": f"{number % 7} of {name}"}], "fine")
        encoded = EncodedPayload(
            one.id, members(msgspec.json.encode(body.request)), members(msgspec.json.encode(body.response))
        )
        yield Record(one, encoded)


def audited(rows, seed=0, limits=LIMITS):
    auditor = Auditor(seed=seed, limits=limits)
    for row in rows:
        auditor.add(row)
    return auditor


def test_a_large_log_is_sampled_by_session_and_counted_whole():
    rows = list(stream(500))
    auditor = audited(rows)
    audit = auditor.result()
    assert audit.totals.calls == 2000
    assert audit.totals.spend.nanodollars == sum(range(2000))
    assert audit.where.agents[0].calls == 2000
    assert 50 <= audit.sampled.calls <= 200
    assert audit.sampled.calls == 4 * audit.sampled.sessions, "no session is kept in part"
    assert audit.sampled.share == pytest.approx(audit.sampled.sessions / 500, rel=0.5)
    assert sum(len(trace.calls) for trace in auditor.traces()) == audit.sampled.calls


def test_the_sample_does_not_depend_on_order_and_does_on_the_seed():
    rows = list(stream(300))
    kept = [{call.id for trace in audited(its).traces() for call in trace.calls} for its in (rows, rows[::-1])]
    assert kept[0] == kept[1]
    other = {call.id for trace in audited(rows, seed=5).traces() for call in trace.calls}
    assert other != kept[0]


def test_a_session_without_end_is_cut_and_said_to_be():
    audit = audited(stream(1, calls=500)).result()
    assert (audit.totals.calls, audit.sampled.calls, audit.sampled.cut) == (500, 50, 1)


def test_bodies_are_bounded_in_bytes():
    rows = list(stream(100))
    few = audited(rows, limits=Limits(calls=10_000, size=4_000, a_session=50)).result()
    assert 0 < few.sampled.calls < 100


def test_by_agent_gives_each_agent_its_own_calls():
    rows = [Record(call(f"c{i}", i, 1, agent="ab"[i % 2], workflow="w", session="s", trace_id="t")) for i in range(6)]
    auditor = audited(rows)
    auditor.score("t", (Score("success", 1.0),))
    by_agent = auditor.by_agent()
    assert {name: len(traces[0].calls) for name, traces in by_agent.items()} == {("w", "a"): 3, ("w", "b"): 3}
    assert by_agent["w", "a"][0].scores == (Score("success", 1.0),)


def test_more_may_be_added_after_a_result():
    auditor = audited(stream(3))
    assert auditor.result().totals.calls == 12
    auditor.add(Record(call("last", 99, 1)))
    assert auditor.result().totals.calls == 13


numbers = st.integers(-(2**70), 2**70)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            numbers,
            st.floats(allow_nan=False, allow_infinity=False),
            numbers,
            st.sampled_from(EndState),
            st.text(max_size=5),
        )
    )
)
def test_calls_with_any_numbers_and_names_are_survived(rows):
    """Clocks that go backwards, negative tokens, equal ids, names of any letters."""
    auditor = audited([])
    for start, duration, tokens, end, name in rows:
        duration = max(-1e9, min(1e9, duration))
        one = call(name or "x", 0, 0, started_ns=max(-(2**62), min(2**62, start)), duration_ms=duration, end=end)
        one = msgspec.structs.replace(
            one, session=name, agent=name, usage=Usage(tokens, -tokens), cost_nanodollars=tokens
        )
        auditor.add(Record(one, payload(name, [{"role": name, "content": name}], name)))
    audit = auditor.result()
    assert audit.totals.calls == len(rows)
    msgspec.json.encode(audit)
