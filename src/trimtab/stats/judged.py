"""What an imperfect judge does to a margin: the true difference shrinks, so the margin must shrink with it."""

from __future__ import annotations

import math
from typing import NamedTuple

from trimtab.stats.intervals import Interval, exact_low

SHARE = 0.2  # of α, kept for the judge's calibration being unlucky
STEPS = 64  # ways to divide a bound's error between sensitivity and specificity that are tried


class Labels(NamedTuple):
    """Of `n` labelled answers of one kind, all right or all wrong, the judge told `hits` as they are."""

    hits: int
    n: int


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
    (W. J. Youden 1950, Cancer 3:32-35; W. J. Rogan, B. Gladen 1978, Am. J. Epidemiology 107:71-76). That holds if its
    rates are the same on the baseline's and on the candidate's answers, and no worse where the two differ: calibrate
    on answers of both, and slice by slice. Of an interval the low end counts: a smaller margin is the stricter one, so
    uncertain calibration never helps a candidate. Take the intervals at `split(alpha).confidence` and test at
    `split(alpha).alpha`.
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


def calibrated_margin(margin: float, right: Labels, wrong: Labels, alpha: float = 0.05) -> float:
    """`scaled_margin` straight from the labelled counts, by one bound on the sum: wider than from two intervals.

    Test at `split(alpha).alpha`; the bound takes the rest of α.
    ValueError: as `scaled_margin`, or counts that cannot be.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of {margin:g} is outside (0, 1): 0.02 means two points")
    shrink = youden_low(right, wrong, SHARE * alpha)
    if shrink <= 0:
        raise ValueError(
            f"{right.hits} of {right.n} right and {wrong.hits} of {wrong.n} wrong answers were judged as they are: "
            "it may be chance; label more items"
        )
    return margin * shrink


def youden_low(right: Labels, wrong: Labels, error: float) -> float:
    """A lower bound on sensitivity + specificity − 1 that fails with probability at most `error`, at any n.

    With p(s) and q(t) the exact binomial p values of 'sensitivity <= s' and 'specificity <= t', the pairs with
    p·q >= c, where c(1 − ln c) = `error`, are a confidence region (the product of two independent uniforms is below c
    with that probability: Fisher 1932); the bound is the least s + t − 1 on its edge. Two Clopper-Pearson ends are
    about half as far again from the estimate. ValueError: counts that cannot be, or an error outside (0, 1).
    """
    if not 0 < error < 1:
        raise ValueError(f"an error of {error:g} is outside (0, 1)")
    for hits, n in (right, wrong):
        if not 0 <= hits <= n:
            raise ValueError(f"{hits} of {n} labelled answers: need 0 <= hits <= n")
    low, high = math.log(error) - 50, 0.0  # of ln c
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(middle) * (1 - middle) < error else (low, middle)
    ends = [
        exact_low(*right, math.exp(low * step / STEPS)) + exact_low(*wrong, math.exp(low * (1 - step / STEPS)))
        for step in range(STEPS + 1)
    ]
    return min(ends) - 1
