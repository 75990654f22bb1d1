"""When two JSON values are the same, and when two texts are. Knows no items."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def same(one: Any, other: Any) -> bool:
    """Equality of JSON: 1 is 1.0, but true is not 1 and "1" is not 1; the order of an object's keys does not count."""
    return key(one) == key(other)


def key(value: Any) -> str:
    """A text that two values share where they are the same."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def contains(whole: Any, part: Any) -> bool:
    """Whether `whole` has all that `part` has: of objects the keys of `part` count, all else must be the same."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(name in whole and contains(whole[name], inner) for name, inner in part.items())
    if isinstance(whole, list) and isinstance(part, list):
        return len(whole) == len(part) and all(contains(a, b) for a, b in zip(whole, part, strict=True))
    return same(whole, part)


def same_unordered(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether both hold the same values as often, in any order."""
    return Counter(map(key, some)) == Counter(map(key, others))


def normalised(text: str, *, articles: bool = False) -> str:
    """Compatible forms united; case, punctuation and width of spaces gone; with `articles`, English articles too.

    As for SQuAD (Rajpurkar et al. 2016), save that a point, comma or sign inside a number stays.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(char if _counts(folded, place) else " " for place, char in enumerate(folded))
    kept = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", kept)
    return " ".join((_ARTICLES.sub(" ", kept) if articles else kept).split())


def _counts(text: str, place: int) -> bool:
    """Whether the sign at `place` is part of a word (marks are, in many scripts) or of a number: -3, 2.5, 1,000."""
    char, before, after = text[place], text[place - 1 : place] if place else "", text[place + 1 : place + 2]
    if char in ".,":
        return before.isdigit() and after.isdigit()
    if char == "-":
        return after.isdigit() and not before.isalnum()
    return char.isalnum() or unicodedata.category(char).startswith("M")
