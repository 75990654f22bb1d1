"""Steps of a rollout: begin, advance, roll back, end; each is in the register at once and in the ledger after it."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from trimtab import errors
from trimtab.deployment import Deployment
from trimtab.errors import ConfigError
from trimtab.rollout import proof, scoring, stages
from trimtab.rollout.evidence import Evidence, Stream
from trimtab.rollout.register import Event, Process, Register
from trimtab.rollout.stages import Plan, Rollout, Stage
from trimtab.stats import detector
from trimtab.store.ledger import Ledger


class Status(msgspec.Struct, frozen=True):
    """All there is to say of a rollout: how its stage stands, what was counted, what happened, who serves it; and why
    its verdict does not hold any more (`stale`)."""

    rollout: Rollout
    evidence: dict[str, Any]
    counts: dict[str, int]
    events: list[Event]
    processes: list[Process]
    stale: str = ""


def start(folder: Path, baseline: Deployment, candidate: Deployment, plan: Plan) -> Rollout:
    """Begin a rollout in its shadow. ConfigError where the candidate or the plan cannot be; StoreError where another
    rollout is under way; MissingExtra without numpy, which the verdict's intervals need."""
    errors.require("gate", "numpy")
    scoring.make(plan.judge)
    rollout = stages.begun(baseline, candidate, plan)
    rollout = msgspec.structs.replace(rollout, threshold=_threshold(plan, plan.flips))
    with closing(Register(folder)) as register:
        register.begin(rollout)
        settle(register, folder)
    return rollout


def advance(folder: Path, configured: Deployment | None = None) -> Rollout:
    """Go to the next stage; NotProven where no Verdict in the ledger allows it, or where the Deployment that is
    `configured` now is not the one that the candidate was compared with."""
    with closing(Register(folder)) as register:
        rollout = under_way(register)
        if configured is not None and not stages.same(configured, rollout.baseline):
            raise errors.NotProven(f"rollout {rollout.id} is stale: its baseline is not what is configured; start anew")
        settle(register, folder)
        return forward(register, folder, rollout, simulate=True)


def forward(register: Register, folder: Path, rollout: Rollout, *, simulate: bool) -> Rollout:
    """As `advance`, over a register that is open. Without `simulate` it takes no second of the processor."""
    stage, reason = rollout.stage.next, "its verdict allows it"
    found = proof.of(folder, rollout)
    if stage is Stage.FULL and rollout.threshold and (flips := _flips(register, rollout)) > rollout.plan.flips:
        # The threshold was simulated for fewer; a serving process has no time to simulate.
        reason += f"; {flips:.1%} of answers flip, more than planned"
        rollout = msgspec.structs.replace(rollout, threshold=_threshold(rollout.plan, flips) if simulate else 0.0)
    with register.change():
        moved = register.move(rollout, stage, reason, found)
    register.secure()
    settle(register, folder)
    return moved


def _threshold(plan: Plan, flips: float) -> float:
    """That of the detector of quality: simulated for a candidate that gains as often as it loses, and far below the
    proven one; 0, for the proven one, where it can only lose. Flips that were measured are rounded up to 5 %."""
    if not scoring.is_two_sided(plan.judge, plan.twice):
        return 0.0
    wanted = plan.flips if flips <= plan.flips else min(1.0, math.ceil(flips * 20) / 20)
    return detector.threshold(plan.false_alarms, plan.per, plan.margin, wanted)


def _flips(register: Register, rollout: Rollout) -> float:
    """The mean square of the differences in a stage: of single answers the share that flips."""
    rows = [row for row in register.rows(rollout) if row.stream is Stream.QUALITY]
    return sum(row.value**2 * row.count for row in rows) / max(1, sum(row.count for row in rows))


def rollback(folder: Path, reason: str) -> Rollout:
    """Give all traffic back to the baseline."""
    with closing(Register(folder)) as register:
        rollout = under_way(register)
        with register.change():
            moved = register.move(rollout, Stage.ROLLED_BACK, reason)
        register.secure()
        settle(register, folder)
    return moved


def status(folder: Path) -> Status:
    """ConfigError where there never was a rollout."""
    with closing(Register(folder)) as register:
        rollout = register.latest()
        if rollout is None:
            raise ConfigError(f"there is no rollout in {folder}: begin one with `trimtab rollout start`")
        running = [each for each in register.processes() if each.rollout == rollout.id]
        held = facts(evidence_of(register, rollout)) if rollout.stage.runs else {}
        stale = ""
        if rollout.stage is Stage.FULL:
            gated = msgspec.structs.replace(rollout, stage=Stage.CANARY)
            stale = proof.reopened_by(register.models(gated), register.models(rollout))
        return Status(rollout, held, register.counts(rollout), register.events(rollout.id), running, stale)


def under_way(register: Register) -> Rollout:
    """The rollout that is under way; ConfigError where none is."""
    rollout = register.latest()
    if rollout is None or not rollout.stage.runs:
        last = f" (the last one is {rollout.stage}: {rollout.reason})" if rollout is not None else ""
        raise ConfigError(f"no rollout is under way{last}: begin one with `trimtab rollout start`")
    return rollout


def evidence_of(register: Register, rollout: Rollout) -> Evidence:
    """All that was seen in the rollout's stage."""
    evidence = Evidence(rollout.plan, rollout.stage, rollout.threshold)
    state = register.kept(rollout)
    if state is not None:
        evidence.resume(state)
    for row in register.rows(rollout):
        evidence.take(row)
    return evidence


def facts(evidence: Evidence) -> dict[str, Any]:
    """How each test and detector of a stage stands."""
    tests = {
        stream.value: {
            "n": test.n,
            "missing": test.missing,
            # Of calls that failed or were late: their share.
            "mean": test.difference + (test.rule.margin if test.rule.test == "rate" else 0.0),
            "wealth": test.wealth,
            "harm": test.harm_wealth,
            "needed": 1 / test.criterion.alpha,
            "decision": test.decision.value,
        }
        for stream, test in evidence.tests.items()
    }
    detectors = {
        stream.value: {"n": each.n, "evidence": each.value, "threshold": each.threshold}
        for stream, each in evidence.detectors.items()
    }
    decision = evidence.decision
    return {"tests": tests, "detectors": detectors, "cap": evidence.cap, "decision": decision.value if decision else ""}


def settle(register: Register, folder: Path) -> None:
    """Enter into the ledger what waits for it. Under the register's lock, so that each event is entered once."""
    if not register.events(waiting=True):
        return
    ledger = Ledger(folder)
    with register.change():
        for event in register.events(waiting=True):
            body = event.body["verdict"] if event.kind == "verdict" else event.body
            register.entered(event, ledger.append("verdict" if event.kind == "verdict" else "rollout", body))
