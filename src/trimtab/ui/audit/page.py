"""The audit's page: Survey in, one HTML document out that needs no network. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.plan.survey import Survey
from trimtab.ui.audit import bill, blocks, method, shape
from trimtab.ui.audit.blocks import Section, Tile
from trimtab.ui.audit.numbers import NONE, between, count, money, seconds, share, spent


def document(survey: Survey) -> str:
    """The page as text; the same Survey give the same page."""
    made = [build(survey) for build in (bill.section, shape.section, method.section)]
    sections = [section for section in made if section is not None]
    return blocks.page(
        f"Audit of {name_of(survey)}",
        {
            "headline": headline(survey),
            "lead": lead(survey),
            "tiles": tiles(survey),
            "sections": sections,
            "foot": f"Made by trimtab audit from {name_of(survey)}, on one machine, without a network. Prices: table {survey.prices}.",
        },
    )


def name_of(survey: Survey) -> str:
    """The sources by name, the first few."""
    names = [reading.source.rpartition("/")[2] or reading.source for reading in survey.reading]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def headline(survey: Survey) -> str:
    """One sentence that can be forwarded."""
    totals = survey.audit.totals
    return f"{spent(totals.spend)} went into {totals.calls:,} calls"


def lead(survey: Survey) -> str:
    totals = survey.audit.totals
    units = "traces" if totals.traces != 1 else "trace"
    return (
        f"{count(totals.input_tokens)} tokens in and {count(totals.output_tokens)} out, in {totals.traces:,} {units} "
        f"of {len(survey.audit.agents):,} agents. Costs are list prices."
    )


def tiles(survey: Survey) -> tuple[Tile, ...]:
    totals = survey.audit.totals
    cached = totals.cache_read_tokens / totals.input_tokens if totals.input_tokens else None
    unpriced = (f"{totals.spend.unpriced:,} calls have no price",) if totals.spend.unpriced else ()
    made = [
        Tile("Cost, at list prices", spent(totals.spend), unpriced),
        Tile("Calls", f"{totals.calls:,}", (f"in {totals.traces:,} traces",)),
        Tile("Tokens in", count(totals.input_tokens), (f"{share(cached)} of them cached",)),
        Tile("Tokens out", count(totals.output_tokens)),
        Tile("A session takes", seconds(totals.session_p50), (f"median; one in ten over {seconds(totals.session_p90)}",)),
    ]
    if totals.success is not None:
        interval = between(share(totals.success_low), share(totals.success_high))
        solved = f"{totals.solved:,} of {totals.scored:,}; 95 %: {interval}"
        made.append(Tile("Solved", share(totals.success), (solved,)))
        made.append(Tile("Cost of a solved trace", money(totals.per_solved) if totals.solved else NONE))
    return tuple(made)
