"""Portfolio: rules across runs: which of the levers in flight may ship together, and when a suite is worn out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trimtab.errors import ConfigError
from trimtab.gate import recompute
from trimtab.stats.multiple import e_bh
from trimtab.store.ledger import Entry
from trimtab.verdict import Decision, Verdict

# A rollout that has come to one of these is no longer in flight.
_ENDED = frozenset(("full", "rolled-back", "ended"))


class Flight(msgspec.Struct, frozen=True):
    """A candidate under way: its newest verdict, that entry's hash, its e-value, and whether it ships."""

    entry: str
    verdict: Verdict
    e_value: float
    ships: bool


def e_value(verdict: Verdict) -> float:
    """Evidence against 'at least one criterion is failed': the least of the criteria's. Whichever is truly failed, its
    own wealth has a mean of at most 1, and the least is no larger; 0 where nothing can be concluded."""
    if verdict.halt or verdict.decision is Decision.REJECT or not verdict.findings:
        return 0.0
    unfit = any(finding.decision is not Decision.PROMOTE for finding in verdict.findings)
    return 0.0 if unfit else min(finding.counts.get("wealth", 0.0) for finding in verdict.findings)


def in_flight(entries: Sequence[Entry]) -> list[tuple[Entry, Verdict]]:
    """The newest verdict on each candidate whose rollout has not ended, oldest first."""
    newest: dict[str, tuple[Entry, Verdict]] = {}
    candidates: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "verdict":
            verdict = recompute.verdict_of(entry)
            newest.pop(verdict.candidate, None)
            newest[verdict.candidate] = (entry, verdict)
            # A step of a rollout names the verdict that it went by, or shares the rollout's name with one.
            candidates |= {entry.hash: verdict.candidate, verdict.names.get("rollout", entry.hash): verdict.candidate}
        elif entry.kind == "rollout" and entry.body.get("stage") in _ENDED:
            for name in ("verdict", "rollout"):
                newest.pop(candidates.get(str(entry.body.get(name)), ""), None)
    return list(newest.values())


def ships(entries: Sequence[Entry], level: float = 0.1) -> list[Flight]:
    """All candidates in flight, and which of them ship so that of those at most the share `level` is wrong in the mean
    (e-BH: Wang and Ramdas 2022). All that were tested count, also those that failed: leaving them out would undo it."""
    held = in_flight(entries)
    values = [e_value(verdict) for _, verdict in held]
    chosen = set(e_bh(values, level))
    return [
        Flight(entry.hash, verdict, value, place in chosen)
        for place, ((entry, verdict), value) in enumerate(zip(held, values, strict=True))
    ]


def uses(entries: Sequence[Entry], suite: str) -> int:
    """How many verdicts were taken on the suite of that digest."""
    return sum(entry.kind == "verdict" and entry.body.get("suite") == suite for entry in entries)


def check_suite(entries: Sequence[Entry], suite: str, most: int) -> None:
    """ConfigError for a suite that has served its time, or on which something was developed."""
    if (count := uses(entries, suite)) >= most:
        raise ConfigError(
            f"this suite has been a gate {count} times, and {most} is the most: what passes it may by now only fit it. "
            "Draw fresh items (or raise 'uses' in the criteria)"
        )
    for entry in entries:
        if entry.kind == "estimate" and suite in entry.body.get("suites", ()):
            raise ConfigError(
                f"this suite was used in development (entry {entry.hash[:12]} of the ledger): gate on items that no "
                "lever has seen"
            )
