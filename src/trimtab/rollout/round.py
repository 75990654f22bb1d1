"""Round: one stage of a rollout in a serving process. Calls come in on the event loop, rows go out to a thread."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import groupby

import msgspec

from trimtab.gateway.chain import Call as Chain
from trimtab.gateway.chat import Services
from trimtab.gateway.serving import Serving
from trimtab.gateway.shadow import Bounds, Shadows
from trimtab.gateway.trial import Finished, Pair, Trial, backed
from trimtab.rollout import proof
from trimtab.rollout.evidence import Evidence, Row, Stream
from trimtab.rollout.stages import Plan, Rollout, Stage
from trimtab.trace import Call, EndState

# What is the client's own doing, whoever had served it.
_CLIENTS = frozenset((400, 404, 405, 409, 413, 415, 422))
# More than can wait for a thread that looks twenty times a second: the register must be out of order.
_MOST_WAITING = 100_000


class Seen(msgspec.Struct, frozen=True):
    """A row on its way into the register; one that is of a `cluster` counts once for that, `note` is its call."""

    row: Row
    cluster: bytes = b""
    note: str = ""


class Round:
    """`trial` is what the gateway serves by; `evidence` what the rows of all processes say. `on_pair` is told each pair
    of answers, `on_failure` each failed call of the candidate, both on the event loop."""

    def __init__(
        self,
        rollout: Rollout,
        sides: tuple[Serving, Serving],
        asking: tuple[Services, Chain],
        on_pair: Callable[[Round, Pair], None],
        on_failure: Callable[[], None],
    ) -> None:
        plan = rollout.plan
        self.rollout = rollout
        self.evidence = Evidence(plan, rollout.stage, rollout.threshold)
        self.wants_pairs = True
        self.dropped: Counter[str] = Counter()
        self.models: set[tuple[str, str, str]] = set()
        self._prompts = 0
        self._on_pair, self._on_failure = on_pair, on_failure
        self._seen: deque[Seen] = deque(maxlen=_MOST_WAITING)
        self._outcomes: deque[tuple[bool, bool]] = deque(maxlen=_MOST_WAITING)
        self._counted: Counter[str] = Counter()
        bounds = Bounds(plan.sampled, plan.at_once, plan.per_s, again_s=rollout.stage.again_s, twice=plan.twice)
        self.shadows = Shadows(*asking, bounds, self._paired)
        self.baseline, candidate = sides
        self.trial = Trial(rollout.id, self.baseline, backed(candidate, self.baseline), rollout.share, self._finished)

    def _finished(self, finished: Finished) -> None:
        """A call has its end; on the event loop."""
        outcome = outcome_of(finished.call, self.rollout.plan) if finished.by_candidate else None
        if finished.rescued:
            outcome = (True, True)
        if outcome is not None:
            self._outcomes.append(outcome)
            if outcome[0]:
                self._on_failure()
        # Of what was rescued, the baseline's answer is all there is; that it had to be is counted above.
        if self.wants_pairs and not finished.rescued:
            self.shadows.ask(self.trial, finished)

    def _paired(self, pair: Pair) -> None:
        self._on_pair(self, pair)

    def judged(self, pair: Pair, difference: float | None, prompts: Iterable[str] = ()) -> None:
        """A pair has its score, or cannot have one; `prompts` are the digests of its system prompts. One thread."""
        cluster = hashlib.blake2b(pair.asked.cluster.encode(errors="replace"), digest_size=12).digest()
        stream = Stream.QUALITY if self.rollout.stage.concludes else Stream.QUALITY_ALARM
        for side, call in (("baseline", pair.baseline.call), ("candidate", pair.candidate.call)):
            if call.response_model:
                self.models.add((side, call.endpoint, call.response_model))
        if self._prompts < proof.MOST_PROMPTS:
            found = {(proof.PROMPTS, "", digest) for digest in prompts} - self.models
            self._prompts += len(found)
            self.models |= found
        row = Row(Stream.MISSING, 0.0) if difference is None else Row(stream, difference)
        self._seen.append(Seen(row, cluster, pair.asked.call.id))
        if self.rollout.stage is Stage.SHADOW:
            outcome = outcome_of(pair.candidate.call, self.rollout.plan)
            if outcome is not None:
                self._outcomes.append(outcome)

    def drain(self) -> list[Seen]:
        """What came since it was asked last; in the thread that feeds the register."""
        taken = [self._seen.popleft() for _ in range(len(self._seen))]
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        for place, streams in ((0, (Stream.ERRORS, Stream.ERRORS_ALARM)), (1, (Stream.LATE, Stream.LATE_ALARM))):
            for missed, group in groupby(outcome[place] for outcome in outcomes):
                count = sum(1 for _ in group)
                taken += [Seen(Row(stream, _value(stream, missed), count)) for stream in streams]
        return [seen for seen in taken if self.evidence.wants(seen.row.stream)]

    def grown(self) -> Counter[str]:
        """By how much the figures of this process have grown since `counted`."""
        shadows = self.shadows
        now = Counter({f"dropped {reason}": n for reason, n in (shadows.dropped + self.dropped).items()})
        now.update({"shadows": shadows.asked, "shadow nanodollars": shadows.nanodollars})
        return now - self._counted

    def counted(self, grown: Counter[str]) -> None:
        """`grown` is in the register."""
        self._counted += grown


def outcome_of(call: Call, plan: Plan) -> tuple[bool, bool] | None:
    """Whether a call of the candidate failed, and whether it missed its SLO; None where that says nothing about it.

    An endpoint that was asked and refuses for its own reasons (a key, a rate limit, a dialect) has failed as well.
    """
    if call.end is EndState.CLIENT_GONE or not call.endpoint or call.status in _CLIENTS:
        return None
    failed = call.end is not EndState.COMPLETE
    slow = plan.slo_ms is not None and call.duration_ms > plan.slo_ms
    begun_late = plan.ttft_ms is not None and call.ttft_ms is not None and call.ttft_ms > plan.ttft_ms
    return failed, failed or slow or begun_late


def _value(stream: Stream, missed: bool) -> float:
    """Tests are fed whether a call missed; detectors watch for a fall, so its negative."""
    return float(missed) if stream in (Stream.ERRORS, Stream.LATE) else -float(missed)
