"""Proof: the Verdict of a stage, and whether the ledger holds one that lets a rollout go a step further."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import NotProven
from trimtab.rollout.evidence import Evidence
from trimtab.rollout.stages import Rollout, Stage
from trimtab.store.ledger import Entry, Ledger
from trimtab.verdict import Decision, Verdict, conclude, digest, fingerprint


def verdict(rollout: Rollout, evidence: Evidence, calls: list[str], judge: str, facts: dict[str, float]) -> Verdict:
    """What the evidence of a stage comes to. `calls` are the ids of the compared calls in the order they counted: live
    there is no suite, and the order is that of arrival."""
    findings = tuple(test.finding() for test in evidence.tests.values())
    decision, reason = conclude(findings)
    return Verdict(
        decision=decision,
        findings=findings,
        baseline=fingerprint(rollout.baseline),
        candidate=fingerprint(rollout.candidate),
        suite=digest(["live", rollout.id, rollout.stage.value]),
        order=digest(calls),
        seed=0,
        n=evidence.n,
        reason=reason,
        judge=judge,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        names={
            "rollout": rollout.id,
            "stage": rollout.stage.value,
            "baseline": rollout.baseline.name,
            "candidate": rollout.candidate.name,
        },
        facts=facts,
    )


def plain(said: Verdict) -> dict[str, Any]:
    """A Verdict as the ledger keeps it."""
    held: dict[str, Any] = msgspec.to_builtins(said)
    return held


def of(folder: Path, rollout: Rollout) -> str:
    """The hash of the newest Verdict in the ledger that lets `rollout` leave its stage; NotProven where none does.

    It must be of these two Deployments as they are now, and say promote. The canary must have passed itself; before it,
    what the gate said of them offline will do as well. The newest Verdict counts: one that rejects undoes earlier ones.
    """
    found = [(entry, said) for entry in Ledger(folder).entries("verdict") if (said := _read(entry)) is not None]
    mine = [(entry, said) for entry, said in found if _is_of(said, rollout)]
    if not mine:
        changed = any(said.names.get("rollout") == rollout.id for _, said in found)
        how = "its verdict is stale: what was compared has changed" if changed else "there is no verdict on it yet"
        raise NotProven(f"rollout {rollout.id} stays {rollout.stage}: {how}; see `trimtab rollout status`")
    entry, said = mine[-1]
    if said.decision is not Decision.PROMOTE:
        raise NotProven(f"rollout {rollout.id} stays {rollout.stage}: its verdict is {said.decision} ({said.reason})")
    return entry.hash


def _is_of(said: Verdict, rollout: Rollout) -> bool:
    """Whether a verdict is of the two Deployments of `rollout`, and counts for its stage."""
    if (said.baseline, said.candidate) != (fingerprint(rollout.baseline), fingerprint(rollout.candidate)):
        return False
    if "rollout" not in said.names:
        return rollout.stage is Stage.SHADOW
    return (said.names["rollout"], said.names.get("stage")) == (rollout.id, rollout.stage.value)


def _read(entry: Entry) -> Verdict | None:
    try:
        return msgspec.convert(entry.body, Verdict)
    except msgspec.ValidationError:
        return None
