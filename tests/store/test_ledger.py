import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import StoreError
from trimtab.store.ledger import FILE, FIRST, HEAD, KINDS, Ledger


@pytest.fixture
def ledger(tmp_path):
    held = Ledger(tmp_path / "store")
    for number, kind in enumerate(KINDS):
        held.append(
            kind, {"number": number, "share": 0.1 + 0.2, "text": 'a "quoted" }\n line', "list": [1, {"b": None}]}
        )
    return held


def test_entries_come_back_in_order_and_chained(ledger):
    entries = ledger.entries()
    assert [entry.kind for entry in entries] == list(KINDS)
    assert [entry.previous for entry in entries] == [FIRST, *[entry.hash for entry in entries[:-1]]]
    assert entries[1].body == {
        "number": 1,
        "share": 0.1 + 0.2,
        "text": 'a "quoted" }\n line',
        "list": [1, {"b": None}],
    }
    assert entries[0].made["trimtab"] and entries[0].made["cpus"] != "0"
    assert ledger.verify() == len(KINDS)
    assert ledger.entries("verdict") == [entries[1]]
    assert ledger.find(entries[2].hash[:10]) == entries[2]


def test_each_line_is_json_for_other_tools(ledger):
    lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    assert [line["entry"]["kind"] for line in lines] == list(KINDS)


def test_a_folder_without_a_ledger_is_an_empty_one(tmp_path):
    assert Ledger(tmp_path / "none").entries() == []
    assert not (tmp_path / "none").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_altered_byte_in_either_file_is_found(ledger, tmp_path, data):
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ledger.folder, copy)
    path = copy / data.draw(st.sampled_from([FILE, FILE, FILE, HEAD]))
    held = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(held) - 1))
    held[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != held[place]))
    path.write_bytes(held)
    with pytest.raises(StoreError, match="copy"):
        Ledger(copy).verify()


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_lines_taken_off_the_end_are_missed(ledger, kept):
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:kept]))
    with pytest.raises(StoreError, match="lines were taken off"):
        ledger.verify()
    with pytest.raises(StoreError, match="lines were taken off"):
        ledger.append("saving", {})


def test_a_line_taken_out_of_the_middle_is_missed(ledger):
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(StoreError, match=":2: this line was altered"):
        ledger.verify()


@pytest.mark.parametrize("gone", [FILE, HEAD])
def test_a_file_that_is_gone_is_missed(ledger, gone):
    (ledger.folder / gone).unlink()
    with pytest.raises(StoreError, match="is gone"):
        ledger.verify()


def test_a_line_cut_short_by_a_crash_was_never_acknowledged(ledger):
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + whole.splitlines(keepends=True)[-1][:50])
    assert ledger.verify() == len(KINDS)
    ledger.append("saving", {"after": True})
    assert ledger.verify() == len(KINDS) + 1
    assert ledger.path.read_bytes().startswith(whole)


def test_a_crash_before_the_head_is_written_loses_nothing(ledger):
    head = (ledger.folder / HEAD).read_bytes()
    ledger.append("saving", {"n": 5})
    (ledger.folder / HEAD).write_bytes(head)
    assert ledger.verify() == len(KINDS) + 1
    ledger.append("saving", {"n": 6})
    assert [entry.body["n"] for entry in ledger.entries()[-2:]] == [5, 6]


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": [float("inf")]}, {"x": object()}, {"x": "\ud800"}])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(ledger, body):
    before = ledger.path.read_bytes()
    with pytest.raises(StoreError):
        ledger.append("saving", body)
    assert ledger.path.read_bytes() == before


def test_an_unknown_kind_is_refused(ledger):
    with pytest.raises(StoreError, match="use one of estimate, verdict, rollout, saving"):
        ledger.append("guess", {})


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_any_json_comes_back_as_it_was(tmp_path, body):
    ledger = Ledger(tmp_path)
    try:
        name = ledger.append("estimate", body)
    except StoreError as error:
        assert "cannot be written as JSON" in str(error)  # half a surrogate pair
        return
    last = ledger.entries()[-1]
    assert (last.hash, last.body) == (name, body)


def _write(folder, mark, count):
    for number in range(count):
        Ledger(folder).append("rollout", {"mark": mark, "number": number})


def test_several_processes_append_to_one_chain(tmp_path):
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=_write, args=(tmp_path, mark, 20)) for mark in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    entries = Ledger(tmp_path).entries()
    assert Ledger(tmp_path).verify() == 60
    for mark in range(3):
        assert [entry.body["number"] for entry in entries if entry.body["mark"] == mark] == list(range(20))


ENDLESS = """
import sys
from pathlib import Path
from trimtab.store.ledger import Ledger
number = 0
while True:
    Ledger(Path(sys.argv[1])).append("saving", {"number": number})
    print(number, flush=True)
    number += 1
"""


def test_after_a_kill_the_chain_is_whole_and_has_all_that_was_acknowledged(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    for _ in range(30):
        writer.stdout.readline()
    time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().splitlines()
    writer.wait()
    acknowledged = 30 + len([line for line in rest if line.strip()])
    assert Ledger(tmp_path).verify() in (acknowledged, acknowledged + 1)
    Ledger(tmp_path).append("saving", {"number": "after"})
    assert Ledger(tmp_path).entries()[-1].body["number"] == "after"
