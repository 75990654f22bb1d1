"""A learned metric: how likely a question is one of a group's, given how verified groups spread.

Probabilistic linear discriminant analysis. It knows vectors and group numbers, no words and no answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GROWTH = 1.25  # learn anew when the verified members have grown by this factor
KEPT = 128  # directions, those that tell groups apart best
FEWEST = 60  # members of groups of two and more, less the groups, before anything is learned


class Metric:
    """Questions of one group are N(centre, I) and centres are N(0, ψ), in coordinates learned from verified groups.

    S. Ioffe (2006), "Probabilistic linear discriminant analysis", ECCV. The spread within groups is shrunk to a sphere
    by `dims`/(`dims` + degrees of freedom), so that few labels give a metric close to the cosine's.
    """

    def __init__(self, dims: int) -> None:
        import numpy as np

        self.dims = dims
        self.members: list[int] = []
        self.sums: Array = np.zeros((64, dims), dtype=np.float32)
        self.means: Array = np.zeros((64, 0), dtype=np.float32)
        self.scatter: Array = np.zeros((dims, dims))
        self._waiting: list[Array] = []
        self.learned = 0.0
        self.axes: Array | None = None  # (dims, kept)
        self.middle: Array = np.zeros(dims, dtype=np.float32)
        self.spread: Array = np.zeros(0, dtype=np.float32)

    def add(self, slot: int, vector: Array) -> None:
        """One more question, of the group in this slot; slots count up from 0."""
        import numpy as np

        while slot >= len(self.members):
            self.members.append(0)
        if slot >= len(self.sums):
            more = max(64, slot)
            self.sums = np.concatenate([self.sums, np.zeros((more, self.dims), np.float32)])
            self.means = np.concatenate([self.means, np.zeros((more, self.means.shape[1]), np.float32)])
        self.members[slot] += 1
        self.sums[slot] += vector
        self._waiting.append(vector)
        if len(self._waiting) >= 256:
            self.gather()
        if self.axes is not None:
            self.means[slot] = self.project(self.sums[slot] / self.members[slot])

    def merge(self, into: int, slot: int) -> None:
        """Two groups were found to have one answer."""
        self.members[into] += self.members[slot]
        self.sums[into] += self.sums[slot]
        self.members[slot] = 0
        self.sums[slot] = 0
        if self.axes is not None:
            self.means[into] = self.project(self.sums[into] / self.members[into])

    def project(self, vector: Array) -> Array:
        """`vector` (dims,) in the learned coordinates (kept,)."""
        assert self.axes is not None
        return (vector - self.middle) @ self.axes

    def ratios(self, vector: Array, slots: list[int]) -> list[float]:
        """For each group (log p(vector | it) − log p(vector | a new one))/10; zeros while untrained."""
        import numpy as np

        if self.axes is None:
            return [0.0] * len(slots)
        z = self.project(vector)
        n = np.array([self.members[slot] for slot in slots], dtype=np.float32)[:, None]
        known = n * self.spread
        wide = 1 + self.spread / (known + 1)
        away = z - known / (known + 1) * self.means[slots]
        new = 1 + self.spread
        alone = np.log(new) + z * z / new
        found: list[float] = (0.5 * (alone - np.log(wide) - away * away / wide).sum(1) / 10).tolist()
        return found

    def fit(self) -> None:
        """Learn the coordinates from all questions so far. About dims³ operations: call it seldom."""
        import numpy as np

        self.gather()
        n = np.array(self.members, dtype=np.float64)
        live = np.flatnonzero(n)
        n, sums = n[live], self.sums[live].astype(np.float64)
        freedom = n.sum() - len(live)
        if freedom < max(FEWEST, GROWTH * self.learned) or (n > 1).sum() < 5:
            return
        self.learned = freedom
        means = sums / n[:, None]
        within = (self.scatter - (means * n[:, None]).T @ means) / freedom
        share = self.dims / (self.dims + freedom)
        within = (1 - share) * within + share * np.trace(within) / self.dims * np.eye(self.dims)
        white = np.linalg.inv(np.linalg.cholesky(within + 1e-9 * np.eye(self.dims))).T
        # Centres of large groups are known better: each counts by how much of it is not noise.
        weight = n / (n + 1)
        middle = weight @ means / weight.sum()
        centres = (means - middle) @ white
        between = (centres * weight[:, None]).T @ centres / weight.sum() - np.eye(self.dims) * (
            (weight / n).sum() / weight.sum()
        )
        values, vectors = np.linalg.eigh(between.astype(np.float32))
        best = np.argsort(-values)[:KEPT]
        self.axes = (white @ vectors[:, best]).astype(np.float32)
        self.spread = np.maximum(values[best], 0.01).astype(np.float32)
        self.middle = middle.astype(np.float32)
        self.means = np.zeros((len(self.sums), len(best)), dtype=np.float32)
        self.means[live] = (means.astype(np.float32) - self.middle) @ self.axes

    def gather(self) -> None:
        """Take in the questions that wait, in one product."""
        import numpy as np

        if self._waiting:
            rows = np.array(self._waiting, dtype=np.float64)
            self.scatter += rows.T @ rows
            self._waiting.clear()
