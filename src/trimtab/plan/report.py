"""An Audit drawn for people (100 columns wide) or written as JSON. Computes nothing but shares of a drawn total."""

from __future__ import annotations

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from trimtab.money import text_of
from trimtab.plan.audit import Audit, Totals
from trimtab.plan.spending import AgentUse, Spend
from trimtab.plan.timeline import Stage
from trimtab.plan.tools import Handoff

BAR = 30
STAGES = {
    Stage.PREFILL: ("model, to the first token", "cyan"),
    Stage.DECODE: ("model, writing the answer", "blue"),
    Stage.MODEL: ("model, not streamed", "blue"),
    Stage.TOOLS: ("tools and client", "yellow"),
    Stage.CUSTOMER: ("customer reads and types", "green"),
    Stage.OTHER: ("after a failure, or not recorded", "red"),
}


def draw(audit: Audit) -> RenderableType:
    """Every table that has something to say, under a headline."""
    parts: list[RenderableType] = [_headline(audit.totals)]
    if audit.agents:
        parts += [_title("Where the money went, by agent (TTFT p50, call p50 and p90 in ms)"), _agents(audit)]
    if audit.stages:
        parts += [_title("Where the seconds went: the critical path of a session"), _stages(audit)]
    if audit.tools:
        parts += [_title("Tools (seconds: from the answer that asked to the next request)"), _tools(audit)]
    if audit.handoffs:
        parts += [_title("Hand-offs"), _handoffs(audit.handoffs)]
    parts += [_title("Repeated and failed"), Padding(_waste(audit), (0, 1))]
    return Group(*parts)


def to_json(audit: Audit) -> str:
    """The Audit as indented JSON: field names as in `trimtab.plan.audit`, money in nano-dollars, unknown is null."""
    return msgspec.json.format(msgspec.json.encode(audit), indent=2).decode()


def money(spend: Spend) -> str:
    """A sum for people: '≥' marks one in which calls without a known price are missing."""
    known = text_of(spend.known)
    return f"≥ {known}" if spend.unpriced and spend.priced else known


def _headline(totals: Totals) -> Panel:
    grid = Table.grid(padding=(0, 2), expand=True)
    for _ in range(4):
        grid.add_column(ratio=1)
    cached = totals.cache_read_tokens / totals.input_tokens if totals.input_tokens else 0
    traces = [f"{totals.calls:,} calls"]
    if totals.sessions != totals.traces:
        traces.append(f"{totals.sessions:,} sessions")
    grid.add_row(
        _fact("traces", f"{totals.traces:,}", *traces),
        _fact("tokens", f"{_tokens(totals.input_tokens)} in", f"{cached:.0%} of them cached"),
        _fact("", f"{_tokens(totals.output_tokens)} out"),
        _fact("success", *_success(totals)),
    )
    grid.add_row()
    unpriced = [f"{totals.spend.unpriced:,} calls have no price"] if totals.spend.unpriced else []
    bound = "≥ " if totals.spend.unpriced and totals.per_solved is not None else ""
    grid.add_row(
        _fact("cost, at list prices", money(totals.spend), *unpriced),
        _fact("cost per solved trace", f"{bound}{text_of(totals.per_solved)}" if totals.solved else "–"),
        _fact("a session takes", f"{totals.session_p50:,.1f} s (p50)", f"{totals.session_p90:,.1f} s (p90)"),
        _fact("time of all sessions", f"{totals.seconds:,.0f} s"),
    )
    return Panel(grid, title="[bold]Where money and seconds went[/]", border_style="cyan", width=100)


def _success(totals: Totals) -> tuple[str, ...]:
    if totals.success is None:
        return "not scored", "no score 'success'"
    low, high = totals.success_low, totals.success_high
    return f"{totals.success:.1%}", f"{totals.solved:,} of {totals.scored:,}", f"95 %: {low:.1%} to {high:.1%}"


def _fact(name: str, value: str, *notes: str) -> Text:
    return Text.assemble(
        (name, "dim"), "\n", (value, "bold"), *(part for note in notes for part in ("\n", (note, "dim")))
    )


