"""Outage: a side that stops answering is down, which is no finding on its quality."""

from __future__ import annotations

from trimtab.errors import UpstreamError
from trimtab.evals.replay import Outcome
from trimtab.gate.journal import Answered


class Outage:
    """Holds back clusters to which a side gave no answer at all, until both answer one that was asked later; then they
    count as failures.

    After `patience` of them in a row the run ends with an UpstreamError and without them, so that it goes on where it
    was when the side is up again.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._held: list[tuple[int, Answered]] = []
        self._clock = self._in_a_row = 0

    def begun(self) -> int:
        """A mark to take before a cluster is asked: several are under way at once."""
        self._clock += 1
        return self._clock

    def passed(self, answered: Answered, begun: int) -> list[Answered]:
        """What may be counted now that `answered` is there."""
        self._clock += 1
        silent = _silent(answered)
        if not silent:
            self._in_a_row = 0
            freed = [each for ended, each in self._held if ended < begun]
            self._held = [held for held in self._held if held[0] > begun]
            return [*freed, answered]
        self._held.append((self._clock, answered))
        self._in_a_row += 1
        if self._in_a_row >= self._patience:
            said = next(outcome.error for outcome in getattr(answered, silent))
            raise UpstreamError(
                f"the {silent} gave no answer to {self._in_a_row} clusters in a row; see to it, and the same command "
                f"goes on: {said}"
            )
        return []

    def rest(self) -> list[Answered]:
        """What is held, at the end of the clusters."""
        held, self._held = self._held, []
        return [each for _, each in held]


def _silent(answered: Answered) -> str:
    for name, outcomes in (("baseline", answered.baseline), ("candidate", answered.candidate)):
        if _failed(outcomes):
            return name
    return ""


def _failed(outcomes: tuple[Outcome, ...]) -> bool:
    return all(outcome.error for outcome in outcomes)
