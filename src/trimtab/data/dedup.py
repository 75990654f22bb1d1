"""Near-duplicates: MinHash over runs of words, with the system prompt left out, or all of an agent's work is one.

A. Z. Broder (1997), "On the resemblance and containment of documents". Knows no numpy.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator

from trimtab.data.conversation import Conversation, Funnel

RUN = 5  # words
HASHES, BANDS = 64, 16  # two texts that share 90 % of their runs meet in a band but for one in 10^7
_PRIME = (1 << 61) - 1
_WORD = re.compile(r"\w+")
_RNG = random.Random(0)
_LINES = [(_RNG.randrange(1, _PRIME), _RNG.randrange(_PRIME)) for _ in range(HASHES)]


def runs(text: str) -> set[int]:
    """The hashes of all runs of five words; of a shorter text, of all its words."""
    words = _WORD.findall(text.lower())
    spans = [" ".join(words[at : at + RUN]) for at in range(max(1, len(words) - RUN + 1))]
    return {int.from_bytes(hashlib.blake2b(span.encode(errors="replace"), digest_size=7).digest()) for span in spans}


def sketch(held: set[int]) -> tuple[int, ...]:
    return tuple(min((a * value + b) % _PRIME for value in held) for a, b in _LINES)


class Seen:
    """Texts so far. `near` is the resemblance (shared runs / all runs) from which two texts count as one."""

    def __init__(self, near: float = 0.9) -> None:
        self.near = near
        self._exact: set[str] = set()
        self._held: list[set[int]] = []
        self._bands: dict[tuple[int, tuple[int, ...]], list[int]] = {}

    def like(self, text: str) -> str | None:
        """'the same' or 'nearly the same' as one that was added; None for a new one."""
        return "the same" if _plain(text) in self._exact else self._near(text)

    def add(self, text: str) -> None:
        self._exact.add(_plain(text))
        held = runs(text)
        for band in _banded(sketch(held)):
            self._bands.setdefault(band, []).append(len(self._held))
        self._held.append(held)

    def _near(self, text: str) -> str | None:
        held = runs(text)
        for place in {place for band in _banded(sketch(held)) for place in self._bands.get(band, ())}:
            other = self._held[place]
            if len(held & other) >= self.near * len(held | other):
                return "nearly the same"
        return None


def distinct(found: Iterable[Conversation], funnel: Funnel, near: float = 0.9) -> list[Conversation]:
    """The first of each kind, agent by agent."""
    seen: dict[str, Seen] = {}

    def again(each: Conversation) -> str | None:
        known = seen.setdefault(each.agent, Seen(near))
        reason = known.like(each.text)
        if reason is None:
            known.add(each.text)
        return reason

    return funnel.keep("dedup", found, again)


def decontaminated(
    found: Iterable[Conversation], gate: Iterable[str], funnel: Funnel, near: float = 0.9
) -> list[Conversation]:
    """Without whatever opens like an item of the gate's set, or says nearly the same as one: what is trained on must
    not be what judges."""
    seen = Seen(near)
    for text in gate:
        seen.add(text)

    def known(each: Conversation) -> str | None:
        return "as in the gate's set" if seen.like(each.opening) or seen.like(each.text) else None

    return funnel.keep("decontaminate", found, known)


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _banded(values: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    width = HASHES // BANDS
    return ((band, values[band * width : (band + 1) * width]) for band in range(BANDS))