def _agents(audit: Audit) -> Table:
    table = _table("agent")
    columns = ["calls", "cost", "share", "", "tokens in", "cached", "out", "model s", "TTFT", "p50", "p90"]
    _columns(table, columns)
    for row in audit.agents:
        table.add_row(*_agent(row))
    return table


def _agent(row: AgentUse) -> tuple[RenderableType, ...]:
    cached = row.cache_read_tokens / row.input_tokens if row.input_tokens else 0
    return (
        row.agent or "(unnamed)",
        f"{row.calls:,}",
        money(row.spend),
        _share(row.share),
        _bar(row.share or 0, "magenta", 8),
        _tokens(row.input_tokens),
        f"{cached:.0%}",
        _tokens(row.output_tokens),
        f"{row.model_seconds:,.1f}",
        _milliseconds(row.ttft_p50_ms),
        _milliseconds(row.latency_p50_ms),
        _milliseconds(row.latency_p90_ms),
    )


def _stages(audit: Audit) -> Table:
    table = _table("stage")
    _columns(table, ["share", "", "mean s", "p50 s", "p90 s"])
    for row in audit.stages:
        name, colour = STAGES[row.stage]
        bar = _bar(row.share, colour, BAR)
        table.add_row(name, _share(row.share), bar, f"{row.mean:.2f}", f"{row.p50:.2f}", f"{row.p90:.2f}")
    return table


def _tools(audit: Audit) -> Table:
    table = _table("tool")
    _columns(table, ["calls", "share", "", "errors", "repeated", "seconds", "context tokens"])
    for row in audit.tools:
        table.add_row(
            row.tool,
            f"{row.calls:,}",
            _share(row.share),
            _bar(row.share, "yellow", 10),
            _count(row.errors),
            _count(row.repeats),
            f"{row.seconds:,.2f}",
            f"≈ {_tokens(row.context_tokens)}" if row.context_tokens else "–",
        )
    return table


def _handoffs(handoffs: tuple[Handoff, ...]) -> Table:
    targets = list(dict.fromkeys(row.target for row in handoffs))
    counts = {(row.source, row.target): row.count for row in handoffs}
    table = _table("from")
    _columns(table, [f"to {target}" for target in targets])
    for source in dict.fromkeys(row.source for row in handoffs):
        table.add_row(source or "(unnamed)", *(_count(counts.get((source, target), 0)) for target in targets))
    return table


def _waste(audit: Audit) -> Text:
    """One line a kind of waste, with what it cost."""
    repeats = audit.repeats
    lines = [
        f"requests sent again exactly  {repeats.requests:,} of {audit.totals.calls:,} calls "
        f"({repeats.across:,} across sessions), {money(repeats.spend)}",
        f"tool calls made again with the same arguments in one session  {sum(row.repeats for row in audit.tools):,}",
    ]
    lines += [f"calls ended {row.end.value}  {row.calls:,}, {money(row.spend)}" for row in audit.failures]
    if not audit.failures:
        lines.append("calls not complete  0")
    if audit.saved.hits:
        saved = text_of(audit.saved.nanodollars)
        lines.append(f"calls answered from what was kept  {audit.saved.hits:,}, {saved} saved")
    if audit.totals.without_bodies:
        lines.append(
            f"{audit.totals.without_bodies:,} calls were recorded without bodies: they are in money and time alone"
        )
    return Text("\n".join(lines))


def _title(text: str) -> RenderableType:
    return Padding(Rule(Text(text, style="bold"), align="left", style="dim"), (1, 0, 0, 0))


def _table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    table.add_column(first, style="bold", overflow="fold")
    return table


def _columns(table: Table, names: list[str]) -> None:
    """Numbers are right-aligned; a column without a name holds a bar."""
    for name in names:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)


def _bar(share: float, colour: str, width: int) -> Text:
    """A bar in eighths of a character, `width` characters for 1."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    filled = "█" * whole + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text(filled.ljust(width), style=colour)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _count(count: int) -> str:
    return f"{count:,}" if count else "–"


def _tokens(count: int) -> str:
    return f"{count:,}" if count < 10_000_000 else f"{count / 1e6:,.1f}M"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
