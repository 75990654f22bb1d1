"""The verifier: logistic regression of 'the cached answer is right' on features, fitted in numpy."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CLIP = 6.0  # standard deviations


class Verifier:
    """log-odds(right) = b + w·φ(row): φ standardises, clips at six deviations, and adds squares and products of the
    first `crossed` features. Newton's method, ridge `ridge` on all but b. Rows are (features,) or (n, features).
    """

    def __init__(self, crossed: int = 8, ridge: float = 3.0) -> None:
        self.crossed, self.ridge = crossed, ridge
        self.mean: Array | None = None
        self.scale: Array | None = None
        self.weights: Array | None = None

    def expand(self, rows: Array) -> Array:
        """φ with a leading 1: (n, terms)."""
        import numpy as np

        assert self.mean is not None and self.scale is not None
        z = np.clip((rows - self.mean) / self.scale, -CLIP, CLIP)
        front = z[:, : self.crossed]
        left, right = pairs(front.shape[1])
        one = np.ones((len(z), 1), dtype=np.float32)
        return np.concatenate([one, z, front[:, left] * front[:, right]], axis=1).astype(np.float32)

    def fit(self, rows: Array, right: Array, weights: Array | None = None, steps: int = 5) -> None:
        """Fit to rows (n, features) and right (n,) of 0 and 1; starts from the last fit."""
        import numpy as np

        w = np.ones(len(rows)) if weights is None else weights
        self.mean = rows.mean(0)
        self.scale = rows.std(0) + 1e-6
        terms = self.expand(rows)
        beta = self.weights if self.weights is not None else np.zeros(terms.shape[1])
        self.weights = newton(terms, right, w, beta, self.ridge, steps)

    def held_out(self, rows: Array, right: Array, folds: int = 3) -> Array:
        """Log-odds (n,) of each row by a fit to the other folds."""
        import numpy as np

        fold, scores = np.arange(len(rows)) % folds, np.zeros(len(rows))
        for k in range(folds):
            part = Verifier(self.crossed, self.ridge)
            part.weights = self.weights
            part.fit(rows[fold != k], right[fold != k], steps=2)
            scores[fold == k] = part.score(rows[fold == k])
        return scores

    def score(self, rows: Array) -> Array:
        """Log-odds that the answer is right, (n,)."""
        assert self.weights is not None
        found: Array = self.expand(rows) @ self.weights
        return found


@lru_cache(maxsize=8)
def pairs(n: int) -> tuple[Array, Array]:
    """All i <= j below n."""
    import numpy as np

    left, right = np.triu_indices(n)
    return left, right


def newton(terms: Array, right: Array, weights: Array, start: Array, ridge: float, steps: int) -> Array:
    """Minimise Σ w·logloss + ½·ridge·|β without its first|². A step that makes it worse is halved."""
    import numpy as np

    penalty = np.full(terms.shape[1], ridge)
    penalty[0] = 1e-6

    def loss(at: Array) -> float:
        s = terms @ at
        return float(weights @ (np.logaddexp(0, s) - right * s) + 0.5 * (penalty * at * at).sum())

    beta = start
    least = loss(beta)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(terms @ beta, -30, 30)))
        slope = terms.T @ (weights * (p - right)) + penalty * beta
        bend = (terms.T @ ((weights * p * (1 - p)).astype(terms.dtype)[:, None] * terms)).astype(np.float64)
        bend[np.diag_indices_from(bend)] += penalty + 1e-9
        step, size = np.linalg.solve(bend, slope), 1.0
        while loss(beta - size * step) > least and size > 1e-3:
            size /= 2
        beta = beta - size * step
        now = loss(beta)
        if least - now < 3e-4 * max(1.0, least):
            break
        least = now
    return beta
