"""The feed between workers and the recording process: what arrives is what was sent, once; junk harms nobody."""

import asyncio
import contextlib
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.samples import make_record
from trimtab.errors import DiskFull, StoreBusy, StoreError
from trimtab.gateway.feed import Intake, RemoteWriter
from trimtab.store.spill import Spill
from trimtab.trace import Payload, Record, Score

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda held: st.lists(held, max_size=4) | st.dictionaries(st.text(), held, max_size=4),
    max_leaves=10,
)


def call(**fields):
    return make_record(1, body=False, **fields).call


class Held:
    """A store in memory that may refuse."""

    def __init__(self):
        self.records = []
        self.scores = []
        self.error = None

    def append(self, records):
        if self.error:
            raise self.error
        self.records += records
        return len(records)

    def append_scores(self, trace_id, scores):
        self.scores += [(trace_id, score) for score in scores]

    def close(self):
        pass


class Recording:
    """An Intake on a socket of its own, in a thread."""

    def __init__(self, spill_bytes=0):
        self.held = Held()
        self._spill_bytes = spill_bytes
        self._folder = tempfile.TemporaryDirectory(prefix="feed-")
        self.path = Path(self._folder.name) / "s"

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self._ending = asyncio.Event()
        self._thread.start()
        return self

    async def _serve(self):
        self.spill = Spill(self.path.parent, self._spill_bytes)
        await Intake(self._listener, self.held, self.spill).run(self._ending)

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._loop.close()
        self._listener.close()
        self._folder.cleanup()


@pytest.fixture(scope="module")
def recording():
    with Recording() as made:
        yield made


@pytest.fixture
def writer(recording):
    recording.held.__init__()
    with contextlib.closing(RemoteWriter(recording.path)) as made:
        yield made


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), JSON), st.none() | st.dictionaries(st.text(), JSON), st.text(max_size=20))
def test_what_arrives_is_what_was_sent(recording, writer, request_body, response, user):
    made = call(id="1", user=user)
    sent = [Record(made, Payload(made.id, request_body, response)), Record(call(id="2"))]
    recording.held.records.clear()
    assert writer.append(sent) == 2
    first, second = recording.held.records
    assert [first.call, second.call, second.payload] == [made, call(id="2"), None]
    assert first.payload.decoded() == sent[0].payload


def test_scores_arrive_too(recording, writer):
    writer.append_scores("t", [Score("success", 1.0, "oracle"), Score("tone", 0.5)])
    assert recording.held.scores == [("t", Score("success", 1.0, "oracle")), ("t", Score("tone", 0.5))]


def test_what_is_large_goes_in_pieces(recording, writer):
    text = "a" * 6_000_000
    sent = [Record(call(id=str(n)), Payload(str(n), {"messages": [text]}, None)) for n in range(6)]
    assert writer.append(sent) == 6
    assert [record.call.id for record in recording.held.records] == list("012345")


@pytest.mark.parametrize("error", [DiskFull("no room: make some"), StoreError("refused: look")])
def test_a_refusal_of_the_store_keeps_its_kind(recording, writer, error):
    recording.held.error = error
    with pytest.raises(type(error), match=str(error)) as caught:
        writer.append([Record(call(id="1"))])
    assert type(caught.value) is type(error)
    recording.held.error = None
    assert writer.append([Record(call(id="1"))]) == 1


def test_what_a_locked_store_cannot_take_is_spilled_and_comes_back():
    record, score = Record(call(id="1")), Score("success", 1.0)
    with Recording(spill_bytes=10**6) as recording, contextlib.closing(RemoteWriter(recording.path)) as writer:
        recording.held.error = StoreBusy("locked: wait")
        assert writer.append([record]) == 1
        recording.held.error = None
        assert not recording.held.records
        recording.spill.drain(recording.held)
        writer.append_scores("t", [score])
        assert [held.call for held in recording.held.records] == [record.call]
        assert recording.held.scores == [("t", score)]


def test_a_locked_store_without_room_in_the_spill_is_told_to_the_worker(recording, writer):
    recording.held.error = StoreBusy("locked: wait")
    with pytest.raises(StoreBusy, match="locked: wait"):
        writer.append([Record(call(id="1"))])


@pytest.mark.parametrize(
    "junk", [b"", b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\3{}x", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 7 + b"\x09[" * 9]
)
def test_junk_harms_nobody(recording, writer, junk):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(recording.path))
        client.sendall(junk)
        assert writer.append([Record(call(id="1"))]) == 1
    assert len(recording.held.records) == 1


def test_a_recording_process_that_does_not_come_back_is_an_error_and_soon(tmp_path, monkeypatch):
    monkeypatch.setattr("trimtab.gateway.feed._PATIENCE_S", 0.3)
    writer = RemoteWriter(tmp_path / "nobody")
    with pytest.raises(StoreError, match="does not answer"):
        writer.append([Record(call(id="1"))])
