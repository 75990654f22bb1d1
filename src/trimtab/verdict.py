"""Verdict: what a gate says of a candidate, with the counts it can be recomputed from. Knows no statistics."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from trimtab.deployment import Deployment
from trimtab.errors import ConfigError


class Decision(enum.StrEnum):
    """Inconclusive never promotes. `UNCERTIFIED` is said of a slice alone: too few clusters to say anything."""

    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"
    UNCERTIFIED = "uncertified"


class Margin(msgspec.Struct, frozen=True):
    """The loss accepted on a metric: the non-inferiority margin, in the metric's own unit, in (0, 1)."""

    value: float

    def __post_init__(self) -> None:
        if not 0 < self.value < 1:
            raise ConfigError(f"a margin of {self.value:g} is outside (0, 1): 0.02 means two points")


class Criterion(msgspec.Struct, frozen=True):
    """A guardrail metric, the margin on it, and the error rate `alpha` at which it is tested."""

    metric: str
    margin: Margin
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ConfigError(f"an alpha of {self.alpha:g} is outside (0, 1): 0.05 is wrong once in twenty times")


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One criterion's outcome: `difference` = candidate − baseline with its confidence interval [`low`, `high`],
    over `n` clusters, at `power`. `slice` is empty for all clusters together.

    What it can be recomputed from: `test` names the rule, `counts` its parameters and counts, `path` the values it was
    fed in their order as (value, how often in a row); `digest` is the SHA-256 of the wealth after each of them.
    """

    decision: Decision
    criterion: Criterion
    difference: float
    low: float
    high: float
    n: int
    power: float | None = None
    counts: dict[str, float] = {}
    reason: str = ""
    slice: str = ""
    test: str = ""
    path: tuple[tuple[float, int], ...] = ()
    digest: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole of a gate's run: all findings, and what exactly was compared on what.

    `baseline` and `candidate` are fingerprints (`fingerprint` below), `suite` the digest of its items, `order` that of
    the clusters in the order they were fed, `judge` the version of what scored them, `prompts` the digests of the
    suite's system prompts, `models` what the servers of "baseline" and "candidate" said of their models. `n` is the
    number of clusters fed. `halt` says why a run was stopped from outside its tests (the baseline changed, say); empty
    when it was not. `facts` are figures beside the tests.
    """

    decision: Decision
    findings: tuple[Finding, ...]
    baseline: str
    candidate: str
    suite: str
    order: str
    seed: int
    n: int
    reason: str = ""
    halt: str = ""
    judge: str = ""
    prompts: tuple[str, ...] = ()
    models: dict[str, str] = {}
    made_at: str = ""
    names: dict[str, str] = {}
    facts: dict[str, float] = {}


def conclude(findings: Iterable[Finding], halt: str = "") -> tuple[Decision, str]:
    """The conjunction: one rejection rejects, all promotions promote, anything else is inconclusive; with the reason.
    A run that was halted is inconclusive whatever its findings.

    Each finding is tested at its own alpha and needs no correction (intersection-union test: Berger 1982): the
    candidate is promoted falsely only if a criterion that it truly fails is passed.
    """
    findings = list(findings)
    if halt:
        return Decision.INCONCLUSIVE, halt
    for decision in (Decision.REJECT, Decision.INCONCLUSIVE, Decision.UNCERTIFIED):
        found = [finding for finding in findings if finding.decision is decision]
        if found:
            return (decision if decision is Decision.REJECT else Decision.INCONCLUSIVE), _reason(found)
    if not findings:
        return Decision.INCONCLUSIVE, "nothing was tested"
    return Decision.PROMOTE, f"all of {len(findings)} criteria passed" if len(findings) > 1 else "the criterion passed"


def _reason(findings: list[Finding]) -> str:
    return "; ".join(f"{title(finding)}: {finding.reason or finding.decision}" for finding in findings)


def title(finding: Finding) -> str:
    """`quality`, or `quality of 'refund'` for a slice."""
    return finding.criterion.metric + (f" of '{finding.slice}'" if finding.slice else "")


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: keys sorted, defaults left out where the type says so."""
    return msgspec.json.encode(value, order="sorted")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def fingerprint(deployment: Deployment, prompt: str = "") -> str:
    """What a Deployment is, whatever its name: endpoints, steps with their artefacts, routes, split; with the hash of
    the `prompt` that takes the place of each request's own (empty: none does)."""
    return digest([msgspec.structs.replace(deployment, name=""), prompt_digest(prompt)])


def prompt_digest(prompt: str) -> str:
    """SHA-256 of a prompt's text; empty for none."""
    return hashlib.sha256(prompt.encode()).hexdigest() if prompt else ""
