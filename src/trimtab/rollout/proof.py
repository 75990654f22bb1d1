"""Proof: the Verdict of a stage, and whether the ledger holds one that lets a rollout go a step further."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import NotProven
from trimtab.gate import recompute
from trimtab.gate.stale import reopened
from trimtab.rollout.evidence import Evidence
from trimtab.rollout.stages import Rollout, Stage
from trimtab.store.ledger import Entry, Ledger
from trimtab.verdict import Decision, Verdict, conclude, digest, fingerprint

# Who was met in a stage: by which models each endpoint of a side answered, and the digests of the system prompts.
Met = dict[str, dict[str, list[str]]]
PROMPTS = "prompts"
# Where there are so many prompts, each is made for its call, and none can be known beforehand.
MOST_PROMPTS = 64


class Seen(msgspec.Struct, frozen=True):
    """What a verdict says beside the tests: ids of the compared `calls` in the order they counted, the version of the
    `judge`, figures, and who was `met` ({side: {endpoint: models}}, {PROMPTS: {"": digests}})."""

    calls: list[str]
    judge: str
    facts: dict[str, float] = {}
    met: Met = {}

    @property
    def models(self) -> Met:
        return {side: endpoints for side, endpoints in self.met.items() if side != PROMPTS}

    @property
    def prompts(self) -> list[str]:
        return self.met.get(PROMPTS, {}).get("", [])

    @property
    def halt(self) -> str:
        """Why nothing can be concluded of a stage under which a model changed; '' otherwise."""
        for side, endpoints in self.models.items():
            for endpoint, models in endpoints.items():
                if len(models) > 1:
                    return f"the model behind the {side}'s '{endpoint}' changed meanwhile: {', '.join(models)}"
        return ""


def verdict(rollout: Rollout, evidence: Evidence, seen: Seen) -> Verdict:
    """What the evidence of a stage comes to. Live there is no suite, and the order is that of arrival."""
    findings = tuple(test.finding() for test in evidence.tests.values())
    decision, reason = conclude(findings, seen.halt)
    return Verdict(
        decision=decision,
        findings=findings,
        baseline=fingerprint(rollout.baseline),
        candidate=fingerprint(rollout.candidate),
        suite=digest(["live", rollout.id, rollout.stage.value]),
        order=digest(seen.calls),
        seed=0,
        n=evidence.n,
        reason=reason,
        halt=seen.halt,
        models={side: digest(endpoints) for side, endpoints in seen.models.items()},
        judge=seen.judge,
        prompts=tuple(seen.prompts),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        names={
            "rollout": rollout.id,
            "stage": rollout.stage.value,
            "baseline": rollout.baseline.name,
            "candidate": rollout.candidate.name,
        },
        facts=seen.facts,
    )


def reopened_by(gated: Met, now: Met) -> str:
    """Why a verdict that was reached when `gated` was met does not speak of what is met `now`; '' while it does."""
    before = Seen([], "", met=gated)
    after = Seen([], "", met=now)
    for side, endpoints in after.models.items():
        for endpoint, models in endpoints.items():
            known = before.models.get(side, {}).get(endpoint, models)
            if fresh := sorted(set(models) - set(known)):
                return f"the model behind the {side}'s '{endpoint}' is {fresh[0]} now, and {known[0]} was compared"
    fresh = sorted(set(after.prompts) - set(before.prompts))
    if fresh and before.prompts and len(before.prompts) < MOST_PROMPTS:
        return f"{len(fresh)} system prompts in use were not compared ({fresh[0][:12]})"
    return ""


def plain(said: Verdict) -> dict[str, Any]:
    """A Verdict as the ledger keeps it."""
    held: dict[str, Any] = msgspec.to_builtins(said)
    return held


def of(folder: Path, rollout: Rollout) -> str:
    """The hash of the newest Verdict in the ledger that lets `rollout` leave its stage; NotProven where none does.

    It must be of these two Deployments as they are now, say promote, and follow from its own counts. The canary must
    have passed itself; before it, what the gate said of the two offline will do as well. The newest Verdict counts: one
    that rejects undoes those before it.
    """
    stays = f"rollout {rollout.id} stays {rollout.stage}"
    found = [(entry, said) for entry in Ledger(folder).entries("verdict") if _is_of(said := _read(entry), rollout)]
    if not found:
        raise NotProven(f"{stays}: there is no verdict on it yet; see `trimtab rollout status`")
    entry, said = found[-1]
    if stale := reopened(said, rollout.baseline, rollout.candidate):
        raise NotProven(f"{stays}: its verdict is stale: {stale}")
    if faults := recompute.check(said):
        raise NotProven(f"{stays}: its verdict does not follow from its counts: {faults[0]}")
    if said.decision is not Decision.PROMOTE:
        raise NotProven(f"{stays}: its verdict is {said.decision} ({said.reason})")
    return entry.hash


def _is_of(said: Verdict, rollout: Rollout) -> bool:
    """Whether a verdict counts for the stage of `rollout`."""
    if "rollout" in said.names:
        return (said.names["rollout"], said.names.get("stage")) == (rollout.id, rollout.stage.value)
    # One of the gate's own names no rollout; it is known by what it compared.
    return rollout.stage is Stage.SHADOW and said.candidate == fingerprint(rollout.candidate)


def _read(entry: Entry) -> Verdict:
    return recompute.verdict_of(entry)
