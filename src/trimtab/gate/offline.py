"""Offline: asks two Deployments for the items of a suite, feeds the pairs in the fixed order, and stops early."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec

from trimtab import verdict as verdicts
from trimtab.errors import ConfigError, require
from trimtab.evals import suite
from trimtab.evals.drift import Drift
from trimtab.evals.serving import served
from trimtab.gate import changes, drifting, facts, sides
from trimtab.gate.conjunction import Conjunction, Pair
from trimtab.gate.criteria import Criteria
from trimtab.gate.journal import Answered, Declared, Journal, verdict_in
from trimtab.gate.outage import Outage
from trimtab.gate.scrubbing import scrubbed
from trimtab.gate.sides import Side
from trimtab.gate.sources import Asker, Source
from trimtab.verdict import Decision, Verdict

# Clusters in a row without any answer of a side, or of twice as many as are asked at once, are an outage.
_PATIENCE = 8
_LOOK_S = 0.1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared, on what, by which criteria. `scale` is how far the judge's noise shrinks a true difference, by
    slice ('' for the whole); `artifacts` the store folder in which the deployments' steps find theirs. The baseline is
    asked a second time for the first `again` clusters, for the drift report."""

    baseline: Side
    candidate: Side
    source: Source
    criteria: Criteria
    folder: Path
    seed: int = 0
    concurrency: int = 4
    scale: dict[str, float] = {}
    artifacts: Path | None = None
    again: int = 0

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"{self.concurrency} clusters at once are none: ask for one or more")
        present = {name for item in self.source.suite.items for name in item.slices}
        for name in self.criteria.slices:
            if name not in present:
                raise ConfigError(f"no item of the suite is in the slice '{name}': tag some, or take it out")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is. `left` is a guess, from the growth of the evidence so far, at the clusters still needed; None
    while there is nothing to go by. `lines` are (criterion, decision, wealth)."""

    n: int
    cap: int
    answered: int
    wealth: float
    harm_wealth: float
    needed: float
    difference: float
    low: float
    high: float
    left: int | None
    missing: int
    lines: tuple[tuple[str, Decision, float], ...]


OnProgress = Callable[[Progress], None]


def run(plan: Plan, on_progress: OnProgress | None = None) -> Verdict:
    """The verdict; a run that was broken off goes on where it was, and one that had ended says what it said then.

    Raises ConfigError where the folder holds a run under other terms, UpstreamError where a side gives no answer at
    all. After KeyboardInterrupt, or a kill, nothing that was answered is lost.
    """
    require("gate", "numpy")
    before = verdict_in(plan.folder)
    # A finished run needs no server: what they say of their models is then left out of the comparison.
    with Journal(plan.folder, declared(plan, with_models=before is None)) as journal:
        if before is not None:
            return before
        going = _Run(plan, journal, on_progress)
        going.catch_up()
        asyncio.run(going.finish())
        found = going.verdict()
        drifting.keep(going.drift(), plan.folder)
        journal.finish(found)
    return found


def declared(plan: Plan, *, with_models: bool) -> Declared:
    """What is fixed before the first answer. UpstreamError where a model server does not answer."""
    models = models_of(plan.baseline, plan.candidate) if with_models else {}
    return msgspec.structs.replace(terms(plan), models=models)


def terms(plan: Plan) -> Declared:
    """What is fixed and can be told without asking anyone."""
    held = plan.source.suite
    return Declared(
        baseline=plan.baseline.fingerprint,
        candidate=plan.candidate.fingerprint,
        suite=held.digest,
        order=suite.order(held, plan.seed).digest,
        criteria=verdicts.digest([plan.criteria, plan.scale]),
        judge=plan.source.judge,
        seed=plan.seed,
        asked=f"{plan.baseline.model} {plan.candidate.model}",
    )


def models_of(baseline: Side, candidate: Side) -> dict[str, str]:
    """What the servers of both sides say of their models now. UpstreamError where one does not answer."""

    async def both() -> list[str]:
        return list(await asyncio.gather(sides.said_of_models(baseline), sides.said_of_models(candidate)))

    return dict(zip(("baseline", "candidate"), asyncio.run(both()), strict=True))


class _Run:
    """One run under way."""

    def __init__(self, plan: Plan, journal: Journal, on_progress: OnProgress | None) -> None:
        self._plan, self._journal, self._on_progress = plan, journal, on_progress
        self._order = suite.order(plan.source.suite, plan.seed)
        self._items = suite.clusters(plan.source.suite)
        self._conjunction = Conjunction(plan.criteria, plan.source.suite, plan.scale)
        self._outage = Outage(min(max(_PATIENCE, 2 * plan.concurrency), self._conjunction.cap))
        self._halt = ""
        self._looked = 0.0

    def catch_up(self) -> None:
        """Feed what was answered, as far as it goes on without a gap."""
        self._feed()

    def _feed(self) -> None:
        whole = self._conjunction
        while not whole.done and (each := self._journal.answered.get(whole.n)) is not None:
            asked = zip(self._items[each.cluster], each.baseline, each.candidate, strict=True)
            whole.feed([Pair(item, before, after) for item, before, after in asked])
        self._tell()

    async def finish(self) -> None:
        """Ask for the rest until the tests have ended; then look whether what was compared is still what it was."""
        if not self._conjunction.done:
            await self._ask()
        self._tell(at_once=True)
        self._halt = changes.under_way(self._conjunction.pairs) or await changes.since(
            (self._plan.baseline, self._plan.candidate), self._journal.declared.models
        )

    async def _ask(self) -> None:
        plan = self._plan
        with (
            served(plan.baseline.deployment, plan.baseline.prices, plan.artifacts) as baseline,
            served(plan.candidate.deployment, plan.candidate.prices, plan.artifacts) as candidate,
        ):
            # The gateways have limits of their own for every phase of a call.
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
            ) as http:
                askers = {
                    "baseline": plan.source.asker(http, baseline, plan.baseline),
                    "candidate": plan.source.asker(http, candidate, plan.candidate),
                }
                await self._work_together(askers)

    async def _work_together(self, askers: dict[str, Asker]) -> None:
        places = iter([p for p in range(self._conjunction.cap) if p not in self._journal.answered])
        workers = [asyncio.create_task(self._work(places, askers)) for _ in range(self._plan.concurrency)]
        try:
            # One that comes back has met the end of the tests or of the clusters, or an error.
            going = set(workers)
            while going and not self._conjunction.done:
                ended, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
                for worker in ended:
                    worker.result()
            self._keep(self._outage.rest())
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, places: Iterator[int], askers: dict[str, Asker]) -> None:
        while not self._conjunction.done and (place := next(places, None)) is not None:
            cluster = self._order.clusters[place]
            items = self._items[cluster]
            begun = self._outage.begun()
            # Which side goes first is drawn beforehand too: the second may find caches warm.
            names = ["baseline", "candidate"] if _coin(self._order.digest, place) else ["candidate", "baseline"]
            found = {name: await askers[name].ask(items) for name in names}
            again = await askers["baseline"].ask(items) if place < self._plan.again else ()
            answered = Answered(place, cluster, found["baseline"], found["candidate"], again)
            self._keep(self._outage.passed(answered, begun))

    def _keep(self, some: list[Answered]) -> None:
        for answered in some:
            self._journal.add(scrubbed(answered))
        self._feed()

    def _tell(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._on_progress is not None and (at_once or now - self._looked >= _LOOK_S):
            self._looked = now
            self._on_progress(self._progress())

    def _progress(self) -> Progress:
        whole = self._conjunction
        quality = whole.bets[0]
        interval = quality.interval()
        lines = [(_name(bet.criterion.metric, bet.slice), bet.decision, bet.wealth) for bet in whole.bets]
        return Progress(
            n=whole.n,
            cap=whole.cap,
            answered=len(self._journal.answered),
            wealth=quality.wealth,
            harm_wealth=quality.harm_wealth,
            needed=1 / quality.rule.alpha,
            difference=quality.difference,
            low=interval.low,
            high=interval.high,
            left=_left(whole),
            missing=quality.missing,
            lines=tuple(lines),
        )

    def drift(self) -> Drift:
        """Of the pairs that were fed."""
        fed = [self._journal.answered[place] for place in range(self._conjunction.n)]
        again = [pair for each in fed for pair in zip(each.baseline, each.again, strict=False)]
        return drifting.of(self._conjunction.pairs, again)

    def verdict(self) -> Verdict:
        whole, plan, terms = self._conjunction, self._plan, self._journal.declared
        findings = whole.findings()
        decision, reason = verdicts.conclude(findings, self._halt)
        return Verdict(
            decision=decision,
            findings=findings,
            baseline=terms.baseline,
            candidate=terms.candidate,
            suite=terms.suite,
            order=terms.order,
            seed=plan.seed,
            n=whole.n,
            reason=reason,
            halt=self._halt,
            judge=terms.judge,
            prompts=sides.system_prompts(
                sides.prompted(i.body, plan.candidate.prompt) for i in plan.source.suite.items
            ),
            models=terms.models,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            names={
                "baseline": plan.baseline.source,
                "candidate": plan.candidate.source,
                "suite": plan.source.suite.name,
                "cap": str(whole.cap),
            },
            facts=facts.of(whole.pairs),
        )


def _name(metric: str, slice_: str) -> str:
    return f"{metric} of '{slice_}'" if slice_ else metric


def _coin(digest: str, place: int) -> bool:
    return hashlib.sha256(f"{digest}:{place}".encode()).digest()[0] < 128


def _left(whole: Conjunction) -> int | None:
    """Clusters to go if the logarithm of each wealth keeps growing as it has: to the first rejection, or to the last
    promotion; None while one of them shows no growth."""
    rejections = [_to_go(bet.n, bet.harm_wealth, bet.rule.alpha) for bet in whole.bets]
    open_ = [bet for bet in whole.bets if bet.decision is not Decision.PROMOTE]
    promotions = [_to_go(bet.n, bet.wealth, bet.rule.alpha) for bet in open_]
    found = [left for left in rejections if left is not None]
    last = [left for left in promotions if left is not None]
    if last and len(last) == len(promotions):
        found.append(max(last))
    return min(*found, whole.cap - whole.n) if found else None


def _to_go(n: int, wealth: float, alpha: float) -> int | None:
    if n < 10 or wealth <= 1:
        return None
    return max(0, math.ceil((math.log(1 / alpha) - math.log(wealth)) / (math.log(wealth) / n)))
