"""Drift: where a candidate answers otherwise than the baseline though it is as good on the whole.

A compressed model is a cousin, not a smaller twin: equal accuracy hides flips both ways (A. Dutta et al. 2024,
"Accuracy is not all you need", arXiv 2407.09141). A report, not a test: the gate decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import msgspec

from trimtab.evals import divergence, safety, style
from trimtab.evals.divergence import Divergence
from trimtab.evals.replay import Outcome
from trimtab.evals.style import Style
from trimtab.stats.intervals import Interval, wilson

Pair = tuple[Outcome, Outcome]


class Flips(msgspec.Struct, frozen=True):
    """Of `n` pairs with both scores: `gains` wrong → right, `losses` right → wrong. `noise` is the share of pairs of
    the baseline against itself (A/A) that flip, over `noise_n`; None where it was not asked twice."""

    n: int
    gains: int
    losses: int
    noise: float | None = None
    noise_n: int = 0

    @property
    def share(self) -> float:
        return (self.gains + self.losses) / self.n if self.n else 0.0

    @property
    def interval(self) -> Interval:
        """Of `share`, Wilson's at 95 %, as if items were independent."""
        return wilson(self.gains + self.losses, self.n)

    @property
    def excess(self) -> float | None:
        """The share of flips beyond the baseline's own, f − f_AA; None where that is not known."""
        return None if self.noise is None else self.share - self.noise


class Side(msgspec.Struct, frozen=True):
    """One deployment over the pairs. Tokens are None where some answer's were not counted.

    `per_solved`: output tokens of all answers, the wrong ones too, over the number of right ones.
    """

    solved: int
    output_tokens: int | None
    median_tokens: float | None
    per_solved: float | None
    declined: int
    cut: int
    style: Style


class Wins(msgspec.Struct, frozen=True):
    """By score, a pair at a time."""

    wins: int
    ties: int
    losses: int

    @property
    def rate(self) -> float | None:
        """(wins + ties/2)/n: 0.5 where neither side is better."""
        n = self.wins + self.ties + self.losses
        return (self.wins + self.ties / 2) / n if n else None


class Drift(msgspec.Struct, frozen=True):
    """The candidate against the baseline over `n` pairs, `missing` of which lack an answer or a score.

    `length` = the candidate's output tokens over the baseline's, words where tokens were not counted; None where the
    baseline said nothing. `same` = pairs with the same text and the same calls.
    """

    n: int
    missing: int
    flips: Flips
    slices: dict[str, Flips]
    same: int
    wins: Wins
    length: float | None
    baseline: Side
    candidate: Side
    divergence: Divergence | None


def report(pairs: Sequence[Pair], aa_pairs: Sequence[Pair] | None = None) -> Drift:
    """Drift of `pairs` (baseline's outcome, candidate's outcome); `aa_pairs` are (baseline, baseline asked again).

    ValueError: a pair of two different items, or an item that is there twice.
    """
    _check(pairs)
    _check(aa_pairs or ())
    answered = [pair for pair in pairs if not pair[0].error and not pair[1].error]
    judged = [pair for pair in answered if pair[0].score is not None and pair[1].score is not None]
    styles = style.of_pairs([(one.answer.words, other.answer.words) for one, other in answered])
    again = _by_slice(aa_pairs or ())
    return Drift(
        n=len(pairs),
        missing=len(pairs) - len(judged),
        flips=_flips(judged, aa_pairs),
        slices={
            name: _flips(some, None if aa_pairs is None else again.get(name, []))
            for name, some in sorted(_by_slice(judged).items())
        },
        same=sum(
            one.answer.text == other.answer.text and one.answer.tool_calls == other.answer.tool_calls
            for one, other in answered
        ),
        wins=_wins(judged),
        length=_length(answered),
        baseline=_side([one for one, _ in answered], styles[0]),
        candidate=_side([other for _, other in answered], styles[1]),
        divergence=divergence.of([(one.answer, other.answer) for one, other in answered]),
    )


def _check(pairs: Sequence[Pair]) -> None:
    seen = set()
    for one, other in pairs:
        if one.item != other.item:
            raise ValueError(f"a pair of two items, '{one.item}' and '{other.item}': pair each item with itself")
        if one.item in seen:
            raise ValueError(f"the item '{one.item}' is there twice: pair each once")
        seen.add(one.item)


def _by_slice(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        for name in dict.fromkeys(pair[0].slices):
            found[name].append(pair)
    return found


def _flips(pairs: Sequence[Pair], again: Sequence[Pair] | None) -> Flips:
    known = [(one.solved, other.solved) for one, other in pairs if None not in (one.solved, other.solved)]
    gains = sum(not before and bool(after) for before, after in known)
    losses = sum(bool(before) and not after for before, after in known)
    noise = _flips(again, None) if again else None
    if noise is None or not noise.n:
        return Flips(len(known), gains, losses)
    return Flips(len(known), gains, losses, noise.share, noise.n)


def _wins(judged: Sequence[Pair]) -> Wins:
    differences = [(other.score or 0.0) - (one.score or 0.0) for one, other in judged]
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Wins(wins, len(differences) - wins - losses, losses)


def _length(pairs: Sequence[Pair]) -> float | None:
    before, after = 0, 0
    counted = all(one.output_tokens is not None and other.output_tokens is not None for one, other in pairs)
    for one, other in pairs:
        before += (one.output_tokens or 0) if counted else len(one.answer.words)
        after += (other.output_tokens or 0) if counted else len(other.answer.words)
    return after / before if before else None


def _side(outcomes: Sequence[Outcome], its_style: Style) -> Side:
    tokens = [each.output_tokens for each in outcomes if each.output_tokens is not None]
    total = sum(tokens) if len(tokens) == len(outcomes) else None
    solved = sum(bool(each.solved) for each in outcomes)
    return Side(
        solved=solved,
        output_tokens=total,
        median_tokens=median(tokens) if tokens else None,
        per_solved=total / solved if total is not None and solved else None,
        declined=sum(safety.declines(each.answer) for each in outcomes),
        cut=sum(each.answer.finish_reason == "length" for each in outcomes),
        style=its_style,
    )
