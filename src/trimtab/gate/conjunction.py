"""Conjunction: all criteria of a run side by side, fed with whole clusters of answered pairs in the fixed order.

Knows no network and no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from trimtab.evals.replay import Outcome
from trimtab.evals.suite import Item, Suite
from trimtab.gate import forecast
from trimtab.gate.bets import Bet, Rule
from trimtab.gate.criteria import Criteria, Latency
from trimtab.gate.forecast import SAFETY, Tested
from trimtab.verdict import Criterion, Decision, Finding, Margin

_NANO = 1e9


class Pair(msgspec.Struct, frozen=True):
    """One item and how both sides answered it."""

    item: Item
    baseline: Outcome
    candidate: Outcome

    @property
    def difference(self) -> float | None:
        """Candidate − baseline in [−1, 1]; None where it cannot be told. A candidate that gave no answer scores 0; a
        baseline that gave none says nothing of the candidate."""
        before, after = self.baseline, self.candidate
        if before.error or before.score is None:
            return None
        if after.error:
            return -before.score
        return None if after.score is None else after.score - before.score

    @property
    def whole(self) -> bool:
        """Whether both answered."""
        return not self.baseline.error and not self.candidate.error


Values = Callable[[Pair], float | None]


class _Line(msgspec.Struct, frozen=True):
    """One criterion: which pairs it looks at, what it reads of each, how a cluster's values become one."""

    bet: Bet
    looks_at: Callable[[Pair], bool]
    reads: Values
    joins: Callable[[list[float]], float]


class Conjunction:
    """The criteria under test. `scale` says how far the judge's noise shrinks a true difference (1: not at all), by
    slice, '' for the whole."""

    def __init__(self, criteria: Criteria, suite: Suite, scale: Mapping[str, float] | None = None) -> None:
        self.criteria, self.suite = criteria, suite
        self._forecast = forecast.of(suite, criteria, scale)
        self.cap = self._forecast.cap
        self.n = 0
        self.pairs: list[Pair] = []
        means = [self._mean(each) for each in self._forecast.tested]
        self._lines = [*means, *self._latency(), *self._cost(), *self._lengths()]

    @property
    def bets(self) -> list[Bet]:
        return [line.bet for line in self._lines]

    def feed(self, pairs: Sequence[Pair]) -> None:
        """One cluster."""
        self.n += 1
        self.pairs += pairs
        for line in self._lines:
            seen = [line.reads(pair) for pair in pairs if line.looks_at(pair)]
            if not seen:
                continue
            told = [value for value in seen if value is not None]
            line.bet.feed(line.joins(told) if told else None, len(seen), len(seen) - len(told))

    @property
    def done(self) -> bool:
        """Whether more clusters could not or should not change the outcome."""
        decisions = [bet.decision for bet in self.bets]
        if Decision.REJECT in decisions or self.n >= self.cap:
            return True
        return all(decision is Decision.PROMOTE for decision in decisions) or self._too_much_missing()

    def _too_much_missing(self) -> bool:
        """Whether more is missing than the rest of the run could make good."""
        left = self.cap - self.n
        for bet in self.bets:
            to_come = left * bet.items / self.n if self.n else 0
            if bet.missing > max(1.0, self.criteria.missing * (bet.items + to_come)):
                return True
        return False

    def findings(self) -> tuple[Finding, ...]:
        return tuple(bet.finding() for bet in self.bets)

    def _mean(self, each: Tested) -> _Line:
        """The test of a mean; its policy on harm shrinks with its margin."""
        criteria = self.criteria
        harm = -0.5 if criteria.harm is None else criteria.harm / criteria.margin
        rule = Rule(
            test="mean",
            margin=each.judged,
            alpha=each.alpha,
            harm=harm * each.judged,
            minimum=criteria.slice_minimum if each.slice else 0,
            missing=criteria.missing,
            power=self._forecast.power_of(each),
        )
        bet = Bet(Criterion(each.metric, Margin(each.margin), criteria.alpha), rule, each.slice)
        return _Line(bet, lambda pair: self._counts(pair, each), _difference, _mean)

    def _counts(self, pair: Pair, each: Tested) -> bool:
        is_safety = self.suite.judge_of(pair.item).kind == SAFETY
        return is_safety == (each.metric == SAFETY) and (not each.slice or each.slice in pair.item.slices)

    def _latency(self) -> Iterable[_Line]:
        latency = self.criteria.latency
        if latency is None:
            return
        criterion = Criterion("latency", Margin(latency.missed), self.criteria.alpha)
        alone = len({item.cluster for item in self.suite.items}) == len(self.suite.items)
        limit = latency.missed
        # Requests of one cluster are not independent: their share of misses is bet on as one value.
        alpha = self.criteria.alpha
        rule = Rule(test="rate", margin=limit, alpha=alpha)
        if not alone:
            rule = Rule(test="mean", margin=limit, alpha=alpha, harm=-limit)
        sign = 1.0 if alone else -1.0
        yield _Line(Bet(criterion, rule), _all, lambda pair: sign * _missed(pair.candidate, latency), _mean)

    def _cost(self) -> Iterable[_Line]:
        saving = self.criteria.cost
        if saving is None:
            return
        left = 1 - saving.share

        def saved(pair: Pair) -> float | None:
            before, after = pair.baseline.cost_nanodollars, pair.candidate.cost_nanodollars
            return None if before is None or after is None else (left * before - after) / _NANO

        yield self._claim(f"cost at most {left:.0%} of the baseline's, USD", saved, saving.cap_usd)

    def _lengths(self) -> Iterable[_Line]:
        if not self.criteria.length:
            return
        least, most = self.criteria.length
        yield self._claim(
            f"length at most {most:.0%} of the baseline's, tokens", lambda pair: _tokens(pair, most, -1.0)
        )
        if least:
            yield self._claim(
                f"length at least {least:.0%} of the baseline's, tokens", lambda pair: _tokens(pair, -least, 1.0)
            )

    def _claim(self, name: str, reads: Values, unit: float = 0.0) -> _Line:
        rule = Rule(
            test="claim",
            margin=self.criteria.margin,
            alpha=self.criteria.alpha,
            unit=unit,
            missing=self.criteria.missing,
        )
        criterion = Criterion(name, Margin(self.criteria.margin), self.criteria.alpha)
        return _Line(Bet(criterion, rule), lambda pair: pair.whole, reads, math.fsum)


def _difference(pair: Pair) -> float | None:
    return pair.difference


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _all(pair: Pair) -> bool:
    return True


def _tokens(pair: Pair, baseline: float, candidate: float) -> float | None:
    """A weighted sum of both sides' output tokens; None where a server did not count them."""
    before, after = pair.baseline.output_tokens, pair.candidate.output_tokens
    return None if before is None or after is None else baseline * before + candidate * after


def _missed(outcome: Outcome, latency: Latency) -> float:
    """1 where the answer came too late or not at all; a bound on what was not measured is not kept."""
    measured = ((outcome.ttft_s, latency.ttft_s), (outcome.itl_s, latency.itl_s), (outcome.total_s, latency.total_s))
    late = any(bound and (value is None or value > bound) for value, bound in measured)
    return float(late or bool(outcome.error))
