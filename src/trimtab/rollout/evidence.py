"""Evidence: what the rows of one stage say so far, in the order of their numbers. Knows no traffic and no database.

Rows are the truth: every process that reads the same rows holds the same evidence.
"""

from __future__ import annotations

import enum
from typing import Any, Literal

import msgspec

from trimtab.gate.bets import Bet, Rule
from trimtab.rollout.stages import Plan, Stage
from trimtab.stats import detector, power
from trimtab.stats.detector import ShiryaevRoberts
from trimtab.verdict import Criterion, Decision, Margin


class Stream(enum.StrEnum):
    """QUALITY, ERRORS and LATE are tested for a Verdict; the ALARM streams are watched for a change to the worse, on
    candidate − baseline and on minus the failed or late calls. MISSING are pairs without a judgement."""

    QUALITY = "quality"
    ERRORS = "errors"
    LATE = "late"
    MISSING = "missing"
    QUALITY_ALARM = "quality-alarm"
    ERRORS_ALARM = "errors-alarm"
    LATE_ALARM = "late-alarm"


ALARMS = (Stream.QUALITY_ALARM, Stream.ERRORS_ALARM, Stream.LATE_ALARM)


class Row(msgspec.Struct, frozen=True):
    """`count` times the same `value`, one after the other."""

    stream: Stream
    value: float
    count: int = 1
    number: int = 0


class Evidence:
    """The tests and detectors of one stage; `take` rows by rising number. `number` is the last one taken, `threshold`
    that of the detector of quality (0: the proven one)."""

    def __init__(self, plan: Plan, stage: Stage, threshold: float = 0.0) -> None:
        self.plan = plan
        self.stage = stage
        self.number = 0
        self.cap = plan.cap or power.cap(plan.margin, max(plan.flips, plan.margin**2), alpha=plan.alpha)
        self.tests = _tests(plan) if stage.concludes else {}
        self.detectors = _detectors(plan, stage, threshold)
        self._failures = 0
        self.tripped = False

    def wants(self, stream: Stream) -> bool:
        """Whether a row of `stream` could still change anything."""
        test = self.tests.get(Stream.QUALITY if stream is Stream.MISSING else stream)
        return stream in self.detectors or (test is not None and test.items < self.cap and self._is_open(test))

    def _is_open(self, test: Bet) -> bool:
        return test.decision is Decision.INCONCLUSIVE

    def take(self, row: Row) -> None:
        """Feed one row. What comes after a test has decided is not counted: its decision stays."""
        self.number = max(self.number, row.number)
        if row.stream in self.detectors:
            self._watch(row)
            return
        for _ in range(row.count):
            if not self.wants(row.stream):
                return
            if row.stream is Stream.MISSING:
                self.tests[Stream.QUALITY].feed(None, 1, 1)
            else:
                self.tests[row.stream].feed(row.value)

    def _watch(self, row: Row) -> None:
        watched = self.detectors[row.stream]
        for _ in range(row.count):
            watched.feed(row.value)
            if row.stream is Stream.ERRORS_ALARM:
                self._failures = self._failures + 1 if row.value < 0 else 0
                self.tripped = self.tripped or self._failures >= self.plan.run_of_failures

    @property
    def compared(self) -> Stream:
        """The stream that pairs of answers go into."""
        return Stream.QUALITY if self.tests else Stream.QUALITY_ALARM

    @property
    def n(self) -> int:
        """Clusters with a judgement."""
        return self.tests[Stream.QUALITY].n if self.tests else self.detectors[Stream.QUALITY_ALARM].n

    @property
    def alarm(self) -> str:
        """Why the candidate must go at once; '' while it need not."""
        if self.tripped:
            return f"{self.plan.run_of_failures} calls of the candidate failed one after the other"
        for stream, watched in self.detectors.items():
            if watched.alarm:
                return f"{_WORDS[stream]} (evidence {watched.value:.3g} of {watched.threshold:.3g}, call {watched.n})"
        return ""

    @property
    def decision(self) -> Decision | None:
        """What the stage comes to; None while more may change it. Any rejection rejects, at once."""
        decisions = [test.decision for test in self.tests.values()]
        if Decision.REJECT in decisions:
            return Decision.REJECT
        if decisions and all(each is Decision.PROMOTE for each in decisions):
            return Decision.PROMOTE
        over = any(test.items >= self.cap and self._is_open(test) for test in self.tests.values())
        return Decision.INCONCLUSIVE if over else None

    def state(self) -> dict[str, Any]:
        """The detectors as they stand, so that older rows of theirs can go."""
        held = {stream.value: watched.state() for stream, watched in self.detectors.items()}
        return {"number": self.number, "failures": self._failures, "tripped": self.tripped, "detectors": held}

    def resume(self, state: dict[str, Any]) -> None:
        """Put the detectors back. ValueError or KeyError: the state is not one of this stage."""
        self.detectors = {Stream(name): ShiryaevRoberts.resume(each) for name, each in state["detectors"].items()}
        self._failures, self.tripped = int(state["failures"]), bool(state["tripped"])


_WORDS = {
    Stream.QUALITY_ALARM: "the candidate's answers have become worse than the margin allows",
    Stream.ERRORS_ALARM: "more of the candidate's calls fail than the plan allows",
    Stream.LATE_ALARM: "more of the candidate's answers are late than the plan allows",
}


def _tests(plan: Plan) -> dict[Stream, Bet]:
    def bet(metric: str, limit: float, test: Literal["mean", "rate"]) -> Bet:
        rule = Rule(test=test, margin=limit, alpha=plan.alpha, harm=-limit / 2 if test == "mean" else 0.0)
        return Bet(Criterion(metric, Margin(limit), plan.alpha), rule)

    tests = {Stream.QUALITY: bet("quality", plan.margin, "mean"), Stream.ERRORS: bet("errors", plan.errors, "rate")}
    if plan.has_slo:
        tests[Stream.LATE] = bet("latency", plan.late, "rate")
    return tests


def _detectors(plan: Plan, stage: Stage, threshold: float) -> dict[Stream, ShiryaevRoberts]:
    """Those of a stage in which the candidate serves."""
    limits: dict[Stream, float] = {}
    if stage in (Stage.CANARY, Stage.FULL):
        limits[Stream.ERRORS_ALARM] = plan.errors
        if plan.has_slo:
            limits[Stream.LATE_ALARM] = plan.late
    if stage is Stage.FULL:
        limits[Stream.QUALITY_ALARM] = plan.margin
    proven = detector.threshold(plan.false_alarms, plan.per)
    own = {Stream.QUALITY_ALARM: threshold or proven}
    return {stream: ShiryaevRoberts(limit, own.get(stream, proven)) for stream, limit in limits.items()}
