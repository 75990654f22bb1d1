"""Scoring: how much better or worse the candidate answered one call than the baseline did. Knows no statistics."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from trimtab.errors import ConfigError, TrimtabError
from trimtab.evals import sameness, scorers
from trimtab.evals.answer import Answer
from trimtab.evals.judge import Judge
from trimtab.evals.suite import Item, JudgeSpec
from trimtab.gateway.trial import Answered, Pair
from trimtab.rollout import answers
from trimtab.trace import EndState

# These compare with what is expected, and live nobody knows that: so they compare with what the baseline said.
_COMPARING = frozenset(("exact", "normalised", "tool_calls", "embedding"))
# A judge to whom an answer is not like itself cannot compare others with it.
_ITSELF = 0.999
# What a shadow is told that has none of the client's keys.
_NO_KEY = (401, 403)


class Scorer(Protocol):
    """`version` changes with anything that may change a difference."""

    @property
    def version(self) -> str: ...

    async def difference(self, pair: Pair, baseline: Answer, candidate: Answer) -> float | None:
        """Candidate − baseline in [−1, 1]; None where it cannot be told."""
        ...


class Agreement:
    """0 where the candidate says or calls the same as the baseline, else −1: the strictest judge, and the only one that
    needs to know nothing. Case, punctuation and white space do not count; for calls their names and arguments do.

    Where the baseline was asked twice, 1 is added where it does not agree with itself: a candidate that differs no more
    often than that has a mean of 0.
    """

    version = "agreement-1"

    async def difference(self, pair: Pair, baseline: Answer, candidate: Answer) -> float | None:
        agreed = float(agree(baseline, candidate))
        if pair.again is None:
            return agreed - 1.0
        again = _said(pair, pair.again) if pair.again.call.end is EndState.COMPLETE else None
        return None if again is None else agreed - float(agree(baseline, again))


class Judged:
    """The difference of the two scores that a judge of `evals` gives."""

    def __init__(self, spec: JudgeSpec, judge: Judge) -> None:
        self._spec = spec
        self._judge = judge

    @property
    def version(self) -> str:
        return self._judge.version

    async def difference(self, pair: Pair, baseline: Answer, candidate: Answer) -> float | None:
        body = answers.asked(pair.payload(pair.baseline).request, pair.asked.dialect.name)
        compares = self._spec.kind in _COMPARING
        expected = answers.calls(baseline) if self._spec.kind == "tool_calls" else baseline.text if compares else None
        item = Item(id=pair.asked.call.id, cluster=pair.asked.cluster, body=body, expected=expected)
        try:
            before = await self._judge.score(item, baseline)
            after = await self._judge.score(item, candidate)
        except TrimtabError:
            return None  # A judge that is itself a model may be offline; the pair is missing.
        if before.score is None or after.score is None or (compares and before.score < _ITSELF):
            return None
        return after.score - before.score


def make(spec: dict[str, Any] | None) -> Scorer:
    """The scorer of a plan's `judge`; ConfigError where there is none of that kind."""
    if spec is None:
        return Agreement()
    try:
        wanted = msgspec.convert(spec, JudgeSpec)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the judge of the rollout: {error}; see docs/evals.md") from error
    if wanted.kind == "end_state":
        raise ConfigError("the judge 'end_state' needs an expected state, which nobody knows live: use another")
    if wanted.options.get("pattern"):
        raise ConfigError("a judge with a 'pattern' has no expected answer to compare with live: leave it out")
    return Judged(wanted, scorers.make(wanted))


def is_two_sided(spec: dict[str, Any] | None, twice: bool) -> bool:
    """Whether a candidate can gain as well as lose by what it is compared with."""
    return twice if spec is None else spec.get("kind", "exact") not in _COMPARING


async def difference(pair: Pair, scorer: Scorer) -> float | None:
    """The pair's score. A candidate that gave no answer lost what the baseline had; a baseline that gave none says
    nothing of the candidate, and no more does a shadow that lacked a key."""
    if pair.baseline.call.end is not EndState.COMPLETE or pair.candidate.call.status in _NO_KEY:
        return None
    if pair.candidate.call.end is not EndState.COMPLETE:
        return -1.0
    before, after = _said(pair, pair.baseline), _said(pair, pair.candidate)
    if before is None:
        return None
    return -1.0 if after is None else await scorer.difference(pair, before, after)


def agree(one: Answer, other: Answer) -> bool:
    """Whether two answers say and call the same."""
    calls = [[[call.name, call.arguments, call.malformed] for call in each.tool_calls] for each in (one, other)]
    if calls[0] or calls[1]:
        return sameness.same(calls[0], calls[1])
    return sameness.normalised(one.text) == sameness.normalised(other.text) and one.refusal == other.refusal


def _said(pair: Pair, answered: Answered) -> Answer | None:
    return answers.of(pair.payload(answered).response, pair.asked.dialect.name)
