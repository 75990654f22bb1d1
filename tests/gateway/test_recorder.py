"""The recorder: off the request path, bounded, counted, and written by the real store."""

import logging
import threading
import time

import msgspec
import pytest

from trimtab.errors import DiskFull
from trimtab.gateway.recorder import Recorder
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import Call, EndState, Score

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

    def close(self):
        self.writer.close()


def test_what_is_submitted_is_in_the_store_after_close(tmp_path):
    recorder = Recorder(TraceWriter(tmp_path), limit=1000, bodies=True)
    for number in range(700):
        recorder.submit(call(number), REQUEST, b'{"choices": []}', 50)
    recorder.submit_scores(TRACE, [Score("success", 1.0, "oracle")])
    recorder.close()
    trace = TraceReader(tmp_path).trace(TRACE)
    assert {held.id for held in trace.calls} == {f"c{number}" for number in range(700)}
    assert trace.payloads["c3"].request == {"model": "m", "messages": []}
    assert trace.payloads["c3"].response == {"choices": []}
    assert trace.scores == (Score("success", 1.0, "oracle"),)
    assert recorder.counts() == {"waiting": 0, "written": 701, "dropped": 0, "failed": 0}


def test_it_is_written_soon_without_being_closed(tmp_path):
    recorder = Recorder(TraceWriter(tmp_path), limit=10, bodies=True)
    recorder.submit(call(1), REQUEST, None, 50)
    give_up = time.monotonic() + 10
    while recorder.written == 0:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert len(TraceReader(tmp_path).trace(TRACE).calls) == 1
    recorder.close()


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path):
    gate = Gate(tmp_path)
    recorder = Recorder(gate, limit=5, bodies=True)
    recorder.submit(call(0), REQUEST, None, 1)
    assert gate.entered.wait(10)
    for number in range(1, 21):
        recorder.submit(call(number), REQUEST, None, 1)
    assert (recorder.waiting, recorder.dropped) == (5, 15)
    gate.open.set()
    recorder.close()
    assert len(TraceReader(tmp_path).trace(TRACE).calls) == 6
    assert recorder.counts() == {"waiting": 0, "written": 6, "dropped": 15, "failed": 0}


def test_large_bodies_are_bounded_by_their_bytes(tmp_path):
    gate = Gate(tmp_path)
    recorder = Recorder(gate, limit=1000, bodies=True)
    recorder.submit(call(0), REQUEST, None, 200 * 2**20)
    assert gate.entered.wait(10)
    recorder.submit(call(1), REQUEST, None, 100 * 2**20)
    assert recorder.dropped == 1
    gate.open.set()
    recorder.close()


def test_a_full_disk_is_counted_and_told_once(tmp_path, caplog):
    gate = Gate(tmp_path, DiskFull("no room"))
    gate.open.set()
    recorder = Recorder(gate, limit=100, bodies=True)
    with caplog.at_level(logging.ERROR):
        for number in range(3):
            recorder.submit(call(number), REQUEST, None, 1)
            while recorder.failed == number:
                time.sleep(0.01)
        recorder.close()
    assert recorder.failed == 3
    assert caplog.text.count("no room") == 1


def test_one_record_that_the_store_refuses_costs_no_other(tmp_path, caplog):
    recorder = Recorder(TraceWriter(tmp_path), limit=100, bodies=True)
    for number in range(5):
        poison = msgspec.structs.replace(call(number), cost_nanodollars=2**70 if number == 2 else 1)
        recorder.submit(poison, REQUEST, None, 1)
    recorder.close()
    assert {held.id for held in TraceReader(tmp_path).trace(TRACE).calls} == {"c0", "c1", "c3", "c4"}
    assert (recorder.written, recorder.failed) == (4, 1)


@pytest.mark.parametrize("bodies", [True, False])
def test_bodies_are_kept_only_if_wanted(tmp_path, bodies):
    recorder = Recorder(TraceWriter(tmp_path), limit=10, bodies=bodies)
    recorder.submit(call(1), REQUEST, None, 1)
    recorder.close()
    assert bool(TraceReader(tmp_path).trace(TRACE).payloads) == bodies


def test_a_body_that_is_no_json_keeps_the_call(tmp_path):
    recorder = Recorder(TraceWriter(tmp_path), limit=10, bodies=True)
    recorder.submit(call(1), b'{"model": "\xff"}', None, 1)
    recorder.close()
    assert len(TraceReader(tmp_path).trace(TRACE).calls) == 1


def test_recording_off_takes_nothing():
    recorder = Recorder(None, limit=10, bodies=False)
    recorder.submit(call(1), REQUEST, None, 1)
    recorder.close()
    assert recorder.healthy and recorder.waiting == 0
