"""What an imperfect judge does to a margin: the true difference shrinks, so the margin must shrink with it."""

from __future__ import annotations

from typing import NamedTuple

from trimtab.stats.intervals import Interval

SHARE = 0.2  # of α, kept for the judge's calibration being unlucky


class Split(NamedTuple):
    """How α is shared: `alpha` for the test, `confidence` for each of the two intervals of the calibration."""

    alpha: float
    confidence: float


def split(alpha: float) -> Split:
    """α for the test on judged scores, and the confidence of the sensitivity's and the specificity's intervals, so
    that the two together promote a candidate at or below −M with probability at most `alpha`.

    The lower ends fail with probability SHARE·α/2 each; if neither does, the test errs with (1 − SHARE)·α.
    ValueError: alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha:g} is outside (0, 1)")
    return Split((1 - SHARE) * alpha, 1 - SHARE * alpha)


def scaled_margin(margin: float, sensitivity: float | Interval, specificity: float | Interval) -> float:
    """The margin in judged units, M·(sensitivity + specificity − 1), in (0, margin].

    A judge that calls a right answer right with probability `sensitivity` and a wrong one wrong with `specificity`
    turns a share p of right answers into p·(sens + spec − 1) + 1 − spec, so a difference D into D·(sens + spec − 1)
    (W. J. Youden 1950, Cancer 3:32-35; W. J. Rogan, B. Gladen 1978, Am. J. Epidemiology 107:71-76), provided it errs
    alike on the baseline's and on the candidate's answers. Of an interval the low end counts: a smaller margin is the
    stricter one, so uncertain calibration never helps a candidate. Take the intervals at `split(alpha).confidence`
    and test at `split(alpha).alpha`.
    ValueError: margin outside (0, 1), a rate outside [0, 1], or a judge that may be no better than chance.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of {margin:g} is outside (0, 1): 0.02 means two points")
    sens = sensitivity.low if isinstance(sensitivity, Interval) else sensitivity
    spec = specificity.low if isinstance(specificity, Interval) else specificity
    if not (0 <= sens <= 1 and 0 <= spec <= 1):
        raise ValueError(f"sensitivity {sens:g} or specificity {spec:g} is outside [0, 1]")
    shrink = sens + spec - 1
    if shrink <= 0:
        raise ValueError(
            f"sensitivity may be {sens:.3f} and specificity {spec:.3f}, no better than chance: label more items"
        )
    return margin * shrink
