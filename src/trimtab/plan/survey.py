"""The audit whole: logs in, one frozen Survey out. Draws nothing, and writes nothing.

from trimtab.plan.survey import survey
found = survey(["spend.jsonl.gz"])
found.audit.totals.spend.nanodollars
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from trimtab.plan.audit import Audit
from trimtab.plan.portfolio import Portfolio
from trimtab.plan.spread import Spread
from trimtab.plan.worth import Weighed

# Gets the source now read, how far it is, its size (None where not known), and the calls so far.
Progress = Callable[[str, int, int | None, int], None]


class Wanted(msgspec.Struct, frozen=True):
    """Which calls count: of this workflow, of this agent; all where None."""

    workflow: str | None = None
    agent: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one source: `read` calls, of them `known` for the second time; `kept` are those that were wanted.
    `bad` pieces were passed over, `samples` are the first reasons; `mended` counts by reason the calls that were taken
    although something in them cannot be right."""

    source: str
    read: int
    kept: int
    known: int
    bad: int
    samples: tuple[str, ...] = ()
    mended: dict[str, int] = {}


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One call to look at, its texts shortened, secrets and structured personal data masked; `shows` says which
    findings point to it."""

    id: str
    workflow: str
    agent: str
    model: str
    input_tokens: int
    output_tokens: int
    nanodollars: int | None
    duration_ms: float
    shows: tuple[str, ...]
    request: str
    answer: str


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """All that one audit found. `weighed` and `portfolio` are None where no lever was looked at; `prices` is the
    version of the table that gave the costs that the logs do not hold."""

    reading: tuple[Reading, ...]
    audit: Audit
    spreads: tuple[Spread, ...] = ()
    weighed: Weighed | None = None
    portfolio: Portfolio | None = None
    examples: tuple[Example, ...] = ()
    prices: str = ""
    wanted: Wanted = Wanted()
