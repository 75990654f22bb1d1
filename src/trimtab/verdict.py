"""Verdict: what a gate says of a candidate, with the counts it can be recomputed from."""

from __future__ import annotations

import enum

import msgspec

from trimtab.errors import ConfigError


class Decision(enum.StrEnum):
    """Inconclusive never promotes."""

    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


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


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion's outcome: `difference` = candidate − baseline with its confidence interval [`low`, `high`],
    over `n` clusters, at `power`; `counts` are the numbers from which it can be recomputed."""

    decision: Decision
    criterion: Criterion
    difference: float
    low: float
    high: float
    n: int
    power: float | None = None
    counts: dict[str, float] = {}
