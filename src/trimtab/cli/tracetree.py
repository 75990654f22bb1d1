"""A trace's tree and the list of traces as rich draws them. Computes nothing: see `store.tree`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from trimtab.money import text_of as money
from trimtab.store.traces import TraceSummary
from trimtab.store.tree import AgentNode, CallNode, ToolNode, TraceTree
from trimtab.trace import EndState, Score

_SHORT = 90
_ID = 12


def draw(what: Table | Tree) -> int:
    """To standard output, as wide as the terminal; 0."""
    Console(highlight=False).print(what)
    return 0


def table_of(summaries: Sequence[TraceSummary]) -> Table:
    """One row a trace."""
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    # Its first characters are enough for `traces show`, and must stay in one piece to be copied.
    table.add_column("trace", no_wrap=True, min_width=_ID)
    table.add_column("started (UTC)", min_width=len("2026-11-22"))
    for name in ("workflow", "agents"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "tokens\nin", "\nout", "cost", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    scores = [escape(_scores(summary.scores)) for summary in summaries]
    ends = [_incomplete(summary) for summary in summaries]
    # Columns that would stay empty leave their room to the others.
    more = [(name, column) for name, column in (("scores", scores), ("not complete", ends)) if any(column)]
    for name, _ in more:
        table.add_column(name, overflow="fold")
    for place, summary in enumerate(summaries):
        table.add_row(
            summary.id[:_ID],
            _when(summary.started_ns),
            escape(summary.workflow),
            escape(" → ".join(summary.agents)),
            str(summary.calls),
            f"{summary.input_tokens:,}",
            f"{summary.output_tokens:,}",
            _cost(summary),
            duration(summary.duration_ms),
            *(column[place] for _, column in more),
        )
    return table


def _incomplete(summary: TraceSummary) -> str:
    ends = ", ".join(f"{count} {end}" for end, count in summary.ends.items() if end != EndState.COMPLETE)
    return f"[red]{ends}[/red]" if ends else ""


def drawing_of(tree: TraceTree) -> Tree:
    """The trace, its agents nested by hand-off, their calls and tools, with times and costs."""
    summary = tree.summary
    tokens = f"{summary.input_tokens:,} → {summary.output_tokens:,} tokens"
    head = f"[bold]trace {escape(summary.id)}[/bold]  {escape(summary.workflow)}  {_when(summary.started_ns)} UTC"
    drawn = Tree(f"{head}\n{summary.calls} calls, {tokens}, [bold]{_cost(summary)}[/bold]")
    if any(node.call.tags.get("times") == "made up" for agent in tree.agents for node in agent.calls):
        drawn.add("[dim]the source holds no times: those below only keep the order[/dim]")
    for agent in tree.agents:
        _draw_agent(drawn, agent, "agent")
    drawn.add(
        f"total [bold]{duration(summary.duration_ms)}[/bold]"
        f" (model {duration(tree.model_ms)}, tools {duration(tree.tool_ms)}), [bold]{_cost(summary)}[/bold]"
    )
    if summary.scores:
        drawn.add(f"scores: [bold]{escape(_scores(summary.scores))}[/bold]")
    return drawn


def _draw_agent(parent: Tree, agent: AgentNode, word: str) -> None:
    branch = parent.add(f"{word} [bold cyan]{escape(agent.name or 'unnamed')}[/bold cyan]")
    for call in agent.calls:
        _draw_call(branch, call)


def _draw_call(parent: Tree, node: CallNode) -> None:
    call = node.call
    approximately = "~" if call.usage.estimated else ""
    parts = [duration(call.duration_ms)]
    if call.ttft_ms is not None:
        parts.append(f"TTFT {duration(call.ttft_ms)}")
    parts.append(f"{approximately}{call.usage.input_tokens:,} → {approximately}{call.usage.output_tokens:,} tokens")
    if call.usage.cache_read_tokens:
        parts.append(f"{call.usage.cache_read_tokens:,} cached")
    parts.append(money(call.cost_nanodollars))
    good = call.end is EndState.COMPLETE
    end = f"[green]{call.end}[/green]" if good else f"[red]{call.end} ({call.status})[/red]"
    model = call.response_model or call.request_model
    branch = parent.add(f"call {escape(model)}  {', '.join(parts)}  {end}")
    if node.text:
        branch.add(f"[dim]“{escape(shortened(node.text))}”[/dim]")
    if call.error:
        branch.add(f"[red]{escape(shortened(call.error))}[/red]")
    for tool in node.tools:
        _draw_tool(branch, tool)
    if node.tool_ms is not None:
        branch.add(f"[dim]{duration(node.tool_ms)} until the next request[/dim]")
    for agent in node.agents:
        _draw_agent(branch, agent, "⇒ agent")


def _draw_tool(parent: Tree, tool: ToolNode) -> None:
    if tool.target is not None:
        parent.add(f"[magenta]hand-off ⇒ {escape(tool.target)}[/magenta] {escape(shortened(tool.arguments))}")
        return
    result = "no result seen" if tool.result is None else shortened(tool.result)
    parent.add(f"tool [yellow]{escape(tool.name)}[/yellow] {escape(shortened(tool.arguments))} → {escape(result)}")


def shortened(text: str) -> str:
    """One line of at most 90 characters."""
    line = " ".join(text[: 4 * _SHORT].split())
    return line if len(line) <= _SHORT and len(text) <= 4 * _SHORT else line[: _SHORT - 1] + "…"


def duration(ms: float) -> str:
    """'12 ms', '1.50 s' or '2 min 05 s'."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.2f} s" if ms < 120_000 else f"{int(ms // 60_000)} min {int(ms % 60_000 // 1000):02d} s"


def _when(started_ns: int) -> str:
    return datetime.datetime.fromtimestamp(started_ns / 1e9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _cost(summary: TraceSummary) -> str:
    more = f" + {summary.unpriced} unpriced" if summary.unpriced and summary.cost_nanodollars is not None else ""
    return money(summary.cost_nanodollars) + more


def _scores(scores: Sequence[Score]) -> str:
    return ", ".join(f"{score.name} {score.value:g}" for score in scores)
