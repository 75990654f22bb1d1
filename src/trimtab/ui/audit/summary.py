"""The audit in a terminal: what it costs, where, what is wasted, what would save. Measures nothing."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trimtab.plan.survey import Survey
from trimtab.ui.audit import page, waste
from trimtab.ui.audit.levers import interval, ordered, summary
from trimtab.ui.audit.numbers import NONE, count, figure, money, named, seconds, share, spent

_ROWS = 8


def drawn(survey: Survey) -> RenderableType:
    """What was found, before any lever is weighed."""
    parts = [_head(survey), _agents(survey), _flows(survey), _waste(survey), _bad(survey)]
    return Group(*(part for part in parts if part is not None))


def levers(survey: Survey) -> RenderableType:
    """What would save, alone and together."""
    if survey.weighed is None or survey.portfolio is None:
        return Text("No lever was looked at.", style="dim")
    table = _table("What each lever would save", "agent", "lever", ">saves of its cost", "why")
    rows = [row for row in ordered(survey.weighed.worths) if row.word in ("worth it", "worth a try")]
    for row in rows[:_ROWS]:
        style = "green" if row.word == "worth it" else "yellow"
        table.add_row(named(row.agent), Text(row.lever, style), interval(row.saving, row.low, row.high), row.says)
    if not rows:
        return Text(
            f"None of {len(survey.weighed.worths)} first estimates found a lever that is worth it.", style="dim"
        )
    return Group(table, Text.assemble(" ", summary(survey.portfolio)))


def nothing(survey: Survey) -> str:
    """Why there is nothing to show, and what to do."""
    read = sum(one.read for one in survey.reading)
    if read:
        return f"none of {read:,} calls is of that workflow and agent: leave --workflow and --agent away to see all"
    first = next((f"; the first: {one.samples[0]}" for one in survey.reading if one.samples), "")
    bad = sum(one.bad for one in survey.reading)
    return f"no call could be read ({bad:,} bad{first}): name the format with --format, see docs/audit.md"


def _head(survey: Survey) -> Panel:
    grid = Table.grid(padding=(0, 3))
    tiles = page.tiles(survey)
    for _ in tiles[:4]:
        grid.add_column()
    for at in range(0, len(tiles), 4):
        cells = [
            Text.assemble(
                (tile.name, "dim"), "\n", (tile.value, "bold"), *("\n", (tile.notes[0], "dim")) if tile.notes else ()
            )
            for tile in tiles[at : at + 4]
        ]
        grid.add_row(*cells)
    before, marked, after = page.headline(survey)
    return Panel(Group(grid), title=Text.assemble(before, (marked, "green"), after, style="bold"), border_style="cyan")


def _agents(survey: Survey) -> RenderableType | None:
    rows = survey.audit.where.agents
    if not rows:
        return None
    table = _table(
        "Where the money goes", "agent", ">cost", ">share", "", ">calls", ">tokens in", ">out", ">p50", ">p90"
    )
    for row in rows[:_ROWS]:
        bar = "█" * round(12 * (row.share or 0))
        table.add_row(
            named(row.name),
            *(spent(row.spend), share(row.share), Text(bar, "magenta"), f"{row.calls:,}"),
            *(count(row.input_tokens), count(row.output_tokens)),
            *(seconds((value or 0) / 1000) if value else NONE for value in (row.latency_p50_ms, row.latency_p90_ms)),
        )
    return _with_rest(table, len(rows), "agents")


def _flows(survey: Survey) -> RenderableType | None:
    shape = survey.audit.shape
    if not shape.flows:
        return None
    table = _table(
        "How the work flows", "workflow", ">tasks", ">calls a task", ">chain", ">a turn adds", ">solved", ">cost of it"
    )
    outcomes = {row.workflow: row for row in shape.outcomes}
    for row in shape.flows[:_ROWS]:
        held = outcomes.get(row.workflow)
        table.add_row(
            named(row.workflow),
            f"{row.tasks:,}",
            *(figure(one, lambda value: f"{value:.1f}") for one in (row.calls, row.chain)),
            figure(row.growth, count),
            figure(held.success) if held else NONE,
            figure(held.per_solved, money) if held else NONE,
        )
    return _with_rest(table, len(shape.flows), "workflows")


def _waste(survey: Survey) -> RenderableType | None:
    rows = waste.ranked(survey.audit.waste)
    if not rows:
        return None
    table = _table("What is wasted (these overlap)", "what", "where", ">share", ">cost of them", ">would go")
    for name, leak in rows[:_ROWS]:
        saving = NONE if leak.saving is None else money(leak.saving)
        table.add_row(name, waste.place(leak), f"{figure(leak.share)} of {leak.of}", spent(leak.spend), saving)
    return _with_rest(table, len(rows), "leaks")


def _bad(survey: Survey) -> RenderableType | None:
    lines: list[str] = []
    for one in survey.reading:
        if one.bad:
            lines.append(
                f" {one.source}: {one.bad:,} could not be read, the first: {one.samples[0] if one.samples else '?'}"
            )
        lines += [f" {one.source}: {times:,} {reason}" for reason, times in one.remarks.items()]
    return Text("\n".join(["", *lines]), style="yellow") if lines else None


def _with_rest(table: Table, rows: int, name: str) -> RenderableType:
    left = rows - _ROWS
    return Group(table, Text(f" and {left:,} more {name}", style="dim")) if left > 0 else table


def _table(title: str, *columns: str) -> Table:
    """A column that begins with > stands to the right."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, header_style="dim", pad_edge=False
    )
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table
