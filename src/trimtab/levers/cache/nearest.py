"""Nearest: an index for each partition, kept in step with the rows that any process adds. Knows no questions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.levers.cache import snapshot
from trimtab.levers.cache.index import Index
from trimtab.levers.cache.tables import Tables

if TYPE_CHECKING:
    import numpy as np

FRESH = 0.5  # seconds after which a lookup asks for new rows
AT_ONCE = 4096
LAST = (1 << 63) - 1


class Nearest:
    """Vectors of one encoder's version; of any other nothing is read."""

    def __init__(self, tables: Tables, folder: Path, encoder: str, dims: int) -> None:
        self._tables = tables
        self._folder = folder
        self._encoder = encoder
        self._dims = dims
        self._turn = threading.Lock()
        self._asked = -FRESH
        self._indexes, saved = snapshot.load(folder, encoder, dims)
        # Of the partitions in the snapshot only what came after it; of the others all.
        self._seen, known = 0, tuple(self._indexes)
        while self._take(saved, known) == AT_ONCE:
            pass
        self._seen = max(self._seen, saved)
        self.refresh(now=True)

    def pack(self, vector: np.ndarray) -> bytes:
        """As it is stored; ValueError for a vector that is not of this encoder's width."""
        import numpy as np

        if np.shape(vector) != (self._dims,):
            raise ValueError(f"a vector of shape {np.shape(vector)} where the encoder gives {self._dims}")
        return np.asarray(vector, "<f2").tobytes()

    def refresh(self, now: bool = False) -> None:
        """Take in the rows added since, by whichever process; at most every FRESH seconds unless `now`."""
        with self._turn:
            if not now and time.monotonic() - self._asked < FRESH:
                return
            while self._take() == AT_ONCE:
                pass
            self._asked = time.monotonic()

    def _take(self, until: int = LAST, known: tuple[int, ...] = ()) -> int:
        """Rows from the last one seen to `until`, but of the partitions `known`; how many they were."""
        import numpy as np

        with self._tables.read() as run:
            rows = run.execute(
                "SELECT id, entry, partition, vector FROM vectors WHERE encoder = ? AND id > ? AND id <= ?"
                f" AND partition NOT IN ({','.join('?' * len(known))}) ORDER BY id LIMIT ?",
                (self._encoder, self._seen, until, *known, AT_ONCE),
            ).fetchall()
        by_partition: dict[int, list[tuple[int, bytes]]] = {}
        for row, entry, partition, vector in rows:
            self._seen = row
            if len(vector) == 2 * self._dims:
                by_partition.setdefault(partition, []).append((entry, vector))
        for partition, some in by_partition.items():
            vectors = np.frombuffer(b"".join(vector for _, vector in some), "<f2").astype(np.float32)
            index = self._indexes.setdefault(partition, Index(self._dims))
            index.extend([entry for entry, _ in some], vectors.reshape(len(some), self._dims))
        return len(rows)

    def search(self, partition: int, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        index = self._indexes.get(partition)
        return index.search(vector, k) if index is not None else []

    def drop(self, partition: int, entries: Iterable[int]) -> None:
        if (index := self._indexes.get(partition)) is not None:
            for entry in entries:
                index.remove(entry)

    def save(self) -> None:
        with self._turn:
            snapshot.save(self._folder, self._encoder, self._indexes, self._seen)
