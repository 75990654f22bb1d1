"""Sequential tests that stay valid however often anyone looks: of a mean, of a claimed saving, of a rate.

They know no items and no judges. The order of the scores must have been fixed before the first was seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trimtab.errors import require
from trimtab.stats.intervals import Interval
from trimtab.stats.wealth import CEILING, Number, Wealth, low_end

State = dict[str, Any]


class Trial:
    """Two e-processes on one stream of scores in [−1, 1]: one would promote, one would reject; the first to reach
    1/α decides, and its decision stays. Neither spends the other's α.

    `runs`: feed arrays of shape (runs,) instead of floats, and read arrays; for simulations, needs numpy.
    """

    def __init__(self, promote: Wealth, reject: Wealth, alpha: float, runs: int | None) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha {alpha:g} is outside (0, 1)")
        self.alpha, self.runs, self.n = alpha, runs, 0
        self._promote, self._reject = promote, reject
        self._scores: list[float] = []
        self.promotes: Any = False
        self.rejects: Any = False
        if runs is not None:
            import numpy as np

            self.promotes, self.rejects = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)

    @property
    def wealth(self) -> Number:
        """Evidence for promotion, an e-value at every time: 1 at the start, decisive at 1/α."""
        return self._promote.value

    @property
    def harm_wealth(self) -> Number:
        """Evidence for rejection."""
        return self._reject.value

    def feed(self, x: Number) -> None:
        """One cluster's score (or an array, one for each run). ValueError: NaN, or outside [−1, 1]."""
        fits = -1 <= x <= 1 if self.runs is None else bool((abs(x) <= 1).all())
        if not fits:
            raise ValueError(f"a score of {x} is outside [-1, 1]: leave out what is missing, clip what is larger")
        if self.runs is None:
            x = float(x)
            self._scores.append(x)
        self._promote.feed(x)
        self._reject.feed(-x)
        self.n += 1
        needed = 1 / self.alpha
        if self.runs is None:
            if not (self.promotes or self.rejects):
                self.promotes = self.wealth >= needed
                self.rejects = not self.promotes and self.harm_wealth >= needed
        else:
            self.promotes |= (self.wealth >= needed) & ~self.rejects
            self.rejects |= (self.harm_wealth >= needed) & ~self.promotes

    def interval(self, confidence: float = 0.95) -> Interval:
        """A confidence sequence for E[x]: it holds E[x] at all times at once with this probability. Needs numpy.

        Each end inverts the process of its side, over every look so far, at half the error. So at confidence 1 − 2α the
        low end is above the promoting hypothesis exactly when that process has ever reached 1/α, and the high end
        below the rejecting one likewise: the picture and the decision cannot disagree.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence {confidence:g} is outside (0, 1)")
        if self.runs is not None:
            raise ValueError("an interval is of one run: feed floats, without `runs`")
        error = (1 - confidence) / 2
        low = low_end(self._scores, self._promote.shift, error)
        high = -low_end([-x for x in self._scores], self._reject.shift, error)
        # The ends can cross, with less than the stated error, where the mean drifts.
        return Interval(low, high) if low <= high else Interval((low + high) / 2, (low + high) / 2)

    def _replay(self, scores: Sequence[float]) -> None:
        for x in scores:
            self.feed(x)


class Process(Trial):
    """The gate's test of E[x], x = a cluster's mean of candidate − baseline in [−1, 1], against a margin M in (0, 1).

    Promotes by wealth against H0: E[x] <= −M; rejects by wealth against H0: E[x] >= `harm` (default −M/2). `harm` = 0
    stops a bad candidate sooner, but rejects one in five whose truth is −M/2. Formula and proof: stats.wealth.
    `margin` may be an array of shape (runs,) in simulations.
    """

    def __init__(self, margin: Number, alpha: float = 0.05, harm: float | None = None, runs: int | None = None) -> None:
        fits = (
            0 < margin < 1 if runs is None or isinstance(margin, float) else bool(((margin > 0) & (margin < 1)).all())
        )
        if not fits:
            raise ValueError(f"a margin of {margin} is outside (0, 1): 0.02 means two points")
        if runs is not None:
            require("gate", "numpy")
        self.margin: Number = margin
        self.harm: Number = -margin / 2 if harm is None else harm
        if harm is not None and not -1 < harm < 1:
            raise ValueError(f"a harm of {harm} is outside (-1, 1): -0.01 means one point worse")
        promote, reject = Wealth(-margin, margin, runs), Wealth(-self.harm, margin, runs)
        super().__init__(promote, reject, alpha, runs)

    def state(self) -> State:
        """What `resume` needs, as JSON can hold it."""
        return {"margin": self.margin, "alpha": self.alpha, "harm": self.harm, "scores": list(self._scores)}

    @classmethod
    def resume(cls, state: State) -> Process:
        """The process as it stood, to the last bit: the scores are fed again. KeyError, ValueError: not a state."""
        process = cls(state["margin"], state["alpha"], state["harm"])
        process._replay(state["scores"])
        return process


class Claim(Trial):
    """A claim without a margin, E[x] > 0, x in [−1, 1]: such as a saving s with x = ((1 − s)·baseline's cost −
    candidate's cost)/B clipped to [−1, 1] at a declared cap B.

    Promotes by wealth against H0: E[x] <= 0, rejects by wealth against H0: E[x] >= 0. The bets are fixed, nine from
    .95 down to .95/256, since the size of the effect is not known.
    """

    def __init__(self, alpha: float = 0.05, runs: int | None = None) -> None:
        super().__init__(Wealth(0.0, None, runs), Wealth(0.0, None, runs), alpha, runs)

    def state(self) -> State:
        """What `resume` needs, as JSON can hold it."""
        return {"alpha": self.alpha, "scores": list(self._scores)}

    @classmethod
    def resume(cls, state: State) -> Claim:
        """The claim as it stood, to the last bit. KeyError, ValueError: not a state."""
        claim = cls(state["alpha"])
        claim._replay(state["scores"])
        return claim


BETTER = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)  # odds of a miss, as shares of the limit's odds
WORSE = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


class Rate:
    """Is the rate of misses below `limit`? For SLOs: a request misses if it is too late.

    Promotes by wealth against H0: rate >= limit, rejects by wealth against H0: rate <= limit. Each is the mean of the
    likelihood ratios of a few rates r on its good side, Π (r/limit)^miss ((1 − r)/(1 − limit))^(1 − miss), which is a
    supermartingale at every rate of its hypothesis (Wald 1945; the mixture, Robbins 1970).
    `runs`: feed arrays of bools of shape (runs,).
    """

    def __init__(self, limit: float, alpha: float = 0.05, runs: int | None = None) -> None:
        if not 0 < limit < 1:
            raise ValueError(f"a limit of {limit:g} is outside (0, 1): 0.05 means one miss in twenty")
        if not 0 < alpha < 1:
            raise ValueError(f"alpha {alpha:g} is outside (0, 1)")
        self.limit, self.alpha, self.runs, self.n = limit, alpha, runs, 0
        self.misses: Number = 0
        self.promotes: Any = False
        self.rejects: Any = False
        self._least: Any = min
        one: Number = 1.0
        if runs is not None:
            require("gate", "numpy")
            import numpy as np

            self.promotes, self.rejects = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
            self._least, one = np.minimum, np.ones(runs)
        self._better: list[Number] = [one] * len(BETTER)
        self._worse: list[Number] = [one] * len(WORSE)

    @property
    def wealth(self) -> Number:
        """Evidence that the rate is below the limit: an e-value at every time."""
        return sum(self._better) / len(self._better)

    @property
    def harm_wealth(self) -> Number:
        """Evidence that it is above."""
        return sum(self._worse) / len(self._worse)

    def feed(self, missed: Any) -> None:
        """One request: did it miss? ValueError: neither 0 nor 1."""
        if self.runs is None and missed not in (0, 1):
            raise ValueError(f"missed is {missed!r}: need True or False")
        if self.runs is None:
            missed = int(missed)
        self.n += 1
        self.misses = self.misses + missed
        for odds, wealths in ((BETTER, self._better), (WORSE, self._worse)):
            for at, ratio in enumerate(odds):
                hit = 1 / (1 - self.limit + ratio * self.limit)  # (1 − r)/(1 − limit), r of odds ratio·limit's odds
                wealths[at] = self._least(wealths[at] * (hit + missed * (ratio - 1) * hit), CEILING)
        needed = 1 / self.alpha
        if self.runs is None:
            if not (self.promotes or self.rejects):
                self.promotes = self.wealth >= needed
                self.rejects = not self.promotes and self.harm_wealth >= needed
        else:
            self.promotes |= (self.wealth >= needed) & ~self.rejects
            self.rejects |= (self.harm_wealth >= needed) & ~self.promotes

    def interval(self, confidence: float = 0.95) -> Interval:
        """A confidence sequence for the rate: it holds the rate at all times at once with this probability.

        The p in [0, 1] for which the likelihood ratio of all rates, mixed evenly, stays below 1/(1 − confidence):
        B(k + 1, n − k + 1)/(p^k (1 − p)^(n − k)), k misses of n. H. Robbins (1970), "Statistical methods related to the
        law of the iterated logarithm", Annals of Mathematical Statistics 41:1397-1409.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence {confidence:g} is outside (0, 1)")
        if self.runs is not None:
            raise ValueError("an interval is of one run: feed single requests, without `runs`")
        n, k = self.n, int(self.misses)
        mixed = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2) + math.log(1 - confidence)

        def end(outer: float) -> float:
            """Where, between the share seen and 0 or 1, the likelihood falls to the mixed one by the factor."""
            inner = k / n if n else 0.5
            if _loglike(outer, k, n) > mixed:
                return outer
            for _ in range(60):
                middle = (inner + outer) / 2
                inner, outer = (middle, outer) if _loglike(middle, k, n) > mixed else (inner, middle)
            return outer

        return Interval(end(0.0), end(1.0))

    def state(self) -> State:
        """What `resume` needs, as JSON can hold it."""
        names = ("limit", "alpha", "n", "misses", "promotes", "rejects")
        wealths = {"better": list(self._better), "worse": list(self._worse)}
        return {name: getattr(self, name) for name in names} | wealths

    @classmethod
    def resume(cls, state: State) -> Rate:
        """The rate as it stood. KeyError, ValueError: not a state."""
        rate = cls(state["limit"], state["alpha"])
        if (len(state["better"]), len(state["worse"])) != (len(BETTER), len(WORSE)):
            raise ValueError("the state is of another version of the test: start it anew")
        rate.n, rate.misses, rate.promotes, rate.rejects = (state[k] for k in ("n", "misses", "promotes", "rejects"))
        rate._better, rate._worse = list(state["better"]), list(state["worse"])
        return rate


def _loglike(p: float, k: int, n: int) -> float:
    hits = k * math.log(p) if p > 0 else (-math.inf if k else 0.0)
    return hits + ((n - k) * math.log1p(-p) if p < 1 else (-math.inf if n > k else 0.0))
