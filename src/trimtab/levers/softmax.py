"""Multinomial logistic regression in plain numpy, fitted by L-BFGS. Knows no text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_HISTORY = 8
_ENOUGH = 1e-4  # of the loss: a step that gains less is the last


class Matrix(Protocol):
    """Rows of features, dense or sparse."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def dot(self, weights: Array) -> Array:
        """(n, features) times (features, classes)."""
        ...

    def back(self, slopes: Array) -> Array:
        """(features, n) times (n, classes)."""
        ...


class Dense:
    def __init__(self, rows: Array) -> None:
        self.rows = rows
        self.shape = (rows.shape[0], rows.shape[1])

    def dot(self, weights: Array) -> Array:
        found: Array = self.rows @ weights
        return found

    def back(self, slopes: Array) -> Array:
        found: Array = self.rows.T @ slopes
        return found


class Sparse:
    """Rows as (places, values), each row's places ascending; no row's sum depends on another."""

    def __init__(self, rows: list[tuple[Array, Array]], width: int) -> None:
        import numpy as np

        self.shape = (len(rows), width)
        self._row = np.repeat(np.arange(len(rows)), [len(places) for places, _ in rows])
        self._place = np.concatenate([places for places, _ in rows]) if rows else np.zeros(0, np.int64)
        self._value = np.concatenate([values for _, values in rows])[:, None] if rows else np.zeros((0, 1))
        self._by_place = np.argsort(self._place, kind="stable")

    def dot(self, weights: Array) -> Array:
        return _summed(weights[self._place] * self._value, self._row, self.shape[0])

    def back(self, slopes: Array) -> Array:
        order = self._by_place
        return _summed(slopes[self._row[order]] * self._value[order], self._place[order], self.shape[1])


def _summed(terms: Array, at: Array, size: int) -> Array:
    """Rows of `terms` summed by `at`, which ascends; (size, classes)."""
    import numpy as np

    total = np.zeros((size, terms.shape[1]), np.float32)
    if len(at):
        starts = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
        total[at[starts]] = np.add.reduceat(terms, starts, axis=0)
    return total


def probabilities(scores: Array) -> Array:
    """Softmax of each row."""
    import numpy as np

    powers = np.exp(scores - scores.max(1, keepdims=True))
    found: Array = powers / powers.sum(1, keepdims=True)
    return found


def fit(rows: Matrix, labels: Array, classes: int, ridge: float, steps: int = 60) -> Array:
    """(features + 1, classes), the last row the bias: minimises Σ logloss + ½·ridge·|weights without the bias|².

    L-BFGS with eight pairs and step halving: J. Nocedal (1980), "Updating quasi-Newton matrices with limited storage".
    """
    import numpy as np

    one_hot = np.eye(classes, dtype=np.float32)[labels]

    def loss(at: Array) -> tuple[float, Array]:
        chances = probabilities(rows.dot(at[:-1]) + at[-1])
        own = chances[np.arange(len(labels)), labels]
        slopes = chances - one_hot
        slope = np.vstack([rows.back(slopes) + ridge * at[:-1], slopes.sum(0, keepdims=True)])
        return float(-np.log(np.maximum(own, 1e-30)).sum() + 0.5 * ridge * (at[:-1] ** 2).sum()), slope

    at = np.zeros((rows.shape[1] + 1, classes), np.float32)
    least, slope = loss(at)
    pairs: list[tuple[Array, Array]] = []
    for _ in range(steps):
        way, size = _direction(slope, pairs), 1.0
        falls = float((slope * way).sum())
        now, next_slope = loss(at - way)
        while now > least - 1e-4 * size * falls and size > 1e-4:
            size /= 2
            now, next_slope = loss(at - size * way)
        if now >= least:
            break
        moved, bent = -size * way, next_slope - slope
        if float((moved * bent).sum()) > 1e-10:
            pairs = [*pairs[1 - _HISTORY :], (moved, bent)]
        at, slope = at + moved, next_slope
        if least - now < _ENOUGH * abs(least):
            break
        least = now
    return at


def _direction(slope: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """The two-loop recursion: the inverse of the curvature seen so far, times the slope."""
    way, kept = slope.copy(), []
    for moved, bent in reversed(pairs):
        share = (moved * way).sum() / (moved * bent).sum()
        way -= share * bent
        kept.append(share)
    if pairs:
        moved, bent = pairs[-1]
        way *= (moved * bent).sum() / (bent * bent).sum()
    else:
        way /= (slope * slope).sum() ** 0.5 + 1e-9
    for (moved, bent), share in zip(pairs, reversed(kept), strict=True):
        way += moved * (share - (bent * way).sum() / (moved * bent).sum())
    return way
