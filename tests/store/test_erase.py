"""Erased is erased: the raw bytes of every file in the store are searched for what should be gone."""

import os
import signal
import subprocess
import sys

import pytest

from tests.store.samples import make_record
from trimtab.errors import ConfigError, StoreError
from trimtab.store import rows, schema
from trimtab.store.artifacts import ArtifactStore
from trimtab.store.entry import Entry
from trimtab.store.erase import Erasure, erase, preview
from trimtab.store.spill import Spill
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import Payload, Record, Score

DAY = 86_400
# Short bodies lie in the file as they are, long ones compressed.
SHORT = "Ada moved to Lovelace Street 7"
LONG = "Ada told us this at great length. " * 40
REQUEST = {"messages": [{"role": "user", "content": LONG}]}
NEEDLES = (SHORT.encode(), b"ada@example.org", b"tag-of-ada", rows.payload_row(Payload("", REQUEST, None))[1])


def ada(number, trace="ada-1", **fields):
    call = make_record(number, trace=trace, body=False, user="ada@example.org", tags={"t": "tag-of-ada"}, **fields).call
    request = REQUEST if number % 2 else {"messages": [{"role": "user", "content": SHORT}]}
    return Record(call, Payload(call.id, request, {"choices": []}))


def found(folder):
    """The needles that any file of the store holds."""
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return {needle for needle in NEEDLES if any(needle in content for content in contents)}


@pytest.fixture
def folder(tmp_path):
    """Ada's calls among Bob's, over two days; one of her trace's calls does not name her."""
    folder = tmp_path / "store"
    with TraceWriter(folder) as writer:
        for number in range(0, 40, 4):
            writer.append([make_record(number, trace="bob", user="bob"), ada(number + 1), ada(number + 2)])
        nameless = make_record(901, trace="ada-1", body=False).call
        writer.append([Record(nameless, Payload(nameless.id, REQUEST, None)), ada(DAY + 903)])
        writer.append([make_record(DAY + 904, trace="bob", user="bob")])
        writer.append_scores("ada-1", [Score("success", 1.0, "ada@example.org")])
        writer.append_scores("bob", [Score("success", 0.5)])
    return folder


def test_nothing_of_the_user_is_left_in_any_file_and_the_rest_is_whole(folder):
    assert found(folder) == set(NEEDLES)
    before = TraceReader(folder).trace("bob")
    with TraceWriter(folder) as writer:
        told = preview(folder, Erasure(user="ada@example.org"))
        report = erase(writer, Erasure(user="ada@example.org"))
        assert found(folder) == set()
    assert (told.traces, told.calls) == (report.traces, report.calls) == (1, 22)
    assert (report.bodies, report.scores, report.days) == (22, 1, 2)
    assert found(folder) == set()
    assert TraceReader(folder).trace("bob") == before
    assert len(before.calls) == 11 and before.scores == (Score("success", 0.5),)


def test_what_only_the_log_holds_is_erased_too(tmp_path, request):
    """A writer that was killed leaves its records in the log, as a running one has them there."""
    child = """if True:
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from tests.store.test_erase import TraceWriter, ada
        writer = TraceWriter(Path(sys.argv[1]))
        writer.append([ada(1), ada(2)])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    folder = tmp_path / "store"
    run = subprocess.run([sys.executable, "-c", child, str(folder), str(request.config.rootpath)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert any(path.stat().st_size for path in folder.glob("*-wal"))
    with TraceWriter(folder) as writer:
        erase(writer, Erasure(user="ada@example.org"))
        assert found(folder) == set()


def test_what_waits_in_the_spill_is_erased_too(folder):
    late = ada(3, trace="ada-2")
    Spill(folder, 10**6).append([Entry(late), Entry(make_record(803, trace="bob-2", user="bob"))])
    with TraceWriter(folder) as writer:
        assert erase(writer, Erasure(user="ada@example.org")).traces == 2
    assert found(folder) == set() and not list(folder.glob("spill-*"))
    assert TraceReader(folder).trace("bob-2").calls


def test_all_that_is_given_must_hold_for_one_call(folder):
    with TraceWriter(folder) as writer:
        writer.append([ada(7, trace="ada-3", session="other")])
        assert erase(writer, Erasure(user="ada@example.org", session="other")).traces == 1
        assert erase(writer, Erasure(user="ada@example.org", trace="bob")).traces == 0
        assert erase(writer, Erasure(trace="ada-1")).calls == 22
    assert [trace.id for trace in TraceReader(folder).traces()] == ["bob"]


@pytest.mark.parametrize("nothing", [Erasure(), Erasure(user="", session="", trace="")])
def test_nothing_named_erases_nothing(folder, nothing):
    with TraceWriter(folder) as writer, pytest.raises(ConfigError, match="--user"):
        erase(writer, nothing)
    assert found(folder) == set(NEEDLES)


def test_more_traces_than_one_statement_takes(tmp_path):
    with TraceWriter(tmp_path) as writer:
        writer.append([ada(number, trace=f"ada-{number}") for number in range(1_200)])
        assert erase(writer, Erasure(user="ada@example.org")).calls == 1_200
    assert found(tmp_path) == set() and TraceReader(tmp_path).count() == 0


def test_a_reader_that_holds_the_log_is_told_and_the_next_run_ends_it(folder, monkeypatch):
    day = schema.day_files(folder)[0]
    reader = schema.open_for_reading(day)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM calls").fetchone()
    plain = schema.open_for_writing

    def hasty(path):
        connection = plain(path)
        connection.execute("PRAGMA busy_timeout=50")
        return connection

    monkeypatch.setattr(schema, "open_for_writing", hasty)
    with TraceWriter(folder) as writer:
        with pytest.raises(StoreError, match="run this again"):
            erase(writer, Erasure(user="ada@example.org"))
        assert SHORT.encode() in found(folder)
        reader.close()
        erase(writer, Erasure(user="ada@example.org"))
        assert found(folder) == set()


def make_artifact(folder, source, content, traces):
    place = source / content
    place.mkdir()
    (place / "data").write_text(content)
    return ArtifactStore(folder).put(place, {"traces": traces}).digest


def test_artefacts_go_with_their_traces_unless_something_else_names_them(folder, tmp_path):
    only = make_artifact(folder, tmp_path, SHORT, ["ada-1", "pruned-long-ago"])
    mixed = make_artifact(folder, tmp_path, "mixed", ["ada-1", "bob"])
    served = make_artifact(folder, tmp_path, "served", ["ada-1"])
    other = make_artifact(folder, tmp_path, "other", ["bob"])
    with TraceWriter(folder) as writer:
        report = erase(writer, Erasure(user="ada@example.org", named=frozenset({served})))
    assert report.artifacts == [only] and set(report.artifacts_kept) == {mixed, served}
    assert {artifact.digest for artifact in ArtifactStore(folder).list()} == {mixed, served, other}
    assert found(folder) == set()


def test_the_writers_process_id_is_no_part_of_what_is_searched(folder):
    """A control: the search does see what is there."""
    (folder / "writer.lock").write_text(f"pid {os.getpid()} {SHORT}")
    assert SHORT.encode() in found(folder)
