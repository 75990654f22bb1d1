"""What is wasted: repeats, prefixes, history, unused tools, cut answers, wordiness, work that could wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trimtab.plan.findings import Blocks, Leak, Prefix, UnusedTool, Verbosity, Waste
from trimtab.plan.survey import Survey
from trimtab.ui.audit import blocks, charts
from trimtab.ui.audit.blocks import Column, Markup, Section
from trimtab.ui.audit.charts import Band
from trimtab.ui.audit.numbers import NONE, count, figure, money, named, share, spent

_LEAKS = (
    *(Column("what"), Column("share"), Column("cost of them"), Column("would go"), Column("where", "left extra")),
    *(Column("note", "text extra"),),
)
_UNUSED = (Column("tool"), Column("agent"), Column("offered"), Column("used at most"), Column("tokens"))
_WORDY = (Column("agent"), Column("tokens out"), Column("p90"), Column("reasoning"), Column("a solved task", "extra"))
_MOST = 40


def section(survey: Survey) -> Section | None:
    waste = survey.audit.waste
    made = (
        leaks(waste),
        prefix(waste.prefix),
        reuse(waste.blocks),
        unused(waste.unused_tools),
        wordy(waste.verbosity),
    )
    why = "Each line is counted by itself: they overlap, so do not add them up. What they come to together is below."
    held = tuple(block for block in made if block)
    return Section("waste", "Waste", "What is wasted", why, held) if held else None


def ranked(waste: Waste) -> list[tuple[str, Leak]]:
    """Every leak with its name, largest saving first."""
    rows = [(name, leak) for name, leak in _leaks(waste) if leak.share.n and leak.share.value]
    return sorted(rows, key=lambda row: (-(row[1].saving or 0), -row[1].spend.nanodollars))


def _leaks(waste: Waste) -> Iterator[tuple[str, Leak]]:
    yield "exact repeats", waste.repeats
    for name, rows in (
        ("near repeats", waste.near),
        ("history replayed in full", waste.history),
        ("answers cut at the limit", waste.cut),
        ("work that could wait (batch)", waste.batchable),
        ("larger model than needed", waste.oversized),
    ):
        yield from ((name, row) for row in rows)


def leaks(waste: Waste) -> Markup:
    rows = [
        (
            name,
            f"{figure(leak.share)} of {leak.of}",
            spent(leak.spend),
            NONE if leak.saving is None else money(leak.saving),
            place(leak),
            leak.note,
        )
        for name, leak in ranked(waste)[:_MOST]
    ]
    return blocks.card("Leaks", blocks.table("Largest saving first; in brackets 95 % intervals", _LEAKS, rows))


def place(leak: Leak) -> str:
    return " · ".join(name for name in (leak.agent, leak.workflow) if name) or "everywhere"


def prefix(one: Prefix) -> Markup:
    bands = [
        Band(
            name,
            held.low if held.low is not None else held.value,
            held.value,
            held.high if held.high is not None else held.value,
        )
        for name, held in (("had", one.had), ("possible as it is", one.possible), ("possible, mended", one.fixable))
        if held.value is not None
    ]
    if not bands:
        return ""
    told = f"had {figure(one.had)}, possible {figure(one.possible)}, mended {figure(one.fixable)} of the input tokens"
    drawn = charts.intervals(bands, f"Prompt prefixes: {told}", "share of input tokens", ".0%")
    folds = [
        blocks.fold(
            row.cause,
            f"{count(row.tokens)} tokens",
            f"{named(row.agent)} · {figure(row.share)} of its requests",
            [("look at", ", ".join(row.share.look_at))],
            [("text at the break", row.sample)],
        )
        for row in one.breaks[:10]
    ]
    body = blocks.joined(drawn, blocks.heading("What breaks them") if folds else "", *folds)
    return blocks.card("Prompt prefixes that a cache could reuse", body, told[0].upper() + told[1:] + ".")


def reuse(one: Blocks | None) -> Markup:
    if one is None:
        return ""
    points = [{"x": held.blocks, "y": held.share, "series": "reused"} for held in one.curve if held.blocks > 0]
    told = (
        f"{figure(one.reused)} of {one.blocks:,} blocks of {one.size} tokens were there before, "
        f"with room for all {one.distinct:,}"
    )
    if len(points) < 4:
        return blocks.card("Prefix blocks", blocks.facts([("reused", told)]))
    drawn = charts.curves(
        points, f"Block reuse by cache size: {told}", ("room, in blocks", "log"), ("share reused", ".0%")
    )
    return blocks.card("Prefix blocks by the size of the cache", drawn, told + ".")


def unused(rows: Sequence[UnusedTool]) -> Markup:
    made = [
        (
            row.tool,
            named(row.agent),
            f"{row.offered:,}",
            share(row.share.high),
            count(row.tokens),
        )
        for row in rows[:_MOST]
    ]
    caption = "Defined in requests, never asked for; 'used at most' is the upper end of a 95 % interval"
    return blocks.card("Unused tools", blocks.table(caption, _UNUSED, made))


def wordy(rows: Sequence[Verbosity]) -> Markup:
    made = [
        (
            named(row.agent),
            figure(row.output, count),
            count(row.output_p90),
            figure(row.reasoning),
            figure(row.per_solved, count),
        )
        for row in rows
    ]
    return blocks.card("Wordiness", blocks.table("Tokens out per call, and of them for reasoning", _WORDY, made))
