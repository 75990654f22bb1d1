"""Which blocks of earlier prompts the engine's prefix cache still holds, by its own rules: an estimate, not its word.

The engine tells nobody how much of a prompt it found. It keeps whole blocks of tokens, keyed by all that precedes
them, and gives up the least recently used; this index does the same beside it.
"""

from __future__ import annotations

from collections import OrderedDict

BLOCK = 32  # tokens in one block of the CPU engine's cache
_WIDTH = BLOCK * 4  # the same in bytes of packed int32


class PrefixIndex:
    """The chain of blocks seen, bounded by the cache's own number of blocks."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._seen: OrderedDict[int, None] = OrderedDict()

    def cached(self, prompt: bytes) -> int:
        """Tokens of `prompt` (packed int32) found in the cache. The last token is always computed."""
        found = 0
        for key in _keys(prompt):
            if key not in self._seen:
                break
            self._seen.move_to_end(key)
            found += BLOCK
        return min(found, max(len(prompt) // 4 - 1, 0))

    def add(self, tokens: bytes) -> None:
        """Remember the whole blocks of a computed sequence."""
        for key in _keys(tokens):
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > self._blocks:
            self._seen.popitem(last=False)


def _keys(tokens: bytes) -> list[int]:
    keys, key = [], 0
    for at in range(0, len(tokens) - _WIDTH + 1, _WIDTH):
        key = hash((key, tokens[at : at + _WIDTH]))
        keys.append(key)
    return keys
