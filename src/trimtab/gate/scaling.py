"""Scaling: how far an imperfect judge shrinks a true difference, from its calibration; the margin shrinks with it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trimtab.errors import ConfigError
from trimtab.evals.calibration import Accuracy, Calibration
from trimtab.evals.suite import Suite
from trimtab.gate.criteria import Criteria
from trimtab.stats.judged import scaled_margin, split


def read(path: Path) -> Calibration:
    """The calibration that `trimtab gate calibrate` wrote. ConfigError where it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"cannot read the calibration {path}: {error}; make one with `trimtab gate calibrate`"
        ) from error


def needs_calibration(suite: Suite) -> bool:
    """Whether a model grades any of the items: its word is an opinion with an error rate."""
    return any(suite.judge_of(item).kind == "model_graded" for item in suite.items)


def of(suite: Suite, judge: str, criteria: Criteria, calibration: Calibration | None) -> dict[str, float]:
    """Sensitivity + specificity − 1 at the lower ends of their intervals, for '' and each protected slice; {} for a
    judge that is never wrong by its nature.

    ConfigError: a grading model without a calibration, one of another judge's version or too low a confidence, or a
    judge that may be no better than chance.
    """
    if calibration is None:
        if needs_calibration(suite):
            raise ConfigError(
                "a model grades this suite: measure how often it is right with `trimtab gate calibrate`, and give the "
                "result with --calibration"
            )
        return {}
    if calibration.judge != judge:
        raise ConfigError(
            f"the calibration is of the judge '{calibration.judge}', the suite's is '{judge}': calibrate that one"
        )
    wanted = split(criteria.alpha).confidence
    if calibration.confidence < wanted - 1e-12:
        raise ConfigError(
            f"the calibration holds at {calibration.confidence:g}, alpha {criteria.alpha:g} needs {wanted:g}: "
            f"calibrate with --alpha {criteria.alpha:g}"
        )
    names = dict.fromkeys((*suite.protected, *criteria.slices))
    return {"": _shrink("", calibration.overall), **{name: _shrink(name, calibration.of_slice(name)) for name in names}}


def _shrink(name: str, accuracy: Accuracy) -> float:
    try:
        return scaled_margin(0.5, accuracy.sensitivity.interval, accuracy.specificity.interval) / 0.5
    except ValueError as error:
        where = f" in the slice '{name}'" if name else ""
        raise ConfigError(f"the judge cannot be used{where}: {error}") from error
