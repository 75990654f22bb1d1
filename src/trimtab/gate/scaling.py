"""Scaling: how far an imperfect judge shrinks a true difference, from its calibration; the margin shrinks with it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trimtab.errors import ConfigError
from trimtab.evals.calibration import Accuracy, Calibration
from trimtab.evals.suite import Suite
from trimtab.gate.criteria import Criteria
from trimtab.stats.judged import SHARE, Labels, youden_low


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
    """A lower bound on sensitivity + specificity − 1, for '' and each protected slice; {} for a judge that is never
    wrong by its nature. The bound takes the share of alpha that `stats.judged.split` leaves it.

    ConfigError: a grading model without a calibration, one of another judge's version, or a judge that may be no
    better than chance.
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
    found = {"": _shrink("", calibration.overall, criteria.alpha)}
    for name in dict.fromkeys((*suite.protected, *criteria.slices)):
        found[name] = _shrink(name, calibration.of_slice(name), criteria.alpha)
    return found


def _shrink(name: str, accuracy: Accuracy, alpha: float) -> float:
    right = Labels(accuracy.sensitivity.good, accuracy.sensitivity.n)
    wrong = Labels(accuracy.specificity.good, accuracy.specificity.n)
    shrink = youden_low(right, wrong, SHARE * alpha)
    if shrink <= 0:
        where = f" in the slice '{name}'" if name else ""
        raise ConfigError(
            f"the judge cannot be used{where}: {right.hits} of {right.n} right and {wrong.hits} of {wrong.n} wrong "
            "answers judged as they are may be chance: label more, or take a better judge"
        )
    return shrink
