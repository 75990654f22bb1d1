"""Wealth: the e-process under every sequential test here, a bet against 'the mean is at most `null`'.

Numbers in, numbers out: it knows neither gates nor what the scores are scores of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trimtab.errors import require

# A score, a wealth, a flag: a float, or with `runs` an array of shape (runs,), one entry for each simulated run.
Number = Any

LEANS = (0.5, 0.75, 1.0, 1.5, 2.0)
FIXED = tuple(2.0**-k for k in range(9))
PRIOR = 0.15  # second moment of a score before any was seen
PRIOR_WORTH = 40.0  # scores that the prior counts as
STAKE = 0.95  # the most of the wealth that one score can take
CEILING = 1e300  # wealth is cut here: less than one has is still an e-process


class Wealth:
    """The wealth of one who bets, score by score, that E[x] lies above `null`; `value` starts at 1.

    W_t = mean over the bets b of Π_{i≤t} (1 + λ_{b,i} (x_i − null)), with x in [−1, 1]. Each λ depends on earlier
    scores only and 0 <= λ < 1/(1 + null), so no factor is negative, and as long as E[x_i | past] <= null no factor
    raises the mean: W is a nonnegative supermartingale, and P(W ever reaches 1/α) <= α (Ville's inequality), however
    often anybody looks, whatever the distribution.
    Adaptive bets (`shift` given): λ = min(μ·shift/(v + shift²), .95/(1 + null)) for μ in .5, .75, 1, 1.5, 2, where v is
    the mean of earlier x², begun with .15 worth 40 scores. At E[x] = null + shift the bet of greatest growth has μ = 1
    (Kelly 1956); the mixture stands for a shift and a v that are not known.
    Fixed bets (no shift): λ = .95·2^−k/(1 + null), k = 0 to 8.
    I. Waudby-Smith, A. Ramdas (2024), "Estimating means of bounded random variables by betting", JRSS B 86:1-27.
    """

    def __init__(self, null: float, shift: float | None, runs: int | None = None) -> None:
        self.null, self.shift = null, shift
        self._squares: Number = 0.0
        self._n = 0
        self._most = STAKE / (1 + null)
        self._least: Callable[[Number, Number], Number] = min
        one: Number = 1.0
        if runs is not None:
            require("gate", "numpy")
            import numpy as np

            self._least, one = np.minimum, np.ones(runs)
        self._leans = LEANS if shift is not None else FIXED
        self._wealths: list[Number] = [one] * len(self._leans)

    @property
    def value(self) -> Number:
        return sum(self._wealths) / len(self._wealths)

    def feed(self, x: Number) -> None:
        """Bet on one score (or on one for each run), in [−1, 1]: the caller has looked."""
        shift, excess, unit = self.shift, x - self.null, self._most
        if shift is not None:
            moment = (PRIOR * PRIOR_WORTH + self._squares) / (PRIOR_WORTH + self._n)
            unit = shift / (moment + shift * shift)
            self._squares = self._squares + x * x
        for at, lean in enumerate(self._leans):
            bet = self._least(lean * unit, self._most)
            self._wealths[at] = self._least(self._wealths[at] * (1 + bet * excess), CEILING)
        self._n += 1


def low_end(scores: Sequence[float], shift: float | None, error: float) -> float:
    """The lower end of the anytime-valid confidence sequence for E[x]: the greatest m in [−1, 1] which Wealth against
    'E[x] <= m' (with the same `shift`) has refuted at level `error` at any time so far; −1 where it has refuted none.

    Every factor falls as m grows: λ(x − m) does where λ is free of m, and (x − m)/(1 + m) does since x >= −1. So the
    refuted m are an interval from −1 up, which bisection finds.
    """
    require("gate", "numpy")
    import numpy as np

    x = np.asarray(scores, dtype=float)
    if not len(x):
        return -1.0
    fixed, free = np.array(FIXED)[:, None] * STAKE, None
    if shift is not None:
        n = np.arange(len(x))
        moment = (PRIOR * PRIOR_WORTH + np.cumsum(x * x) - x * x) / (PRIOR_WORTH + n)
        free = np.array(LEANS)[:, None] * shift / (moment + shift * shift)

    def refuted(m: float) -> bool:
        bets = fixed / (1 + m) if free is None else np.minimum(free, STAKE / (1 + m))
        logs = np.cumsum(np.log1p(bets * (x - m)), axis=1)
        top = logs.max(axis=0)
        wealth = top + np.log(np.exp(logs - top).mean(axis=0))
        return bool(wealth.max() >= np.log(1 / error))

    low, high = -1.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
