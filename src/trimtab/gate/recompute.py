"""Recompute: whether a verdict in the ledger follows from the counts that stand beside it."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.gate import bets, fixed
from trimtab.store.ledger import Entry
from trimtab.verdict import Finding, Verdict, conclude, title

# Sums may come out otherwise in the last digits on another processor.
_CLOSE = 1e-6


def verdict_of(entry: Entry) -> Verdict:
    """The verdict that an entry of that kind holds. FormatError where it holds none."""
    try:
        return msgspec.convert(entry.body, Verdict)
    except msgspec.ValidationError as error:
        raise FormatError(f"entry {entry.number} of the ledger holds no verdict: {error}") from error


def check(verdict: Verdict) -> list[str]:
    """What of the verdict does not follow from its counts: empty where all of it does."""
    wrong = [f"{title(finding)}: {fault}" for finding in verdict.findings for fault in _faults(finding)]
    decision, reason = conclude(verdict.findings, verdict.halt)
    if (decision, reason) != (verdict.decision, verdict.reason):
        wrong.append(f"the findings come to '{decision}', the verdict says '{verdict.decision}'")
    return wrong


def _faults(finding: Finding) -> list[str]:
    try:
        computed = fixed.again(finding) if finding.test == fixed.TEST else bets.again(finding)
    except FormatError as error:
        return [str(error)]
    before, after = msgspec.structs.asdict(finding), msgspec.structs.asdict(computed)
    return [
        f"{name} is {before[name]!r:.60}, not {after[name]!r:.60}"
        for name in before
        if not _same(before[name], after[name])
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)
