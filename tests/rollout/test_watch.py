"""The watch of one process: rows that others added, kept and dropped; changes of the register and of what is served."""

import asyncio
from contextlib import closing
from types import SimpleNamespace

import msgspec
import pytest

from tests.rollout.test_stages import NEW, OLD
from trimtab.config import shipped_prices
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Meter
from trimtab.rollout import stages, steps
from trimtab.rollout.evidence import Evidence, Row, Stream
from trimtab.rollout.register import Register
from trimtab.rollout.stages import Plan, Stage
from trimtab.rollout.watch import Watch


async def tail(request):
    raise AssertionError("nobody is asked here")


@pytest.fixture
def register(tmp_path):
    with closing(Register(tmp_path)) as register:
        yield register


@pytest.fixture
def watch(tmp_path):
    live = Live(OLD, shipped_prices(), tail, tmp_path)
    watch = Watch(tmp_path, SimpleNamespace(live=live, meter=Meter()), tail)
    watch._loop = asyncio.new_event_loop()
    yield watch
    watch._loop.close()
    watch._bench.close() if watch._bench is not None else None
    watch._register.close() if watch._register is not None else None


@pytest.mark.parametrize("seen", [0, 4, 10])
def test_all_come_to_the_same_evidence_whatever_they_had_seen(register, watch, seen, monkeypatch):
    """One process keeps the detectors' state and drops the rows; another had seen none, some or all of them."""
    full = msgspec.structs.replace(stages.begun(OLD, NEW, Plan()), stage=Stage.FULL)
    rows = [Row(Stream.QUALITY_ALARM, -0.5, n % 3 + 1) for n in range(10)] + [Row(Stream.ERRORS_ALARM, -1.0, 2)]
    behind, ahead, whole = (Evidence(full.plan, full.stage) for _ in range(3))
    with register.change():
        for row in rows:
            register.add(full, row)
    for row in register.rows(full):
        whole.take(row)
        if row.number <= seen:
            behind.take(row)
    monkeypatch.setattr("trimtab.rollout.watch._KEEP_EVERY", 5)
    with register.change():
        watch._catch_up(register, SimpleNamespace(evidence=ahead, rollout=full))
    assert register.rows(full) == [] and ahead.state() == whole.state()
    with register.change():
        register.add(full, Row(Stream.QUALITY_ALARM, -1.0))
        watch._catch_up(register, SimpleNamespace(evidence=behind, rollout=full))
    whole.take(Row(Stream.QUALITY_ALARM, -1.0, 1, behind.number))
    assert behind.state() == whole.state()


def test_a_trial_begins_changes_and_ends_with_the_register(register, watch):
    live = watch._services.live
    watch._turn()
    assert live.trial is None
    register.begin(stages.begun(OLD, NEW, Plan()))
    watch._turn()
    assert live.trial.share == 0 and live.trial.baseline is live.serving and live.main is live.serving
    for stage, share in ((Stage.CANARY, 0.1), (Stage.FULL, 1.0)):
        with register.change():
            register.move(register.latest(), stage, "")
        watch._turn()
        assert live.trial.share == share
    assert live.main is live.trial.candidate and set(live.models) == {"m", "old", "new"}
    assert len(live.endpoints) == 2
    with register.change():
        register.move(register.latest(), Stage.ROLLED_BACK, "")
    watch._turn()
    assert live.trial is None and live.main is live.serving


def test_the_same_configuration_read_anew_goes_on_and_another_one_ends_it(register, watch):
    live = watch._services.live
    register.begin(stages.begun(OLD, NEW, Plan()))
    watch._turn()
    before = live.trial
    live.swap(OLD)
    watch._turn()
    assert live.trial is not before and live.trial.baseline is live.serving
    live.swap(NEW)
    watch._turn()
    assert live.trial is None and register.latest().stage is Stage.ENDED
    assert register.latest().reason == "its candidate is what is configured now"


def test_what_the_ledger_refuses_stops_no_watch(register, watch, tmp_path):
    register.begin(stages.begun(OLD, NEW, Plan()))
    (tmp_path / "ledger.jsonl").write_text("tampered with\n")
    watch._turn()
    assert watch._services.live.trial is not None and "ledger" in watch._warned
    assert register.events(waiting=True)
    (tmp_path / "ledger.jsonl").unlink()
    watch._settle_at = 0.0
    watch._turn()
    assert not register.events(waiting=True) and steps.status(tmp_path).events[0].hash
