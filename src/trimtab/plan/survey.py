"""The audit whole: logs in, one frozen Survey out. Draws nothing, and writes nothing.

from trimtab.plan.survey import survey
found = survey(["spend.jsonl.gz"])
found.audit.totals.spend.nanodollars
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trimtab.config import shipped_prices
from trimtab.money import PriceTable
from trimtab.plan import examples, portfolio, weighing
from trimtab.plan.audit import Audit, Auditor
from trimtab.plan.evidence import shown
from trimtab.plan.examples import Example
from trimtab.plan.portfolio import Portfolio
from trimtab.plan.spread import Spread, Spreads
from trimtab.plan.worth import Agent, Budget, Use, Weighed
from trimtab.store import logs
from trimtab.store.formats.reading import ImportReport
from trimtab.trace import Call, Record, Score

# CPU seconds that the first estimates may take unless it is said.
CPU_S = 12.0
# Gets the source now read, how far it is, its size (None where not known), and the calls so far.
Progress = Callable[[str, int, int | None, int], None]


class Wanted(msgspec.Struct, frozen=True):
    """Which calls count: of this workflow, of this agent; all where None."""

    workflow: str | None = None
    agent: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one source: `read` calls, of them `known` for the second time; `kept` are those that were wanted.
    `bad` pieces were passed over, `samples` are the first reasons; `remarks` counts what else was noticed."""

    source: str
    read: int
    kept: int
    known: int
    bad: int
    samples: tuple[str, ...] = ()
    remarks: dict[str, int] = {}


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """All that one audit found. `weighed` and `portfolio` are None where no lever was looked at; `prices` is the
    version of the table that gave the costs that the logs do not hold. The times of `untimed` calls are made up,
    because their logs have none."""

    reading: tuple[Reading, ...]
    audit: Audit
    spreads: tuple[Spread, ...] = ()
    weighed: Weighed | None = None
    portfolio: Portfolio | None = None
    examples: tuple[Example, ...] = ()
    prices: str = ""
    wanted: Wanted = Wanted()
    untimed: int = 0

    @property
    def has_times(self) -> bool:
        """Whether seconds mean anything here."""
        return self.untimed < self.audit.totals.calls


def survey(
    sources: Sequence[str | Path],
    prices: PriceTable | None = None,
    *,
    kind: str = "auto",
    wanted: Wanted | None = None,
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Survey:
    """Read `sources` (files, folders, stores, addresses of databases) and weigh every lever on them.

    `prices` is the table shipped unless given; `kind` is one of `store.logs.FORMATS`; `budget` says what the first
    estimates may take. Raises FormatError where a source
    cannot be opened or its kind is not known, MissingExtra where its driver is not installed.
    """
    surveyor = Surveyor(prices or shipped_prices(), wanted or Wanted(), is_one=len(sources) < 2)
    for source in sources:
        surveyor.read(source, kind, progress)
    return surveyor.weighed(surveyor.found(), budget)


class Surveyor:
    """One audit on its way: `read` each source, then `found`, which is quick, and `weighed`, which takes seconds."""

    def __init__(self, prices: PriceTable, wanted: Wanted, *, is_one: bool = False) -> None:
        self._prices, self._wanted, self._takes_all = prices, wanted, wanted == Wanted()
        self._auditor, self._spreads = Auditor(prices), Spreads()
        self._reading: list[Reading] = []
        self._seconds: dict[Agent, float] = defaultdict(float)
        self._calls = self._untimed = 0
        # A reader knows its own source's calls; those of several are told apart here.
        self._seen: set[int] | None = None if is_one else set()

    def read(self, source: str | Path, kind: str = "auto", progress: Progress | None = None) -> Reading:
        """Every call of one source; the errors are those of `survey`."""
        report, before, again = ImportReport(), self._calls, 0
        name, size = named(source), logs.size_of(source)
        told = None if progress is None else lambda done: progress(name, done, size, self._calls)
        for record, scores in logs.records(source, self._prices, kind=kind, report=report, progress=told):
            if self._seen is not None and not self._is_new(record.call):
                again += 1
            elif self._takes_all or self._is_wanted(record.call):
                self._add(record, scores)
        self._reading.append(
            Reading(
                source=name,
                read=report.read,
                kept=self._calls - before,
                known=report.known + again,
                bad=report.bad,
                samples=tuple(report.samples),
                remarks=dict(report.remarks),
            )
        )
        return self._reading[-1]

    def found(self) -> Survey:
        """All but the levers."""
        return Survey(
            reading=tuple(self._reading),
            audit=self._auditor.result(),
            spreads=self._spreads.result(),
            prices=self._prices.version,
            wanted=self._wanted,
            untimed=self._untimed,
        )

    def weighed(self, found: Survey, budget: Budget | None = None) -> Survey:
        """`found` with every lever for every agent, their combination, and the calls to look at."""
        by_agent = self._auditor.by_agent()
        sample = {
            agent: [Record(call, trace.payloads.get(call.id)) for trace in traces for call in trace.calls]
            for agent, traces in by_agent.items()
        }
        uses = self._uses(found.audit)
        judged = weighing.weigh(sample, self._prices, uses, budget or Budget(cpu_s=CPU_S))
        chosen = portfolio.combine(judged.worths, uses)
        shown_calls = examples.chosen(found.audit, judged, self._auditor.traces())
        return msgspec.structs.replace(found, weighed=judged, portfolio=chosen, examples=shown_calls)

    def _add(self, record: Record, scores: tuple[Score, ...]) -> None:
        call = record.call
        self._auditor.add(record, scores)
        self._spreads.add(call)
        self._seconds[call.workflow, call.agent] += call.duration_ms
        self._calls += 1
        self._untimed += bool(call.tags) and call.tags.get("times") == "made up"

    def _is_new(self, call: Call) -> bool:
        if self._seen is None:
            return True
        before = len(self._seen)
        self._seen.add(hash(call.id))
        return len(self._seen) > before

    def _is_wanted(self, call: Call) -> bool:
        workflow, agent = self._wanted.workflow, self._wanted.agent
        return (workflow is None or call.workflow == workflow) and (agent is None or call.agent == agent)

    def _uses(self, audit: Audit) -> dict[Agent, Use]:
        seconds: dict[Agent, float] = defaultdict(float)
        for (workflow, agent), spent in self._seconds.items():
            seconds[shown(workflow), shown(agent)] += max(0.0, spent) / 1000
        return {
            (row.workflow, row.name): Use(
                calls=row.calls, nanodollars=row.spend.nanodollars, seconds=seconds[row.workflow, row.name]
            )
            for row in audit.where.agents
        }


def named(source: str | Path) -> str:
    """The source as it may be shown: of an address the password is left out."""
    text = str(source)
    scheme, mark, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if mark else text
