"""The index of one partition: numbers and unit vectors, searched by cosine. Knows no texts."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import require

if TYPE_CHECKING:
    import numpy as np

# Vectors; above, the scan costs more than the walk and pushes the encoder's weights out of the processor's cache.
EXACT = 16_384
FIRST = 64  # rows made at once for a fresh partition
ROUGH = 2048  # rows; below, one exact product is as quick
LEAST = 96  # that are near by 8 bits and then compared exactly: 64 missed none of the 20 nearest, 4,000 of them


class Index:
    """Exact scan up to `exact` vectors, a usearch graph (f16, https://arxiv.org/abs/1603.09320) above.

    Methods may be called from any thread. Vectors are [dims] float32 at unit length.
    """

    def __init__(self, dims: int, exact: int = EXACT) -> None:
        self.dims = dims
        self._exact = exact
        self._turn = threading.Lock()
        self._scan = _Scan(dims)
        self._graph: Any = None

    def __len__(self) -> int:
        return len(self._graph) if self._graph is not None else len(self._scan)

    def add(self, entry: int, vector: np.ndarray) -> None:
        """The vector of `entry`, in place of an earlier one."""
        import numpy as np

        self.extend([entry], np.asarray(vector, np.float32)[None])

    def extend(self, ids: Sequence[int], vectors: np.ndarray) -> None:
        """Many at once: [ids, dims]."""
        with self._turn:
            if self._graph is None:
                self._scan.extend(ids, vectors)
                if len(self._scan) > self._exact:
                    self._graph = Graph.of(self._scan)
                    self._scan = _Scan(self.dims)
            else:
                self._graph.extend(ids, vectors)

    def remove(self, entry: int) -> None:
        """Nothing happens if `entry` is not there."""
        with self._turn:
            (self._scan if self._graph is None else self._graph).remove(entry)

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        """The `k` nearest as (entry, cosine), best first; of equals the smaller number first."""
        with self._turn:
            found: list[tuple[int, float]] = (self._scan if self._graph is None else self._graph).search(vector, k)
        return found

    @property
    def is_graph(self) -> bool:
        return self._graph is not None

    def save(self, path: Path) -> None:
        """Write the graph. RuntimeError where there is none: a scan is made from the rows as fast as from a file."""
        with self._turn:
            if self._graph is None:
                raise RuntimeError("an index without a graph is not saved")
            self._graph.save(path)

    @classmethod
    def load(cls, path: Path, dims: int, exact: int = EXACT) -> Index:
        """The index saved at `path`. RuntimeError or ValueError where the file is no graph of `dims`."""
        index = cls(dims, exact)
        index._graph = Graph(dims)
        index._graph.load(path)
        return index


class _Scan:
    """Rows side by side; one product gives every cosine.

    Of many, first roughly in 8 bits, a row's largest number being 127, and then exactly for those that come out best:
    a quarter of the bytes, which would push the encoder's weights out of the processor's cache.
    """

    def __init__(self, dims: int) -> None:
        import numpy as np

        self._ids = np.zeros(FIRST, np.int64)
        self._rows = np.zeros((FIRST, dims), np.float32)
        self._codes = np.zeros((FIRST, dims), np.int8)
        self._scales = np.zeros(FIRST, np.float32)
        self._place: dict[int, int] = {}
        self._dot = _dot()

    def __len__(self) -> int:
        return len(self._place)

    def extend(self, ids: Sequence[int], vectors: np.ndarray) -> None:
        import numpy as np

        room = len(self._ids)
        while room < len(self._place) + len(ids):
            room *= 2
        if room > len(self._ids):
            self._ids, self._scales = np.resize(self._ids, room), np.resize(self._scales, room)
            self._rows, self._codes = _longer(self._rows, room), _longer(self._codes, room)
        codes, scales = _coded(np.asarray(vectors, np.float32))
        for entry, vector, code, scale in zip(ids, vectors, codes, scales, strict=True):
            place = self._place.setdefault(int(entry), len(self._place))
            self._ids[place], self._rows[place] = entry, vector
            self._codes[place], self._scales[place] = code, scale

    def remove(self, entry: int) -> None:
        """The last row takes the place of the one that goes."""
        place = self._place.pop(entry, None)
        if place is None:
            return
        last = len(self._place)
        if place != last:
            for its in (self._ids, self._rows, self._codes, self._scales):
                its[place] = its[last]
            self._place[int(self._ids[place])] = place

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        import numpy as np

        count = len(self._place)
        if not count or k < 1:
            return []
        asked = np.asarray(vector, np.float32)
        near = self._roughly(asked, max(4 * k, LEAST)) if self._dot and count > ROUGH else np.arange(count)
        cosines = self._rows[near] @ asked if len(near) < count else self._rows[:count] @ asked
        best = np.argpartition(-cosines, k - 1)[:k] if k < len(near) else np.arange(len(near))
        best = best[np.lexsort((self._ids[near[best]], -cosines[best]))]
        return [(int(self._ids[near[place]]), float(cosines[place])) for place in best]

    def _roughly(self, asked: np.ndarray, most: int) -> np.ndarray:
        """Places of those that are `most` near by their codes."""
        import numpy as np

        count = len(self._place)
        codes, _ = _coded(asked[None])
        found = np.asarray(self._dot(codes, self._codes[:count], "dot"), np.float32)[0] * self._scales[:count]
        return np.argpartition(-found, most - 1)[:most] if most < count else np.arange(count)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        count = len(self._place)
        return self._ids[:count].copy(), self._rows[:count].copy()


def _coded(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in 8 bits, and what one unit of each stands for."""
    import numpy as np

    scales = np.maximum(np.abs(vectors).max(axis=1, initial=0.0) / 127, np.float32(1e-12)).astype(np.float32)
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales


def _longer(rows: np.ndarray, room: int) -> np.ndarray:
    import numpy as np

    longer = np.zeros((room, rows.shape[1]), rows.dtype)
    longer[: len(rows)] = rows
    return longer


def _dot() -> Any:
    """The products of rows of 8 bits, by the library below usearch; None where that is not there."""
    try:
        found: Any = importlib.import_module("numkong").cdist
    except (ImportError, AttributeError):
        return None
    return found


class Graph:
    """usearch's hierarchical graph with float16 vectors: half the room, and no answer changes place by it."""

    # Chosen on one million vectors: LOG.md, 2026-11-23.
    CONNECTIVITY = 16
    EXPANSION_ADD = 128
    EXPANSION_SEARCH = 384

    def __init__(self, dims: int) -> None:
        require("cache", "usearch")
        from usearch.index import Index as Usearch

        self._index: Any = Usearch(
            ndim=dims,
            metric="ip",
            dtype="f16",
            connectivity=self.CONNECTIVITY,
            expansion_add=self.EXPANSION_ADD,
            expansion_search=self.EXPANSION_SEARCH,
        )

    @classmethod
    def of(cls, scan: _Scan) -> Graph:
        ids, vectors = scan.arrays()
        graph = cls(vectors.shape[1])
        graph.extend(ids, vectors)
        return graph

    def __len__(self) -> int:
        return len(self._index)

    def extend(self, ids: Any, vectors: np.ndarray, threads: int = 1) -> None:
        """`threads` 0: as many as there are cores."""
        import numpy as np

        keys = np.asarray(ids, np.uint64)
        for key in keys[self._index.contains(keys)]:
            self._index.remove(int(key))
        self._index.add(keys, np.asarray(vectors, np.float16), threads=threads)

    def remove(self, entry: int) -> None:
        if self._index.contains(entry):
            self._index.remove(entry)

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        import numpy as np

        if not len(self._index) or k < 1:
            return []
        found = self._index.search(np.asarray(vector, np.float32), k, threads=1)
        pairs = zip(found.keys.tolist(), (1.0 - found.distances).tolist(), strict=True)
        return sorted(((int(entry), float(cosine)) for entry, cosine in pairs), key=lambda pair: (-pair[1], pair[0]))

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path) -> None:
        dims = self._index.ndim
        self._index.load(str(path))
        if self._index.ndim != dims:
            raise ValueError(f"{path} holds vectors of {self._index.ndim} numbers, not {dims}")
