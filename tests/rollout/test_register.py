"""The register: shared by processes, whole after a kill, and in the ledger once."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import msgspec
import pytest

from tests.rollout.test_stages import NEW, OLD
from trimtab.errors import StoreBusy, StoreError
from trimtab.rollout import stages, steps
from trimtab.rollout.evidence import Row, Stream
from trimtab.rollout.register import Overtaken, Process, Register
from trimtab.rollout.stages import Plan, Stage
from trimtab.store.ledger import Ledger
from trimtab.verdict import fingerprint


@pytest.fixture
def register(tmp_path):
    with closing(Register(tmp_path)) as register:
        yield register


@pytest.fixture
def rollout(register):
    rollout = stages.begun(OLD, NEW, Plan(margin=0.2))
    register.begin(rollout)
    return rollout


def test_a_rollout_is_there_for_whoever_comes_next(register, rollout, tmp_path):
    with closing(Register(tmp_path)) as other:
        assert other.latest() == rollout
    assert oct((tmp_path / "rollout.sqlite").stat().st_mode & 0o777) == "0o600"


def test_one_at_a_time(register, rollout):
    with pytest.raises(StoreError, match=r"is under way \(shadow\)"):
        register.begin(stages.begun(OLD, NEW, Plan()))


def test_who_comes_too_late_changes_nothing(register, rollout, tmp_path):
    with closing(Register(tmp_path)) as other:
        with other.change():
            other.move(rollout, Stage.CANARY, "first")
        with pytest.raises(Overtaken), register.change():
            register.move(rollout, Stage.ROLLED_BACK, "second")
        assert register.latest().stage is Stage.CANARY and len(register.events(rollout.id)) == 2


def test_a_session_counts_once_a_stage_whoever_saw_it(register, rollout, tmp_path):
    with closing(Register(tmp_path)) as other:
        with register.change():
            assert register.claim(rollout, b"one") and not register.claim(rollout, b"one")
        with other.change():
            assert not other.claim(rollout, b"one") and other.claim(rollout, b"two")
        canary = msgspec.structs.replace(rollout, stage=Stage.CANARY)
        with other.change():
            assert other.claim(canary, b"one")


def test_rows_come_back_in_one_order_for_all(register, rollout, tmp_path):
    def add(count):
        with closing(Register(tmp_path)) as own:
            for number in range(count):
                with own.change():
                    own.add(rollout, Row(Stream.QUALITY, -1.0 if number % 2 else 0.0), f"call {number}")

    threads = [threading.Thread(target=add, args=(25,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with closing(Register(tmp_path)) as other:
        assert register.rows(rollout) == other.rows(rollout) and len(register.rows(rollout)) == 75
    numbers = [row.number for row in register.rows(rollout)]
    assert numbers == sorted(set(numbers)) and register.rows(rollout, numbers[-2])[0].number == numbers[-1]
    assert steps.evidence_of(register, rollout).tests[Stream.QUALITY].n > 0


KILLED = """
import os, signal, sys
from pathlib import Path
from trimtab.rollout.register import Register
from trimtab.rollout.stages import Stage
from trimtab.rollout.evidence import Row, Stream
register = Register(Path(sys.argv[1]))
rollout = register.latest()
with register.change():
    register.add(rollout, Row(Stream.QUALITY, 0.0))
with register.change():
    register.move(rollout, Stage.CANARY, "half done")
    register.add(rollout, Row(Stream.QUALITY, -1.0))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_all_of_a_change_or_nothing(register, rollout, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert register.latest() == rollout and [row.value for row in register.rows(rollout)] == [0.0]


def test_what_a_detectors_state_stands_for_is_dropped(register, rollout):
    full = msgspec.structs.replace(rollout, stage=Stage.FULL)
    with register.change():
        for _ in range(5):
            register.add(full, Row(Stream.QUALITY_ALARM, -0.5, 3))
        state = steps.evidence_of(register, full).state()
        register.keep(full, state)
        register.add(full, Row(Stream.QUALITY_ALARM, 0.0))
    assert len(register.rows(full)) == 1
    assert steps.evidence_of(register, full).n == 16


@pytest.mark.parametrize(("values", "simulate"), [("few", True), ("many", True), ("many", False)])
def test_the_quicker_threshold_is_for_flips_as_they_were_planned(tmp_path, monkeypatch, values, simulate):
    """More flips than planned get a threshold of their own, or where there is no time for that the proven one."""
    monkeypatch.setattr("trimtab.rollout.proof.of", lambda folder, rollout: "a hash")
    begun = steps.start(tmp_path, OLD, NEW, Plan(margin=0.2, twice=True, per=100, false_alarms=0.05, flips=0.3))
    proven = 100 / 0.05
    assert 1 < begun.threshold < proven
    with closing(Register(tmp_path)) as register:
        canary = steps.forward(register, tmp_path, begun, simulate=simulate)
        with register.change():
            for value in {"few": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0), "many": (1.0, -1.0)}[values] * 10:
                register.add(canary, Row(Stream.QUALITY, value))
        full = steps.forward(register, tmp_path, canary, simulate=simulate)
        used = steps.evidence_of(register, full).detectors[Stream.QUALITY_ALARM].threshold
    assert ("more than planned" in full.reason) == (values == "many")
    if values == "few":
        assert used == begun.threshold
    else:
        assert begun.threshold < used < proven if simulate else used == proven


def test_who_can_only_lose_is_watched_by_the_proven_threshold(tmp_path):
    assert steps.start(tmp_path, OLD, NEW, Plan(margin=0.2)).threshold == 0


def test_what_happened_is_in_the_ledger_once(register, rollout, tmp_path):
    def settle():
        with closing(Register(tmp_path)) as own:
            steps.settle(own, tmp_path)

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    entries = Ledger(tmp_path).entries("rollout")
    assert [entry.body["stage"] for entry in entries] == ["shadow"]
    assert entries[0].body["candidate"] == fingerprint(NEW) and entries[0].body["names"]["baseline"] == "config"
    assert [event.hash for event in register.events()] == [entries[0].hash]


def test_processes_that_are_gone_are_forgotten(register, rollout):
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    register.report(Process(gone.pid, rollout.id, 1, 5))
    register.report(Process(os.getpid(), rollout.id, 1, 7))
    assert [each.pid for each in register.processes()] == [os.getpid()]
    register.leave(os.getpid())
    assert register.processes() == []


def test_figures_add_up(register, rollout):
    for _ in range(2):
        with register.change():
            register.count(rollout, {"shadows": 3, "dropped full": 0})
            register.met(rollout, [("baseline", "old", "old-2024"), ("baseline", "old", "old-2025")])
    assert register.counts(rollout) == {"shadows": 6}
    assert register.models(rollout) == {"baseline": {"old": ["old-2024", "old-2025"]}}


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "rollout.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"cannot use .*rollout\.sqlite"):
        Register(tmp_path)


def test_a_newer_one_is_not_touched(register, tmp_path):
    register._db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="newer Trimtab"):
        Register(tmp_path)


def test_a_register_that_is_held_is_busy_and_not_broken(register, rollout, tmp_path, monkeypatch):
    monkeypatch.setattr("trimtab.rollout.register._WAIT_S", 0.05)
    other = Register(tmp_path)
    with closing(other), register.change(), pytest.raises(StoreBusy, match="try again"), other.change():
        pass
