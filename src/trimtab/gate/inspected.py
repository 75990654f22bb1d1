"""Inspected: a verdict on a suite written for inspect_ai, run as it is, and stopped as soon as our test is sure.

It is not resumed: inspect keeps its own logs, and a log of the baseline serves again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trimtab.evals import inspect_bridge, logs
from trimtab.evals.imported import Choice, Result, by_id
from trimtab.evals.serving import served
from trimtab.gate import sides
from trimtab.gate.bets import Bet, Rule
from trimtab.gate.criteria import Criteria
from trimtab.gate.sides import Side
from trimtab.verdict import Criterion, Decision, Margin, Verdict, conclude, digest

SUITE = "inspect:"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: `name` is FILE.py, FILE.py@TASK or a registered task; `folder` gets inspect's logs."""

    name: str
    choice: Choice
    criteria: Criteria
    folder: Path
    seed: int = 0
    at_once: int = 8


class _Test:
    """A bet as inspect's early stopping wants it."""

    def __init__(self, bet: Bet) -> None:
        self.bet = bet
        self.promotes = self.rejects = False

    def feed(self, x: float, /) -> None:
        # What is missing is counted from the log when the run has ended.
        self.bet.feed(x, 0)
        self.promotes = self.bet.decision is Decision.PROMOTE
        self.rejects = self.bet.decision is Decision.REJECT


def baseline(task: Task, text: str) -> tuple[list[Result], str]:
    """The baseline's results and its fingerprint: of the log that `text` names, else of a side that is run now."""
    path = Path(text)
    if logs.is_log(path):
        results = logs.read(path, task.choice)
        return results, digest([[each.id, each.score] for each in results])
    side = sides.named(text)
    ran = _run(task, side, task.folder / "baseline", None, None)
    return ran.results, side.fingerprint


def suite_of(task: Task, results: Sequence[Result]) -> str:
    """The digest of what is asked."""
    return digest([task.name, [[each.id, each.cluster, each.content] for each in results]])


def verdict(task: Task, before: tuple[Sequence[Result], str], candidate: Side, names: dict[str, str]) -> Verdict:
    """Run the candidate against the baseline's results. Errors as of `evals.inspect_bridge.run`."""
    results, gated = before
    criteria = task.criteria
    harm = -criteria.margin / 2 if criteria.harm is None else criteria.harm
    rule = Rule(test="mean", margin=criteria.margin, alpha=criteria.alpha, harm=harm, missing=criteria.missing)
    test = _Test(Bet(Criterion("quality", Margin(criteria.margin), criteria.alpha), rule))
    ran = _run(task, candidate, task.folder / "candidate", results, test)
    known = by_id(results, "baseline")
    test.bet.items = len(ran.results)
    test.bet.missing = sum(each.score is None or known[each.id].score is None for each in ran.results)
    findings = (test.bet.finding(),)
    decision, reason = conclude(findings)
    return Verdict(
        decision=decision,
        findings=findings,
        baseline=gated,
        candidate=candidate.fingerprint,
        suite=suite_of(task, results),
        order=ran.order,
        seed=task.seed,
        n=test.bet.n,
        reason=reason,
        judge=f"{SUITE}{task.name} {task.choice.metric}".strip(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        names=names,
        facts={"samples": float(len(ran.results)), "spared": float(ran.spared)},
    )


def _run(
    task: Task, side: Side, folder: Path, results: Sequence[Result] | None, test: _Test | None
) -> inspect_bridge.Ran:
    with served(side.deployment, side.prices) as url:
        plan = inspect_bridge.Plan(
            task=task.name,
            url=url,
            model=side.model,
            logs=folder,
            choice=task.choice,
            seed=task.seed,
            at_once=task.at_once,
        )
        return inspect_bridge.run(plan, results, test)
