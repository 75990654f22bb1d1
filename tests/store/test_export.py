"""What is exported and imported again is the same, to the last field."""

import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.samples import make_record
from trimtab.config import shipped_prices
from trimtab.errors import StoreError
from trimtab.money import Usage
from trimtab.store.exporter import export, export_file
from trimtab.store.importers import import_file
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import Call, EndState, Payload, Record, Score

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
counts = st.integers(0, 2**40)
times = st.floats(0, 1e9)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
bodies = st.dictionaries(words, json_values, max_size=3)
calls = st.builds(
    Call,
    id=st.uuids().map(str),
    trace_id=st.sampled_from(["one", "two", "three"]),
    span_id=words,
    started_ns=st.integers(0, 2 * 10**18).map(lambda ns: ns // 10**17 * 10**17),
    duration_ms=times,
    end=st.sampled_from(EndState),
    workflow=words,
    agent=words,
    session=words,
    user=words,
    tags=st.dictionaries(words, words, max_size=2),
    parent_id=st.none() | words,
    derived=st.booleans(),
    operation=words,
    endpoint=words,
    deployment=words,
    request_model=words,
    response_model=words,
    stream=st.booleans(),
    status=st.integers(0, 999),
    finish_reason=st.none() | words,
    error=st.none() | words,
    ttft_ms=st.none() | times,
    overhead_ms=st.none() | times,
    usage=st.builds(Usage, counts, counts, counts, counts, counts, st.booleans()),
    raw_usage=st.none() | bodies,
    cost_nanodollars=st.none() | counts,
    price_table=words,
)
payloads = st.none() | st.tuples(bodies, st.none() | bodies)
records = st.lists(
    st.builds(lambda call, body: Record(call, body and Payload(call.id, *body)), calls, payloads), max_size=6
)
scores = st.lists(
    st.builds(Score, words, st.floats(0, 1), words), max_size=2, unique_by=lambda score: (score.name, score.source)
)


@settings(max_examples=30, deadline=None)
@given(records=records, scores=scores)
def test_import_of_export_is_the_same(records, scores):
    with tempfile.TemporaryDirectory() as name:
        first, second, file = Path(name, "a"), Path(name, "b"), Path(name, "calls.jsonl")
        with TraceWriter(first) as writer:
            writer.append(records)
            if records:
                writer.append_scores(records[0].call.trace_id, scores)
        assert export_file(TraceReader(first).scan(), file) == len(records)
        with TraceWriter(second) as writer:
            report = import_file(file, writer, shipped_prices(), kind="openai")
        assert (report.new, report.bad) == (len(records), 0)
        traces = list(TraceReader(second).scan())
        assert [without_order(trace) for trace in traces] == [
            without_order(trace) for trace in TraceReader(first).scan()
        ]
        assert {call.id: call for trace in traces for call in trace.calls} == {
            record.call.id: record.call for record in records
        }


def without_order(trace):
    """Calls that start in the same nanosecond, and scores, have no order of their own."""
    return trace.id, sorted(call.id for call in trace.calls), trace.payloads, set(trace.scores)


def test_the_real_trajectories_come_back(tmp_path, tau_bench_file):
    with TraceWriter(tmp_path / "a") as writer:
        import_file(tau_bench_file, writer, shipped_prices())
    export_file(TraceReader(tmp_path / "a").scan(), tmp_path / "calls.jsonl")
    with TraceWriter(tmp_path / "b") as writer:
        import_file(tmp_path / "calls.jsonl", writer, shipped_prices())
    assert all(
        one == other
        for one, other in zip(TraceReader(tmp_path / "a").scan(), TraceReader(tmp_path / "b").scan(), strict=True)
    )


def test_a_call_without_body_is_exported_with_its_counters(tmp_path):
    with TraceWriter(tmp_path) as writer:
        writer.append([make_record(1, body=False)])
    out = io.BytesIO()
    assert export(TraceReader(tmp_path).scan(), out) == 1
    assert out.getvalue().startswith(b'{"request":null,"response":null,"trimtab":{"id":"call-1"')


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with TraceWriter(tmp_path / "store") as writer:
        writer.append([make_record(1)])
    with pytest.raises(StoreError, match="cannot use"):
        export_file(TraceReader(tmp_path / "store").scan(), tmp_path / "none" / "calls.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError):
        export_file(TraceReader(tmp_path / "store").scan(), tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "store"]
