"""What is constant at both ends of the texts that an agent is asked, and what changes between: its slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

_SHARE = 0.9  # of the texts that must have it
_MOST = 2000  # texts looked at
_LEAST = 12  # characters; shorter beginnings are chance


class Slot(msgspec.Struct, frozen=True):
    """`of` takes `before` and `after` away where both are there."""

    before: str = ""
    after: str = ""

    def of(self, text: str) -> str:
        if not text.startswith(self.before) or not text.endswith(self.after):
            return text
        end = len(text) - len(self.after)
        return text[len(self.before) : end] if end > len(self.before) else text


def slot(texts: Sequence[str]) -> Slot:
    """The longest beginning and end that nine texts in ten share, cut between words; '' where there is none."""
    some = texts[:_MOST]
    before = _shared(some)
    after = _shared([text[::-1] for text in some])[::-1]
    return Slot(before, after)


def _shared(texts: Sequence[str]) -> str:
    """The longest beginning that enough texts have: that of the commonest opening, cut back until they are enough."""
    opening, times = Counter(text[:_LEAST] for text in texts).most_common(1)[0] if texts else ("", 0)
    if len(opening) < _LEAST or times < 2 or times < _SHARE * len(texts):
        return ""
    alike = sorted(text for text in texts if text.startswith(opening))
    spare = len(alike) - int(_SHARE * len(texts)) - 1
    # What some part of the sorted texts shares is what its ends share; leaving `spare` out, the best such part.
    found = max((_common(alike[start], alike[start - spare - 1]) for start in range(spare + 1)), key=len)
    place = max(found.rfind(sign) for sign in (" ", "\n", ":", '"', ">", "\t"))
    return found[: place + 1] if place + 1 >= _LEAST else ""


def _common(left: str, right: str) -> str:
    """What two texts begin with."""
    end = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return left[:end]
