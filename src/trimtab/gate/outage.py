"""Outage: a side that stops answering is down, which is no finding on its quality."""

from __future__ import annotations

from trimtab.errors import UpstreamError
from trimtab.evals.replay import Outcome
from trimtab.gate.journal import Answered


class Outage:
    """Holds back clusters to which a side gave no answer at all, until both answer again; then they count as failures.

    After `patience` of them in a row the run ends with an UpstreamError and without them, so that it goes on where it
    was when the side is up again.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._held: list[Answered] = []

    def passed(self, answered: Answered) -> list[Answered]:
        """What may be counted now."""
        self._held.append(answered)
        silent = _silent(answered)
        if not silent:
            return self.rest()
        if len(self._held) >= self._patience:
            said = next(outcome.error for outcome in getattr(answered, silent))
            raise UpstreamError(
                f"the {silent} gave no answer to {len(self._held)} clusters in a row; see to it, and the same command "
                f"goes on: {said}"
            )
        return []

    def rest(self) -> list[Answered]:
        """What is held, at the end of the clusters."""
        held, self._held = self._held, []
        return held


def _silent(answered: Answered) -> str:
    for name, outcomes in (("baseline", answered.baseline), ("candidate", answered.candidate)):
        if _failed(outcomes):
            return name
    return ""


def _failed(outcomes: tuple[Outcome, ...]) -> bool:
    return all(outcome.error for outcome in outcomes)
