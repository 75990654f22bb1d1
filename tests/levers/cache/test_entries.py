"""Rows that several processes share: what is deleted, expired or quarantined is served by nobody."""

import multiprocessing
import os
import signal
import sqlite3
import time

import numpy as np
import pytest

from trimtab.errors import StoreError
from trimtab.levers.cache import nearest, snapshot, tables
from trimtab.levers.cache.entries import Answer, Entries
from trimtab.levers.cache.index import Index

DIMS = 16


def unit(seed):
    vector = np.random.default_rng(seed).standard_normal(DIMS).astype(np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def entries(tmp_path):
    held = Entries(tmp_path, "v1", DIMS)
    yield held
    held.close()


def fill(entries, count=5, partition="p", **answer):
    return [
        entries.add(partition, f"k{each}", f"question {each}?", unit(each), Answer(b"%d" % each, **answer))
        for each in range(count)
    ]


def test_an_answer_comes_back_as_it_was(entries):
    answer = Answer(
        *(b'{"a": 1}', "chat", {"input_tokens": 3}, 17, 2.5, "bob", "staff", "7"),
        expires_ns=1 << 62,
        sources=("a", "b"),
    )
    entry = entries.add("p", "k", "What?", unit(1), answer)
    held = entries.answer(entry.group)
    assert held.created_ns == entry.created_ns > 0
    assert held == Answer(
        **{**{name: getattr(answer, name) for name in answer.__struct_fields__}, "created_ns": held.created_ns}
    )
    assert entries.find_exact("p", "k") == entry
    assert entries.find_exact("q", "k") is None


def test_candidates_are_of_the_partition_and_best_first(entries):
    fill(entries, 30)
    entries.add("q", "k", "another's", unit(3), Answer(b""))
    found = entries.candidates("p", unit(3), 5)
    assert found[0].question == "question 3?"
    assert found[0].cosine == pytest.approx(1, abs=2e-3)
    assert [each.cosine for each in found] == sorted((each.cosine for each in found), reverse=True)
    assert len(found) == 5
    assert [each.question for each in entries.candidates("q", unit(3), 5)] == ["another's"]
    assert entries.candidates("nobody's", unit(3), 5) == []


def test_what_is_deleted_is_found_in_no_way(entries):
    held = fill(entries, 20)
    alias = entries.alias(held[3].group, "again", "question three?", unit(103), "me")
    assert entries.candidates("p", unit(103), 1)[0].group == held[3].group
    assert entries.delete(held[3].id) == 1
    assert entries.answer(held[3].group) is not None  # the alias still needs it
    assert entries.delete(alias.id) == 1
    assert entries.answer(held[3].group) is None
    assert entries.find_exact("p", "k3") is None
    assert {each.question for each in entries.candidates("p", unit(3), 20)} == {
        f"question {each}?" for each in range(20) if each != 3
    }
    assert entries.alias(held[3].group, "x", "x", None) is None


def test_deleting_a_document_deletes_what_was_drawn_from_it(entries):
    fill(entries, 3, "p", sources=("old.pdf", "b.pdf"))
    fill(entries, 3, "q", sources=("b.pdf",))
    assert entries.delete_source("old.pdf") == 3
    assert entries.counts() == {**entries.counts(), "entries": 3, "answers": 3, "partitions": 1}
    assert entries.delete_source("b.pdf") == 3
    assert entries.counts()["answers"] == 0


def test_a_version_is_invalidated_as_one(entries):
    fill(entries, 3, "p", version="1")
    fill(entries, 4, "q", version="2")
    assert entries.invalidate("1") == 3
    assert entries.candidates("p", unit(0)) == []
    assert len(entries.candidates("q", unit(0))) == 4


def test_deleted_words_are_not_left_on_the_disk(entries, tmp_path):
    entry = entries.add("p", "k", "the secret question", unit(0), Answer(b"the secret answer", sources=("secret",)))
    entries.label(entry.id, "the secret wording", True, "exact")
    entries.delete_answer(entry.group)
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in left


def test_an_expired_answer_is_not_served(tmp_path):
    now = 1_000
    entries = Entries(tmp_path, "v1", DIMS, clock=lambda: now)
    entries.add("p", "k", "q", unit(0), Answer(b"", expires_ns=2_000))
    entries.add("p", "k2", "q2", unit(1), Answer(b""))
    assert entries.find_exact("p", "k") is not None
    now = 2_000
    assert entries.find_exact("p", "k") is None
    assert [each.question for each in entries.candidates("p", unit(0))] == ["q2"]
    assert entries.expire() == 1
    assert entries.counts()["entries"] == 1


def test_a_quarantined_answer_waits_for_a_fresh_one(entries):
    entry = fill(entries, 1)[0]
    entries.quarantine(entry.group)
    assert entries.find_exact("p", "k0") is None
    assert entries.answer(entry.group) is None
    assert entries.candidates("p", unit(0)) == []
    entries.replace(entry.group, Answer(b"fresh", sources=("new",)))
    assert entries.answer(entry.group).body == b"fresh"
    assert entries.delete_source("new") == 1


def test_labels_make_the_record_of_the_group(entries):
    entry = fill(entries, 1)[0]
    for same in (True, False, True):
        entries.label(entry.id, "asked", same, "exact")
    entries.label(12345, "asked", True, "exact")
    assert entries.candidates("p", unit(0))[0][4:] == (3, 2)


def test_the_same_key_again_takes_the_place_of_the_first(entries):
    first = entries.add("p", "k", "q", unit(0), Answer(b"old"))
    second = entries.add("p", "k", "q", unit(0), Answer(b"new"))
    assert entries.answer(first.group) is None
    assert [each.entry for each in entries.candidates("p", unit(0))] == [second.id]


def test_vectors_of_another_encoder_are_not_compared(tmp_path):
    old = Entries(tmp_path, "v1", DIMS)
    fill(old, 3)
    new = Entries(tmp_path, "v2", DIMS)
    assert new.candidates("p", unit(0)) == []
    assert new.find_exact("p", "k0") is not None
    assert Entries(tmp_path).candidates("p", unit(0)) == []
    with pytest.raises(ValueError, match="16"):
        new.add("p", "k", "q", np.zeros(8, np.float32), Answer(b""))
    assert new.find_exact("p", "k") is None


def _add_for_ever(folder):
    entries = Entries(folder, "v1", DIMS)
    count = 0
    while True:
        entries.add("p", f"k{count}", f"q{count}", unit(count), Answer(b"x" * 1000))
        count += 1


def test_a_killed_process_leaves_whole_rows_and_others_see_them_within_a_second(tmp_path):
    entries = Entries(tmp_path, "v1", DIMS)
    other = multiprocessing.get_context("spawn").Process(target=_add_for_ever, args=(tmp_path,))
    other.start()
    deadline = time.monotonic() + 60
    while len(entries.candidates("p", unit(0), 20)) < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    time.sleep(nearest.FRESH)
    counts = entries.counts()
    assert counts["entries"] == counts["answers"] >= 20
    assert len(entries.candidates("p", unit(0), 10_000)) == counts["entries"]
    last = entries.page(after=counts["entries"] - 1)[0]
    assert entries.answer(last.group).body == b"x" * 1000
    assert sqlite3.connect(tmp_path / tables.FILE).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_snapshot_is_taken_only_if_it_is_the_one_written(tmp_path, monkeypatch):
    monkeypatch.setattr(Index.__init__, "__defaults__", (50,))
    monkeypatch.setattr(nearest, "AT_ONCE", 7)
    pytest.importorskip("usearch")
    entries = Entries(tmp_path, "v1", DIMS)
    fill(entries, 80)
    fill(entries, 10, "small")
    entries.save_index()
    entries.add("p", "late", "late", unit(900), Answer(b""))
    entries.add("small", "late", "late", unit(900), Answer(b""))

    def found(held):
        both = held.candidates("p", unit(900), 5), held.candidates("small", unit(3), 20)
        return [[each.question for each in some] for some in both]

    wanted = found(entries)
    saved, seen = snapshot.load(tmp_path, "v1", DIMS)
    assert [len(index) for index in saved.values()] == [80]
    assert seen == 90
    again = Entries(tmp_path, "v1", DIMS)
    assert found(again) == wanted
    assert wanted[0][0] == "late"
    assert len(wanted[1]) == 11
    path = next(tmp_path.glob("*.usearch"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert snapshot.load(tmp_path, "v1", DIMS) == ({}, 0)
    assert found(Entries(tmp_path, "v1", DIMS)) == wanted


def test_a_file_of_a_newer_version_or_none_at_all_is_refused(tmp_path):
    Entries(tmp_path).close()
    connection = sqlite3.connect(tmp_path / tables.FILE)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="newer"):
        Entries(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / tables.FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="move the file away"):
        Entries(tmp_path / "other")
