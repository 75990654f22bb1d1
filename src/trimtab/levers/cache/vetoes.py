"""Vetoes: reasons never to serve one question's answer for another, whatever the verifier's score."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.levers.cache import vocabulary, words
from trimtab.levers.cache.words import Facts

# Directions: what stands behind one of these changes its part when it stands behind the other.
ROLES = {"from": "from", "to": "to", "into": "to", "onto": "to", "before": "before", "after": "after"}
TURNED = {"from": "to", "to": "from", "before": "after", "after": "before"}
# A denied word makes an opposite of questions that share this much of their words; below, the verifier decides.
ALIKE = 0.4
DENIERS = frozenset(map(words.stem, vocabulary.NEGATORS | vocabulary.NOBODY | vocabulary.FAILING | vocabulary.CEASING))


def veto(asked: str, held: str) -> str | None:
    """Why the answer to `held` must not be served for `asked`, in a few words; None where no rule speaks against it.

    The rules are symmetric, look at the words alone and never relax: a pair that passes is not the same question yet.
    """
    if max(len(asked), len(held)) > words.LONGEST and asked != held:
        return "too long to compare"
    one, two = words.facts(asked), words.facts(held)
    for reason, speaks in RULES:
        if speaks(one, two):
            return reason
    return None


def _numbers(one: Facts, two: Facts) -> bool:
    return [value for value, _ in one.quantities] != [value for value, _ in two.quantities]


def _units(one: Facts, two: Facts) -> bool:
    """The same number of something else; a number alone may stand for either."""
    if any(a != b and a and b for (_, a), (_, b) in zip(one.quantities, two.quantities, strict=False)):
        return True
    return _swapped(one.measures, two.measures)


def _swapped(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    return bool(ours - theirs and theirs - ours)


def _names(one: Facts, two: Facts) -> bool:
    """A name of one side that the other does not even write small; of abbreviations, one on either side."""
    ours = frozenset(name for name in one.names if not _written(name, two))
    theirs = frozenset(name for name in two.names if not _written(name, one))
    return bool(ours and theirs) or bool((ours | theirs) - one.short - two.short)


def _written(name: str, other: Facts) -> bool:
    """True also for another form of the name: Europe, European."""
    return any(word.startswith(name) or (len(word) >= 4 and name.startswith(word)) for word in other.tokens)


def _quoted(one: Facts, two: Facts) -> bool:
    """A quoted text that the other does not contain, in quotation marks or not."""
    ours, theirs = f" {' '.join(one.tokens)} ", f" {' '.join(two.tokens)} "
    return any(f" {text} " not in theirs for text in one.quotes) or any(f" {text} " not in ours for text in two.quotes)


def _negated(one: Facts, two: Facts) -> bool:
    """What one denies the other says plainly; where both deny something, both must say what the other denies."""
    if len(one.content & two.content) < ALIKE * len((one.content | two.content) - DENIERS):
        return False
    ours = bool(one.denied & two.plain - two.denied - one.plain)
    theirs = bool(two.denied & one.plain - one.denied - two.plain)
    return ours or theirs if one.negations % 2 != two.negations % 2 else ours and theirs


def _turned(one: Facts, two: Facts) -> bool:
    """The same words in exchanged parts: `from A to B` and `from B to A`, `A than B` and `B than A`."""
    ours, theirs = _parts(one), _parts(two)
    if any((TURNED[role], word) in theirs - ours for role, word in ours - theirs):
        return True
    (before, after), (earlier, later) = _around(one, "than"), _around(two, "than")
    return bool((before - after) & (later - earlier) and (after - before) & (earlier - later))


def _parts(of: Facts) -> set[tuple[str, str]]:
    """(preposition, the next topic word)"""
    found, role = set(), ""
    for word in of.tokens:
        if word in ROLES:
            role = ROLES[word]
        elif role and words.stem(word) in of.content:
            found.add((role, words.stem(word)))
            role = ""
    return found


def _around(of: Facts, word: str) -> tuple[frozenset[str], frozenset[str]]:
    """Topic words before and after the first `word`; none where it is not there."""
    if word not in of.tokens:
        return frozenset(), frozenset()
    place = of.tokens.index(word)
    before, after = of.tokens[:place], of.tokens[place + 1 :]
    return frozenset(map(words.stem, before)) & of.content, frozenset(map(words.stem, after)) & of.content


RULES: tuple[tuple[str, Callable[[Facts, Facts], bool]], ...] = (
    ("numbers differ", _numbers),
    ("units or currencies differ", _units),
    ("ids differ", lambda one, two: one.ids != two.ids),
    ("dates differ", lambda one, two: one.dates != two.dates),
    ("quoted texts differ", _quoted),
    ("code differs", lambda one, two: one.code != two.code),
    ("names differ", _names),
    ("one denies what the other says", _negated),
    ("antonyms", lambda one, two: words.opposite(one, two) is not None),
    ("parts exchanged", _turned),
)
