"""The audit whole: logs in, one frozen Survey out. Draws nothing, and writes nothing.

    from trimtab.plan.survey import survey
    found = survey(["spend.jsonl.gz"])
    found.audit.totals.spend.nanodollars
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from trimtab.plan.audit import Audit

# Gets the source now read, how far it is, its size (None where not known), and the calls so far.
Progress = Callable[[str, int, int | None, int], None]


class Wanted(msgspec.Struct, frozen=True):
    """Which calls count: of this workflow, of this agent; all where None."""

    workflow: str | None = None
    agent: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one source: `read` calls, of them `known` for the second time; `bad` pieces were passed over,
    `samples` are the first reasons; `mended` counts by reason the calls that were taken although something in them
    cannot be right. `kept` are the calls that were wanted."""

    source: str
    read: int
    kept: int
    known: int
    bad: int
    samples: tuple[str, ...]
    mended: dict[str, int]


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """All that one audit found; `prices` is the version of the table that gave the missing costs."""

    reading: tuple[Reading, ...]
    audit: Audit
    prices: str
    wanted: Wanted = Wanted()
