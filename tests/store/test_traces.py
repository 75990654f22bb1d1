"""What was written comes back the same, for one reader and one writer at the same time."""

import sqlite3

import pytest

from trimtab.errors import FormatError, StoreError
from trimtab.money import Usage
from trimtab.store import schema
from trimtab.store.traces import TraceFilter, TraceReader, TraceWriter
from trimtab.trace import EndState, Score

DAY_S = 86_400


@pytest.fixture
def writer(tmp_path):
    with TraceWriter(tmp_path / "store") as writer:
        yield writer


@pytest.fixture
def reader(tmp_path):
    return TraceReader(tmp_path / "store")


def test_every_field_comes_back(writer, reader, record):
    full = record(
        1,
        user="u",
        tags={"a": "ü"},
        parent_id="p",
        derived=True,
        operation="embeddings",
        endpoint="e",
        deployment="d",
        request_model="m",
        response_model="m-2",
        stream=True,
        status=502,
        finish_reason="length",
        error="broken",
        ttft_ms=12.25,
        overhead_ms=0.75,
        end=EndState.UPSTREAM_ERROR,
        usage=Usage(100, 10, 60, 20, 5, estimated=True),
        raw_usage={"prompt_tokens": 100, "new": {"field": [1]}},
    )
    bare = record(2, body=False, cost_nanodollars=None)
    assert writer.append([full, bare]) == 2
    trace = reader.trace("t")
    assert trace.calls == (full.call, bare.call)
    assert trace.payloads == {"call-1": full.payload}


def test_a_call_is_written_once(writer, reader, record):
    assert writer.append([record(1), record(1)]) == 1
    assert writer.append([record(1, agent="other"), record(2)]) == 1
    assert [call.agent for call in reader.trace("t").calls] == ["sales", "sales"]
    assert reader.count() == 2


def test_newest_first_with_filters_and_limit(writer, reader, record):
    for number in range(6):
        agent, workflow = ("finance", "cars") if number % 2 else ("sales", "bikes")
        writer.append([record(number, trace=f"t{number}", agent=agent, workflow=workflow, session=f"s{number}")])
    assert [trace.id for trace in reader.traces(limit=2)] == ["t5", "t4"]
    assert [trace.id for trace in reader.traces(agent="sales")] == ["t4", "t2", "t0"]
    assert [trace.id for trace in reader.traces(workflow="cars", session="s3")] == ["t3"]
    since = record(4).call.started_ns
    assert [trace.id for trace in reader.traces(since_ns=since)] == ["t5", "t4"]
    assert reader.traces(agent="nobody") == [] and reader.traces(limit=0) == []


