"""Files from outside: what is good is taken once, what is bad is counted, nothing stops an import."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.config import shipped_prices
from trimtab.errors import FormatError
from trimtab.store.formats.drafting import tokens_in
from trimtab.store.importers import import_file
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import EndState, Score

PRICES = shipped_prices()


@pytest.fixture
def take(tmp_path):
    """Import bytes (or a path) into one store; the report."""
    with TraceWriter(tmp_path / "store") as writer:

        def run(content, kind="auto", name="calls.jsonl", progress=None):
            path = content
            if isinstance(content, bytes):
                path = tmp_path / name
                path.write_bytes(content)
            return import_file(path, writer, PRICES, kind=kind, progress=progress)

        yield run


@pytest.fixture
def reader(tmp_path):
    return TraceReader(tmp_path / "store")


def line(content="hi", answer_id="chatcmpl-1", usage=True, **fields):
    response = {
        "id": answer_id,
        "created": 1_763_812_800,
        "model": "gpt-4o",
        "choices": [{"message": {"role": "assistant", "content": "x" * 8}, "finish_reason": "stop"}],
    }
    if usage:
        details = {"prompt_tokens_details": {"cached_tokens": 60}}
        response["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, **details}
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
    return json.dumps({"request": request, "response": response, **fields}).encode() + b"\n"


def trajectory(task=0, trial=0, reward=1.0, text="Hello"):
    call = {"id": "c1", "type": "function", "function": {"name": "get_user", "arguments": '{"id": "{\\"}"}'}}
    messages = [
        {"role": "system", "content": "Policy"},
        {"role": "user", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "get_user", "content": "{}"},
        {"role": "assistant", "content": "Done"},
    ]
    return {"task_id": task, "trial": trial, "reward": reward, "info": {}, "traj": messages}


def test_a_line_is_counted_and_priced(take, reader):
    report = take(line(trace_id="t", session="s", workflow="w", agent="a"))
    assert (report.read, report.new, report.bad) == (1, 1, 0)
    (call,) = reader.trace("t").calls
    assert (call.session, call.workflow, call.agent, call.end) == ("s", "w", "a", EndState.COMPLETE)
    assert (call.usage.input_tokens, call.usage.cache_read_tokens, call.usage.output_tokens) == (100, 60, 10)
    assert not call.usage.estimated and call.raw_usage["prompt_tokens"] == 100
    assert call.cost_nanodollars == (40 * 2_500 + 60 * 1_250 + 10 * 10_000)
    assert call.started_ns == 1_763_812_800 * 10**9


def test_without_a_count_tokens_are_estimated_and_marked(take, reader):
    take(line("y" * 41, usage=False, trace_id="t"))
    usage = reader.trace("t").calls[0].usage
    # (4 of "user" + 41) / 4 and (9 of "assistant" + 8) / 4, rounded up
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (12, 5, True)
    assert tokens_in(["abcd", {"a": ["e"]}, 7, None]) == 2


def test_a_second_import_adds_nothing(take):
    content = b"".join(line(f"{number}", f"id-{number}") for number in range(250)) + line(answer_id="") * 2
    first, second = take(content), take(content, name="renamed.jsonl")
    assert (first.read, first.new, first.known) == (252, 252, 0)
    assert (second.read, second.new, second.known) == (252, 0, 252)


def test_bad_lines_are_counted_with_a_reason_and_stop_nothing(take):
    bad = [
        b"{",
        b"[]",
        b"3",
        b'{"request": {}}',
        b'{"request": {"messages": []}, "response": 3}',
        b"\xff\xfe",
        b'"\\udc00"',
    ]
    bad += [b'{"scores": [{"name": "x", "value": 2}], "request": {"messages": []}}', b"[" * 100_000, b'{"a":' * 5_000]
    bad += [
        b'{"trimtab": {"id": "", "trace_id": "t", "span_id": "s", "started_ns": 1, "duration_ms": 1, "end": "cut"}}'
    ]
    bad += [
        b'{"trimtab": {"id": "a", "trace_id": "t", "span_id": "s", "started_ns": %d, "duration_ms": 1, "end": "cut"}}'
        % 2**64
    ]
    report = take(line() + b"\n".join(bad) + b"\n\n" + line(answer_id="2"), kind="openai")
    assert (report.new, report.bad) == (2, len(bad))
    assert len(report.samples) == 5 and report.samples[0].startswith("line 2: ")


def test_trajectories_become_traces(take, reader):
    trajectories = [trajectory(task, trial, reward=trial / 2) for task in range(2) for trial in range(2)]
    report = take(json.dumps(trajectories, indent=1).encode(), name="gpt-4o-airline.json")
    assert (report.read, report.new, report.bad) == (8, 8, 0)
    trace = reader.trace(reader.traces()[0].id)
    first, second = trace.calls
    assert trace.scores == (Score("reward", 0.5, "tau-bench"),)
    assert first.tags["task"] == "1" and first.tags["trial"] == "1" and first.workflow == "tau-bench-airline"
    assert first.usage.estimated and first.cost_nanodollars and first.finish_reason == "tool_calls"
    assert [message["role"] for message in trace.payloads[second.id].request["messages"]][-1] == "tool"
    assert trace.payloads[second.id].response["choices"][0]["message"]["content"] == "Done"


def test_trajectories_one_a_line_too_and_a_bad_one_costs_only_itself(take):
    good = json.dumps(trajectory()).encode()
    worse = [trajectory(1, reward=7), trajectory(2, reward="x"), {"task_id": 3}, {"traj": []}, trajectory(-1)]
    content = b"\n".join(
        [good, *(json.dumps(bad).encode() for bad in worse), b"junk", json.dumps(trajectory(9)).encode()]
    )
    report = take(content)
    assert (report.new, report.bad) == (4, 6)


def test_an_array_that_is_cut_off_keeps_what_came_before(take):
    content = json.dumps([trajectory(task) for task in range(3)]).encode()
    report = take(content[:-40])
    assert (report.new, report.bad) == (4, 1)


def test_pieces_longer_than_a_read_are_put_together(take, monkeypatch):
    content = json.dumps([trajectory(task, text='quote " brace } slash \\ ü' * 9) for task in range(3)]).encode()
    for chunk in (1, 2, 3, 7, 64):
        monkeypatch.setattr("trimtab.store.pieces._CHUNK", chunk)
        report = take(content, kind="tau-bench")
        assert (report.read, report.bad) == (6, 0)


def test_a_line_without_end_is_refused_without_being_held(take, monkeypatch):
    monkeypatch.setattr("trimtab.store.pieces._LARGEST", 2_000)
    report = take(line() + b"x" * 3_000 + b"\n" + line(answer_id="2"))
    assert (report.new, report.bad, report.samples[0][:6]) == (2, 1, "line 2")


def test_progress_ends_at_the_file_s_end(take):
    seen = []
    take(line() * 10_000, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == len(line()) * 10_000 and len(set(seen)) > 2


def test_a_missing_file_is_one_clear_line(take, tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        take(tmp_path / "none")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = ["request", "response", "trimtab", "scores", "messages", "choices", "message", "usage", "prompt_tokens", "id"]
names += ["task_id", "traj", "reward", "trial", "role", "content", "created", "timestamp", "finish_reason", "model"]
shaped = st.recursive(
    json_values | st.sampled_from(["assistant", "stop", 0, 1, 10**30, -1]),
    lambda inner: st.dictionaries(st.sampled_from(names), inner, max_size=6) | st.lists(inner, max_size=3),
    max_leaves=25,
)
lines = st.lists(shaped.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), max_size=6)
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(content=lines.map(b"\n".join) | st.binary(max_size=300), kind=st.sampled_from(["auto", "openai", "tau-bench"]))
def test_no_bytes_stop_an_import(take, reader, content, kind):
    report = take(content, kind=kind)
    assert report.new + report.known == report.read
    assert len(report.samples) == min(report.bad, 5)
    assert not content.strip(b"[], \t\r\n\x0b\x0c") or report.read or report.bad


@fuzz
@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=5)), min_size=1, max_size=4))
@pytest.mark.parametrize("content", [line(), json.dumps([trajectory()] * 2).encode()], ids=["openai", "tau-bench"])
def test_no_change_of_a_good_file_stops_an_import(take, content, edits):
    for place, piece in edits:
        place %= len(content)
        content = content[:place] + piece + content[place + len(piece) :]
    take(content)


def test_the_real_trajectories(take, reader, tau_bench_file):
    report = take(tau_bench_file)
    assert (report.read, report.new, report.bad) == (2_454, 2_454, 0)
    traces = reader.traces(limit=1_000)
    assert len(traces) == 200 and {trace.workflow for trace in traces} == {"tau-bench-airline"}
    assert sum(score.value for trace in traces for score in trace.scores) == 84
    assert take(tau_bench_file).new == 0
