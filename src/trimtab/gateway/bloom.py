"""A Bloom filter that grows: whether a number was surely never added. Says so wrongly never, the opposite seldom.

B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13 (1970).
"""

from __future__ import annotations

# With 16 bits an element and 4 of them set, about 1 stranger in 400 is taken for one that was added.
_BITS_EACH = 16
_PROBES = 4
_FIRST_BYTES = 1 << 17
# Beyond some ten million elements it grows no more, and more and more strangers are taken for known ones.
_MOST_BYTES = 1 << 24


class Bloom:
    """Of 64-bit hashes. `add` is for one thread at a time."""

    def __init__(self, first_bytes: int = _FIRST_BYTES) -> None:
        self._parts = [bytearray(first_bytes)]
        self._room = first_bytes * 8 // _BITS_EACH

    def add(self, number: int) -> None:
        last = self._parts[-1]
        if self._room == 0 and len(last) < _MOST_BYTES:
            last = bytearray(2 * len(last))
            self._parts.append(last)
            self._room = len(last) * 8 // _BITS_EACH
        self._room -= self._room > 0
        mask, step = len(last) * 8 - 1, number >> 32 | 1
        for _ in range(_PROBES):
            number += step
            last[(number & mask) >> 3] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        return any(_holds(part, number) for part in self._parts)


def _holds(part: bytearray, number: int) -> bool:
    mask, step = len(part) * 8 - 1, number >> 32 | 1
    for _ in range(_PROBES):
        number += step
        if not part[(number & mask) >> 3] & 1 << (number & 7):
            return False
    return True
