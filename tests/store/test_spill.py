"""The spill: bounded, scrubbed, read back whole, and whole again after a torn write or a refusing disk."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.samples import make_record
from trimtab.errors import DiskFull, StoreError
from trimtab.store import spill as spilling
from trimtab.store.entry import Entry
from trimtab.store.spill import Spill
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import Score


class Sink:
    """Keeps what it is given; refuses the ids in `refused`, and everything while `error` is set."""

    def __init__(self):
        self.ids = []
        self.scores = []
        self.refused = set()
        self.error = None

    def append(self, records):
        if self.error:
            raise self.error
        if self.refused & {record.call.id for record in records}:
            raise StoreError("no")
        self.ids += [record.call.id for record in records]
        return len(records)

    def append_scores(self, trace_id, scores):
        self.scores.append((trace_id, scores))


def entries(*numbers):
    return [Entry(make_record(number)) for number in numbers]


def test_it_gives_back_what_it_took_also_to_the_next_process(tmp_path):
    spill = Spill(tmp_path, 10**6)
    assert not spill and spill.append(entries(1, 2)) == 2
    assert spill.append([Entry(trace_id="t", scores=(Score("success", 1.0),))]) == 1
    after = Spill(tmp_path, 10**6)
    with TraceWriter(tmp_path) as writer:
        assert after and after.replay(writer) == (3, 0)
        after.drain(writer)
    trace = TraceReader(tmp_path).trace("t")
    assert trace.calls == tuple(entry.record.call for entry in entries(1, 2))
    assert trace.payloads["call-1"] == make_record(1).payload and trace.scores == (Score("success", 1.0),)
    assert not after and not list(tmp_path.glob("spill-*"))


def test_it_is_bounded_and_has_room_again_after_a_replay(tmp_path):
    spill, sink = Spill(tmp_path, 5_000), Sink()
    kept = spill.append(entries(*range(100)))
    assert 0 < kept < 100 and spill.append(entries(200)) == 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5_000
    spill.drain(sink)
    assert sink.ids == [f"call-{number}" for number in range(kept)]
    assert spill.append(entries(201)) == 1
    assert Spill(tmp_path, 5_000).append(entries(*range(100))) == kept - 1


def test_secrets_are_scrubbed_before_they_reach_the_file(tmp_path):
    secret = "sk-proj-abcdefghijklmnop1234"
    Spill(tmp_path, 10**6).append([Entry(make_record(1, error=f"key {secret}"))])
    (path,) = tmp_path.iterdir()
    assert secret.encode() not in path.read_bytes() and path.stat().st_mode & 0o077 == 0


def test_a_torn_line_costs_no_other(tmp_path):
    Spill(tmp_path, 10**6).append(entries(1, 2, 3))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    sink = Sink()
    assert Spill(tmp_path, 10**6).replay(sink) == (2, 1)
    assert sink.ids == ["call-1", "call-2"]


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_in_a_file_are_passed_over(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("spill")
    Spill(folder, 10**6).append(entries(1))
    (path,) = folder.iterdir()
    path.write_bytes(b"\n".join([*junk, path.read_bytes()]))
    sink = Sink()
    Spill(folder, 10**6).drain(sink)
    assert sink.ids[-1:] == ["call-1"] and not list(folder.iterdir())


def test_what_the_sink_cannot_take_is_counted_and_costs_no_other(tmp_path):
    spill, sink = Spill(tmp_path, 10**6), Sink()
    spill.append(entries(1, 2, 3))
    sink.refused = {"call-2"}
    assert spill.replay(sink) == (2, 1)
    assert sink.ids == ["call-1", "call-3"]


def test_a_full_disk_keeps_the_piece_for_later(tmp_path):
    spill, sink = Spill(tmp_path, 10**6), Sink()
    spill.append(entries(1, 2))
    sink.error = DiskFull("no room")
    with pytest.raises(DiskFull):
        spill.replay(sink)
    sink.error = None
    spill.drain(sink)
    assert sink.ids == ["call-1", "call-2"]


def test_what_cannot_be_encoded_is_left_out(tmp_path):
    spill = Spill(tmp_path, 10**6)
    assert spill.append([*entries(2), Entry(make_record(3, user="\ud800"))]) == 1
    sink = Sink()
    spill.drain(sink)
    assert sink.ids == ["call-2"]


def test_appending_while_replaying_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(spilling, "_SEGMENT_BYTES", 2_000)
    spill, sink = Spill(tmp_path, 10**7), Sink()

    def append():
        for number in range(300):
            assert spill.append(entries(number)) == 1

    thread = threading.Thread(target=append)
    thread.start()
    while thread.is_alive():
        spill.replay(sink)
    spill.drain(sink)
    assert sink.ids == [f"call-{number}" for number in range(300)]
    assert not spill and not list(tmp_path.iterdir())
