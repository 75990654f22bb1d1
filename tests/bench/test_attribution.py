"""One real block through a real server, closed and open loop; what is there already is not measured again."""

import contextlib

import pytest

from tests.bench.test_report import made
from trimtab.bench import attribution, processes
from trimtab.bench.attribution import Journal, Plan
from trimtab.bench.cells import Setup
from trimtab.bench.pairs import Models
from trimtab.engines.prepared import shipped

pytestmark = pytest.mark.engine


def test_a_block_is_measured_once(tmp_path, monkeypatch):
    if "dealer-student" not in shipped():
        pytest.skip("the shipped models are not there: make models")
    student = shipped()["dealer-student"]
    monkeypatch.setattr(attribution, "WARM", 1)
    models = Models({"shipped student": student}, {"student": ["--draft", str(student)]})
    setup = Setup("shipped", "student", "int8", "drafter")
    plan = Plan("shipped", [setup], 1, {1: 1, 4: 2}, 0.7, 1, judged=3)
    journal = Journal(tmp_path / "cells.jsonl")
    attribution.run(plan, models, journal, lambda text: None)
    assert [(cell.concurrency, cell.loop) for cell in journal.cells] == [
        (1, "closed"), (4, "closed"), (0, "open"), (4, "judged"),
    ]  # fmt: skip
    met: set[str] = set()
    for cell in journal.cells:
        sessions = 3 if cell.loop == "judged" else 1 if cell.concurrency == 1 else 2
        works = attribution.works("test", sessions, cell.block, cell.concurrency)
        opened = {str(work.moves[0].messages) for work in works}
        assert not met & opened, "no server meets a session again, which its cache would answer"
        met |= opened
        assert cell.requests == sum(len(work.moves) for work in works) == len(cell.latency_s)
        assert set(cell.sessions) == {work.name for work in works}
        assert 0 < cell.ttft_s[0] <= cell.latency_s[0]
        assert cell.cpu_s > 0
        assert cell.peak_mb > 50
        assert 0 < cell.moves_right <= cell.requests
    assert journal.cells[0].taken > 0, "the model drafts for itself"
    said = []
    attribution.run(plan, models, Journal(tmp_path / "cells.jsonl"), said.append)
    assert said == []


def test_what_seemed_slower_is_measured_again_in_turn_with_none(tmp_path, monkeypatch):
    if "dealer-student" not in shipped():
        pytest.skip("the shipped models are not there: make models")
    student = shipped()["dealer-student"]
    monkeypatch.setattr(attribution, "WARM", 1)
    monkeypatch.setattr(attribution, "FEWEST", 1)
    monkeypatch.setattr(attribution.report, "SLOWER", 1e9)
    models = Models({"shipped student": student}, {"student": ["--draft", str(student)]})
    plain = Setup("shipped", "student", "int8")
    setups = [plain, Setup("shipped", "student", "int8", "lookup")]
    plan = Plan("shipped", setups, 1, {1: 1}, 0.0, 1, again=2)
    journal = Journal(tmp_path / "cells.jsonl")
    attribution.run(plan, models, journal, lambda text: None)
    assert [(cell.setup.draft, cell.block) for cell in journal.cells if cell.loop == "again"] == [
        ("none", 2000), ("lookup", 2000), ("lookup", 2001), ("none", 2001),
    ]  # fmt: skip
    said = []
    attribution.run(plan, models, Journal(tmp_path / "cells.jsonl"), said.append)
    assert said == []


def test_the_fastest_is_measured_again_against_both_models_plain_and_what_is_there_is_kept(tmp_path, monkeypatch):
    winner, teacher = Setup("shipped", "student", "int4", "drafter"), Setup("shipped", "teacher")
    monkeypatch.setattr(attribution.report, "doubtful", lambda cells, pair: [])
    monkeypatch.setattr(
        attribution.report, "best", lambda cells, pair, concurrency: winner if concurrency == 4 else None
    )
    monkeypatch.setattr(attribution, "served", lambda setup, *_: contextlib.nullcontext(setup))
    monkeypatch.setattr(attribution, "_warm", lambda *_: None)
    monkeypatch.setattr(attribution, "works", lambda *_: [])
    monkeypatch.setattr(attribution, "_cell", lambda _, setting, some: made(*setting[:3], 1.0, loop="again"))
    journal = Journal(tmp_path / "cells.jsonl")
    journal.add(made(teacher, 4000, 4, 7.0, loop="again"))
    plan = Plan("shipped", [winner, teacher, Setup("shipped", "student")], 0, {4: 1}, again=2)
    attribution.run(plan, Models({}, {}), journal, lambda text: None)
    names = [(cell.block, cell.setup.name) for cell in journal.cells[1:]]
    assert names == [
        (4000, "student + bf16"), (4000, "student + int4 + drafter"),
        (4001, "student + bf16"), (4001, "student + int4 + drafter"), (4001, "teacher + bf16"),
    ]  # fmt: skip
    said = []
    attribution.run(plan, Models({}, {}), Journal(tmp_path / "cells.jsonl"), said.append)
    assert said == []


def test_processes_of_this_one():
    import os

    pids = processes.family(os.getpid())
    assert pids[0] == os.getpid()
    assert processes.cpu_s(pids) > 0
    assert processes.peak_mb(pids) > 10
