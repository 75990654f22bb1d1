"""The recorder: off the request path, bounded, counted, and written by the real store."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time

import msgspec
import pytest

from trimtab.errors import DiskFull
from trimtab.gateway.recorder import Recorder
from trimtab.gateway.waiting import Item
from trimtab.store import schema
from trimtab.store.entry import Entry
from trimtab.store.spill import Spill
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import Call, EndState, Record, Score

FULL = "full".format


REQUEST = b'{"model": "m", "messages": []}'
TRACE = "ab" * 16


def call(number, trace=TRACE):
    return Call(
        id=f"c{number}", trace_id=trace, span_id="s", started_ns=time.time_ns(), duration_ms=1.0, end=EndState.COMPLETE
    )


class Gate:
    """The real writer behind a gate, so that a test can hold it; or a disk without room."""

    def __init__(self, folder, error=None):
        self.writer = TraceWriter(folder)
        self.open = threading.Event()
        self.entered = threading.Event()
        self.error = error

    def append(self, records):
        self.entered.set()
        assert self.open.wait(20)
        if self.error:
            raise self.error
        return self.writer.append(records)

    def append_scores(self, trace_id, scores):
        self.writer.append_scores(trace_id, scores)

    def housekeep(self):
        self.writer.housekeep()

    def close(self):
        self.writer.close()


def test_what_is_submitted_is_in_the_store_after_close(tmp_path):
    recorder = Recorder(TraceWriter(tmp_path), limit=1000, keeps=FULL)
    for number in range(700):
        recorder.submit(call(number), REQUEST, b'{"choices": []}', 50)
    recorder.submit_scores(TRACE, [Score("success", 1.0, "oracle")])
    recorder.close()
    trace = TraceReader(tmp_path).trace(TRACE)
    assert {held.id for held in trace.calls} == {f"c{number}" for number in range(700)}
    assert trace.payloads["c3"].request == {"model": "m", "messages": []}
    assert trace.payloads["c3"].response == {"choices": []}
    assert trace.scores == (Score("success", 1.0, "oracle"),)
    assert recorder.counts() == {"waiting": 0, "written": 701, "spilled": 0, "dropped": 0, "failed": 0}


def test_it_is_written_soon_without_being_closed(tmp_path):
    recorder = Recorder(TraceWriter(tmp_path), limit=10, keeps=FULL)
    recorder.submit(call(1), REQUEST, None, 50)
    give_up = time.monotonic() + 10
    while recorder.written == 0:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert len(TraceReader(tmp_path).trace(TRACE).calls) == 1
    recorder.close()


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path):
    gate = Gate(tmp_path)
    recorder = Recorder(gate, limit=5, keeps=FULL)
    recorder.submit(call(0), REQUEST, None, 1)
    assert gate.entered.wait(10)
    for number in range(1, 21):
        recorder.submit(call(number), REQUEST, None, 1)
    assert (recorder.waiting, recorder.dropped) == (5, 15)
    gate.open.set()
    recorder.close()
    assert len(TraceReader(tmp_path).trace(TRACE).calls) == 6
    assert recorder.counts() == {"waiting": 0, "written": 6, "spilled": 0, "dropped": 15, "failed": 0}


def test_large_bodies_are_bounded_by_their_bytes(tmp_path):
    gate = Gate(tmp_path)
    recorder = Recorder(gate, limit=1000, keeps=FULL)
    recorder.submit(call(0), REQUEST, None, 200 * 2**20)
    assert gate.entered.wait(10)
    recorder.submit(call(1), REQUEST, None, 100 * 2**20)
    assert recorder.dropped == 1
    gate.open.set()
    recorder.close()


def test_a_full_disk_is_counted_and_told_once(tmp_path, caplog):
    gate = Gate(tmp_path, DiskFull("no room"))
    gate.open.set()
    recorder = Recorder(gate, limit=100, keeps=FULL)
    with caplog.at_level(logging.ERROR):
        for number in range(3):
            recorder.submit(call(number), REQUEST, None, 1)
            while recorder.failed == number:
                time.sleep(0.01)
        recorder.close()
    assert recorder.failed == 3
    assert caplog.text.count("no room") == 1


def test_one_record_that_the_store_refuses_costs_no_other(tmp_path, caplog):
    recorder = Recorder(TraceWriter(tmp_path), limit=100, keeps=FULL)
    for number in range(5):
        poison = msgspec.structs.replace(call(number), cost_nanodollars=2**70 if number == 2 else 1)
        recorder.submit(poison, REQUEST, None, 1)
    recorder.close()
    assert {held.id for held in TraceReader(tmp_path).trace(TRACE).calls} == {"c0", "c1", "c3", "c4"}
    assert (recorder.written, recorder.failed) == (4, 1)


@pytest.mark.parametrize("bodies", [True, False])
def test_bodies_are_kept_only_if_wanted(tmp_path, bodies):
    recorder = Recorder(TraceWriter(tmp_path), limit=10, keeps=lambda model: "full" if bodies else "metadata")
    recorder.submit(call(1), REQUEST, None, 1)
    recorder.close()
    assert bool(TraceReader(tmp_path).trace(TRACE).payloads) == bodies


@pytest.mark.parametrize("kept", ["full", "metadata"])
def test_an_agent_that_nobody_named_is_told_by_its_prompt_with_and_without_bodies(tmp_path, kept):
    recorder = Recorder(TraceWriter(tmp_path), limit=10, keeps=lambda model: kept)
    unnamed = msgspec.structs.replace(call(1), agent="")
    recorder.submit(unnamed, b'{"model": "m", "system": "You sell cars."}', None, 1)
    recorder.close()
    (held,) = TraceReader(tmp_path).trace(TRACE).calls
    assert held.derived and held.agent.startswith("fp-")


def test_a_body_that_is_no_json_keeps_the_call(tmp_path):
    recorder = Recorder(TraceWriter(tmp_path), limit=10, keeps=FULL)
    recorder.submit(call(1), b'{"model": "\xff"}', None, 1)
    recorder.close()
    assert len(TraceReader(tmp_path).trace(TRACE).calls) == 1


def test_recording_off_takes_nothing():
    recorder = Recorder(None, limit=10, keeps=FULL)
    recorder.submit(call(1), REQUEST, None, 1)
    recorder.close()
    assert recorder.healthy and recorder.waiting == 0


class Slow:
    """A spill whose disk does not answer until it is opened."""

    def __init__(self, folder, room=10**7):
        self.spill = Spill(folder, room)
        self.open = threading.Event()
        self.entered = threading.Event()

    def __bool__(self):
        return bool(self.spill)

    def append(self, entries):
        self.entered.set()
        assert self.open.wait(20)
        return self.spill.append(entries)

    def replay(self, sink):
        return self.spill.replay(sink)

    def close(self):
        self.spill.close()


def until(holds):
    give_up = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def stuck(tmp_path, spill, limit=5):
    """A recorder whose writer waits for the disk, with one call in its hands."""
    gate = Gate(tmp_path)
    recorder = Recorder(gate, limit=limit, keeps=FULL, spill=spill)
    recorder.submit(call(0), REQUEST, None, 1)
    assert gate.entered.wait(10)
    return gate, recorder


def recorded(folder):
    return {held.id for held in TraceReader(folder).trace(TRACE).calls}


def test_what_the_memory_cannot_hold_spills_and_is_written_when_the_writer_catches_up(tmp_path):
    gate, recorder = stuck(tmp_path, Spill(tmp_path, 10**7))
    for number in range(1, 101):
        recorder.submit(call(number), REQUEST, None, 1)
    recorder.submit_scores(TRACE, [Score("success", 1.0)])
    until(lambda: recorder.spilled >= 96)
    assert (recorder.waiting + recorder.spilled, recorder.dropped) == (101, 0)
    gate.open.set()
    until(lambda: recorder.written == 102)
    assert recorded(tmp_path) == {f"c{number}" for number in range(101)}
    assert TraceReader(tmp_path).trace(TRACE).scores == (Score("success", 1.0),)
    recorder.close()
    assert not list(tmp_path.glob("spill-*")) and recorder.failed == 0


def test_a_full_spill_drops_and_counts(tmp_path):
    gate, recorder = stuck(tmp_path, Spill(tmp_path, 3_000))
    for number in range(1, 101):
        recorder.submit(call(number), REQUEST, None, 1)
    until(lambda: recorder.spilled + recorder.dropped >= 95)
    assert recorder.dropped > 50 and recorder.spilled > 0
    gate.open.set()
    recorder.close()
    assert len(recorded(tmp_path)) == 101 - recorder.dropped == recorder.written


def test_what_was_spilled_before_a_death_is_written_at_the_next_start(tmp_path):
    TraceWriter(tmp_path).close()
    Spill(tmp_path, 10**6).append([Entry(Record(call(7)))])
    recorder = Recorder(TraceWriter(tmp_path), limit=5, keeps=FULL, spill=Spill(tmp_path, 10**6))
    until(lambda: recorder.written == 1)
    assert recorded(tmp_path) == {"c7"}
    recorder.close()


def test_requests_do_not_wait_for_a_disk_that_answers_nobody(tmp_path):
    """Neither the store nor the spill answers; the event loop goes on all the same, and memory stays bounded."""
    slow = Slow(tmp_path)
    gate, recorder = stuck(tmp_path, slow, limit=50)

    async def serve():
        beats = 0
        for number in range(1, 5_001):
            recorder.submit(call(number), REQUEST, None, 1)
            if number % 10 == 0:
                await asyncio.sleep(0)
                beats += 1
        return beats

    # Had any of it waited for the disk, the loop would stand until the gate's 20 s are over and fail.
    assert asyncio.run(asyncio.wait_for(serve(), 15)) == 500
    assert slow.entered.wait(10) and not gate.open.is_set()
    assert recorder.waiting <= 50 + 2_000 and recorder.dropped >= 5_000 - 50 - 2_000 - 100
    slow.open.set()
    gate.open.set()
    recorder.close()
    assert recorder.written + recorder.dropped == 5_001 and recorder.failed == 0
    assert len(recorded(tmp_path)) == recorder.written


def test_a_store_that_does_not_answer_gets_no_new_calls(tmp_path):
    """What waits in memory would be lost with the process; the spill is not."""
    gate, recorder = stuck(tmp_path, Spill(tmp_path, 10**6), limit=1000)
    time.sleep(0.6)
    recorder.submit(call(1), REQUEST, None, 1)
    until(lambda: recorder.spilled == 1)
    gate.open.set()
    until(lambda: recorder.written == 2)
    recorder.submit(call(2), REQUEST, None, 1)
    recorder.close()
    assert recorded(tmp_path) == {"c0", "c1", "c2"}


def test_a_locked_day_file_sends_its_calls_to_the_spill_and_loses_none(tmp_path, monkeypatch):
    plain = schema.open_for_writing

    def hasty(path):
        connection = plain(path)
        connection.execute("PRAGMA busy_timeout=50")
        return connection

    monkeypatch.setattr(schema, "open_for_writing", hasty)
    recorder = Recorder(TraceWriter(tmp_path), limit=100, keeps=FULL, spill=Spill(tmp_path, 10**6))
    recorder.submit(call(0), REQUEST, None, 1)
    until(lambda: recorder.written == 1)
    with contextlib.closing(sqlite3.connect(schema.day_files(tmp_path)[0], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(1, 4):
            recorder.submit(call(number), REQUEST, None, 1)
        until(lambda: recorder.spilled == 3)
    until(lambda: recorder.written == 4)
    assert recorded(tmp_path) == {"c0", "c1", "c2", "c3"}
    recorder.close()


def test_what_is_recorded_is_by_model(tmp_path):
    kept = {"secret": "off", "lab": "metadata"}
    recorder = Recorder(TraceWriter(tmp_path), limit=10, keeps=lambda model: kept.get(model, "full"))
    for number, model in enumerate(("secret", "lab", "other")):
        recorder.submit(msgspec.structs.replace(call(number), request_model=model), REQUEST, None, 1)
    recorder.close()
    trace = TraceReader(tmp_path).trace(TRACE)
    assert [held.id for held in trace.calls] == ["c1", "c2"] and set(trace.payloads) == {"c2"}


@pytest.mark.parametrize(
    ("request_body", "response", "kept"),
    [
        (b'{"model":"m","a":1,"a":2}', b'{"id":"x"}', ({"model": "m", "a": 2}, {"id": "x"})),
        (b' { "model" : "m" } ', b"[1]", ({"model": "m"}, None)),
        (b'{"model":"m"}', b'{"id":"\xff"}', ({"model": "m"}, None)),
        (b'{"model":"m"}', b"<html>", ({"model": "m"}, None)),
        (b'{"model":"m"}', None, ({"model": "m"}, None)),
        (b'{"model":"m"}', {"id": "x", "n": 10**30}, ({"model": "m"}, {"id": "x", "n": 10**30})),
        (b'{"model":"\\ud800"}', b"{}", None),
        (b"[1]", b"{}", None),
        (b'{"model":', b"{}", None),
        (b'{"m":"\xff"}', b"{}", None),
    ],
)
def test_what_is_kept_of_a_body(tmp_path, request_body, response, kept):
    entry = Item(size=0, call=call(1), request=request_body, response=response).entry()
    with TraceWriter(tmp_path) as writer:
        assert writer.append([entry.record]) == 1
    held = TraceReader(tmp_path).trace(TRACE).payloads
    assert [(one.request, one.response) for one in held.values()] == ([kept] if kept else [])


def test_an_answer_that_is_no_unicode_is_not_kept(tmp_path):
    entry = Item(size=0, call=call(1), request=b'{"model":"m"}', response={"id": "\ud800"}).entry()
    with TraceWriter(tmp_path) as writer:
        assert writer.append([entry.record]) == 1
    (held,) = TraceReader(tmp_path).trace(TRACE).payloads.values()
    assert "no valid Unicode" in str(held.request) and held.response is None


def test_many_calls_at_once_are_each_written_once(tmp_path):
    records = [Item(size=0, call=call(n), request=b'{"n":%d}' % n).entry().record for n in range(150)]
    with TraceWriter(tmp_path) as writer:
        assert writer.append(records[:70]) == 70
        assert writer.append([*records, records[0]]) == 80
        assert writer.append(records) == 0
    trace = TraceReader(tmp_path).trace(TRACE)
    assert len(trace.calls) == 150
    assert {held.request["n"] for held in trace.payloads.values()} == set(range(150))
