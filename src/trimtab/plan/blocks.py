"""How much of the prompts a cache of any size would have held: block reuse in one pass over the trace.

R. L. Mattson et al. (1970), "Evaluation techniques for storage hierarchies", IBM Systems Journal 9:78-117: under LRU a
block is found by every cache larger than its stack distance, the number of other blocks used since. Distances come from
a Fenwick tree over moments. Where ids are more than can be followed, only those whose hash lies below a bar are, and
distances are scaled up: C. Waldspurger et al. (2015), "Efficient MRC construction with SHARDS", FAST.
"""

from __future__ import annotations

from collections.abc import Iterable

from trimtab.plan.evidence import Clusters
from trimtab.plan.findings import Blocks, Figure, Reuse
from trimtab.stats.ratios import share

_MOST = 200_000
_ALL = 2**32
_MIX = 0x9E3779B97F4A7C15
_SIZES = [round(10 ** (step / 3)) for step in range(3, 25)]
_GROUPS = 64


class Stack:
    """The blocks of requests, fed in the order of time; ids are any whole numbers."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._bar = _ALL
        self._last: dict[int, int] = {}
        self._tree = [0] * 1025
        self._now = 0
        self._distances: dict[int, float] = {}
        self._groups = Clusters()
        self.requests = 0
        self._blocks = 0

    def add(self, ids: Iterable[int]) -> None:
        """One request's blocks, from the first on."""
        group = self.requests // 256 % _GROUPS  # runs of neighbours stay together
        self.requests += 1
        for each in ids:
            self._blocks += 1
            key = ((each * _MIX) & (2**64 - 1)) >> 32
            if key < self._bar:
                self._groups.add(group, float(self._touch(each)))

    def _touch(self, each: int) -> bool:
        if self._now + 1 >= len(self._tree):
            self._compact()
        before = self._last.get(each)
        self._now += 1
        if before is not None:
            distance = self._between(before)
            bucket = self._bucket(distance * _ALL / self._bar)
            self._distances[bucket] = self._distances.get(bucket, 0) + 1
            self._change(before, -1)
        self._last[each] = self._now
        self._change(self._now, 1)
        if len(self._last) > self._most:
            self._lower()
        return before is not None

    @staticmethod
    def _bucket(distance: float) -> int:
        """The smallest size of the curve whose cache finds it; one beyond the last for none."""
        for place, size in enumerate(_SIZES):
            if distance < size:
                return place
        return len(_SIZES)

    def _between(self, moment: int) -> int:
        """Blocks whose last use came after `moment`."""
        return len(self._last) - self._up_to(moment)

    def _up_to(self, moment: int) -> int:
        total, tree = 0, self._tree
        while moment:
            total += tree[moment]
            moment &= moment - 1
        return total

    def _change(self, moment: int, by: int) -> None:
        tree = self._tree
        size = len(tree)
        while moment < size:
            tree[moment] += by
            moment += moment & -moment

    def _compact(self) -> None:
        """Moments numbered anew, in a tree with as much room again."""
        ordered = sorted(self._last, key=self._last.__getitem__)
        self._last = {each: place for place, each in enumerate(ordered, 1)}
        self._now = len(ordered)
        self._tree = [0] * (2 * len(ordered) + 1025)
        for place in range(1, len(ordered) + 1):
            self._tree[place] += 1
            above = place + (place & -place)
            if above < len(self._tree):
                self._tree[above] += self._tree[place]
        for place in range(len(ordered) + 1, len(self._tree)):
            above = place + (place & -place)
            if above < len(self._tree):
                self._tree[above] += self._tree[place]

    def _lower(self) -> None:
        self._bar //= 2
        # What was counted at the higher rate counts for half.
        self._distances = {bucket: count / 2 for bucket, count in self._distances.items()}
        self._groups.scale(0.5)
        self._last = {each: at for each, at in self._last.items() if ((each * _MIX) & (2**64 - 1)) >> 32 < self._bar}
        self._compact()

    def measured(self, size: int) -> Blocks | None:
        """The curve, for blocks of `size` tokens; None where there was none."""
        told = share(self._groups.pairs())
        if told.value is None:
            return None
        hits = sum(self._distances.values())
        followed = hits / told.value if told.value else 0.0
        curve, found = [], 0.0
        for place, blocks in enumerate(_SIZES):
            found += self._distances.get(place, 0)
            curve.append(Reuse(blocks, found / followed if followed else 0.0))
            if found >= hits:
                break
        sampled = self._bar / _ALL
        method = "blocks whose id came before, of all; requests in 64 groups of neighbours as clusters, 95 %"
        return Blocks(
            requests=self.requests,
            blocks=self._blocks,
            distinct=round(len(self._last) / sampled),
            size=size,
            reused=Figure(
                value=told.value, low=told.low, high=told.high, n=self._blocks, unit_of_n="blocks", method=method
            ),
            curve=tuple(curve),
            sampled=sampled,
        )