def test_a_trace_over_midnight_is_one_trace(writer, reader, record):
    writer.append([record(DAY_S // 2 - 5, trace="over"), record(DAY_S // 2 + 5, trace="over")])
    writer.append([record(0, trace="early"), record(3 * DAY_S, trace="late")])
    writer.append_scores("over", [Score("success", 1.0)])
    assert len(schema.day_files(writer.folder)) == 3
    assert [(trace.id, trace.calls) for trace in reader.traces()] == [("late", 1), ("over", 2), ("early", 1)]
    assert [trace.id for trace in reader.scan()] == ["early", "over", "late"]
    over = reader.traces(limit=2)[1]
    assert over.duration_ms == pytest.approx(10_250.5) and over.scores == (Score("success", 1.0),)
    assert len(reader.trace("over").payloads) == 2


def test_what_began_before_midnight_is_older_than_what_began_at_midnight(writer, reader, record):
    midnight = DAY_S // 2
    writer.append([record(midnight - 90, trace="long"), record(midnight + 90, trace="long")])
    writer.append([record(midnight - 30, trace="short"), record(midnight - 60, trace="other")])
    assert [trace.id for trace in reader.traces(limit=1)] == ["short"]
    assert [trace.id for trace in reader.traces(limit=2)] == ["short", "other"]


def test_scan_keeps_whole_traces_under_a_filter(writer, reader, record):
    writer.append([record(1, trace="a"), record(2, trace="a", agent="finance"), record(3, trace="b")])
    (trace,) = reader.scan(TraceFilter(agent="finance"))
    assert [call.agent for call in trace.calls] == ["sales", "finance"]


def test_summary_adds_up_and_names_what_has_no_price(writer, reader, record):
    cut = record(3, agent="finance", cost_nanodollars=None, end=EndState.CUT)
    writer.append([record(1), record(2), cut])
    (summary,) = reader.traces()
    assert (summary.calls, summary.agents, summary.workflow) == (3, ("sales", "finance"), "dealership")
    assert (summary.input_tokens, summary.output_tokens) == (300, 21)
    assert (summary.cost_nanodollars, summary.unpriced) == (2_000, 1)
    assert summary.ends == {"complete": 2, "cut": 1} and summary.duration_ms == pytest.approx(2_250.5)


def test_a_trace_without_any_price_costs_none(writer, reader, record):
    writer.append([record(1, cost_nanodollars=None)])
    assert reader.traces()[0].cost_nanodollars is None


def test_a_later_score_takes_the_place_of_an_earlier_one(writer, reader, record):
    writer.append_scores("t", [Score("success", 0.0, "judge")])  # before its calls: kept in today's file
    writer.append([record(1)])
    assert reader.trace("t").scores == reader.traces()[0].scores == (Score("success", 0.0, "judge"),)
    writer.append_scores("t", [Score("success", 1.0, "judge"), Score("success", 0.5, "person")])
    assert set(reader.trace("t").scores) == {Score("success", 1.0, "judge"), Score("success", 0.5, "person")}


def test_an_id_may_be_shortened_while_it_is_unique(writer, reader, record):
    writer.append([record(1, trace="abc1"), record(2, trace="abc2"), record(3, trace="abc")])
    assert reader.trace("abc1").id == "abc1" and reader.trace("abc").id == "abc"
    with pytest.raises(FormatError, match="more than one trace begins with 'ab'"):
        reader.trace("ab")
    with pytest.raises(FormatError, match="no trace 'x'"):
        reader.trace("x")
    with pytest.raises(FormatError):
        reader.trace("abc%")


def test_reads_see_each_commit_while_the_writer_goes_on(writer, reader, record):
    scan = None
    for number in range(20):
        writer.append([record(number, trace=f"t{number:02d}")])
        assert reader.count() == number + 1
        if number == 10:
            scan = reader.scan()
            next(scan)
    assert len(list(scan)) == 10  # the traces there were when the scan began


def test_a_second_writer_is_told_who_holds_the_folder(writer):
    with pytest.raises(StoreError, match=r"has a writer already \(pid \d+"):
        TraceWriter(writer.folder)
    writer.close()
    TraceWriter(writer.folder).close()


def test_a_closed_writer_writes_nothing(writer, record):
    writer.close()
    with pytest.raises(StoreError, match="is closed"):
        writer.append([record(1)])


def test_a_day_removed_by_retention_starts_anew(writer, reader, record):
    writer.append([record(1)])
    for path in writer.folder.glob("calls-*"):
        path.unlink()
    assert reader.traces() == []
    writer.append([record(2)])
    assert [call.id for call in reader.trace("t").calls] == ["call-2"]


def test_secrets_never_reach_the_disk(writer, reader, record):
    secret = "sk-proj-abcdefghijklmnop1234"
    plain = record(1, error=f"key {secret} refused", tags={"header": f"Bearer {secret}"})
    plain.payload.request["messages"][0]["content"] = f"use {secret}"
    writer.append([plain])
    writer.close()
    assert all(secret.encode() not in path.read_bytes() for path in writer.folder.iterdir())
    trace = reader.trace("t")
    assert trace.payloads["call-1"].request["messages"][0]["content"] == "use [redacted:api-key]"
    assert trace.calls[0].error == "key [redacted:api-key] refused"


def test_a_newer_and_a_damaged_file_are_refused_by_name(writer, reader, record):
    writer.append([record(1)])
    writer.close()
    (path,) = schema.day_files(writer.folder)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="newer Trimtab"):
        reader.traces()
    path.write_bytes(b"this is no database at all, however long one looks at it" * 100)
    with pytest.raises(StoreError, match="is damaged"):
        reader.traces()
    with pytest.raises(StoreError, match="is damaged"):
        TraceWriter(writer.folder)


def test_the_writer_updates_files_of_an_older_version(tmp_path, record, monkeypatch):
    with TraceWriter(tmp_path) as writer:
        writer.append([record(1)])
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE calls ADD COLUMN later TEXT",)))
    with pytest.raises(StoreError, match="older Trimtab"):
        TraceReader(tmp_path).traces()
    TraceWriter(tmp_path).close()
    assert [trace.id for trace in TraceReader(tmp_path).traces()] == ["t"]


def test_no_folder_has_no_traces(tmp_path):
    assert TraceReader(tmp_path / "none").traces() == [] and not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot use"):
        TraceWriter(tmp_path / "file" / "store")


def test_a_body_that_cannot_be_written_does_not_cost_the_call(writer, reader, record):
    deep = {}
    for _ in range(3_000):
        deep = {"a": deep}
    poisoned, half = record(1), record(3)
    poisoned.payload.request["deep"] = deep
    half.payload.request["half"] = "\ud800"
    assert writer.append([poisoned, record(2), half]) == 3
    payloads = reader.trace("t").payloads
    assert "nested too deeply" in str(payloads["call-1"].request) and "Unicode" in str(payloads["call-3"].request)
    assert payloads["call-2"] == record(2).payload
