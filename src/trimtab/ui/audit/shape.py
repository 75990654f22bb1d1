"""How the work flows: the graph of agents, what bounds the wall clock, context growth, outcomes, tools."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trimtab.plan.audit import Audit
from trimtab.plan.findings import Bound, Edge, Flow, Node, Outcome
from trimtab.plan.report import STAGES
from trimtab.plan.survey import Survey
from trimtab.plan.timeline import Stage
from trimtab.ui.audit import blocks, charts, flow
from trimtab.ui.audit.blocks import Column, Markup, Part, Section
from trimtab.ui.audit.numbers import NONE, count, figure, money, named, seconds, share, spent

_WORKFLOWS = 4
_TOOLS = (
    *(Column("tool"), Column("calls"), Column("", "bar extra"), Column("errors"), Column("repeated")),
    *(Column("seconds", "extra"), Column("context tokens", "extra")),
)
_MODES = (
    Column("way to fail"),
    Column("share of tasks"),
    Column("unsolved of them"),
    Column("cost"),
    Column("rule", "text extra"),
)
_EDGES = (
    *(Column("hand-off"), Column("times"), Column("success"), Column("sent back", "extra")),
    *(Column("asked again", "extra"), Column("done again", "extra")),
)
_REPEATED = (
    Column("tool"),
    Column("calls"),
    Column("again, same arguments"),
    Column("most at once", "extra"),
    Column("cost"),
)
# A call with agents has a bound for each agent and stage; the page shows the largest.
_BOUNDS = 7


def section(survey: Survey) -> Section | None:
    audit = survey.audit
    if not audit.shape.flows:
        return None
    made: list[Markup] = []
    for one in audit.shape.flows[:_WORKFLOWS]:
        made += workflow(audit, one, (len(audit.shape.flows) > 1, survey.has_times))
    made.append(tools(audit))
    left = len(audit.shape.flows) - _WORKFLOWS
    why = "Agents, what they hand to each other, and what really bounds the wall clock."
    more = f" The {left} smaller workflows are in --json." if left > 0 else ""
    return Section("flow", "Flow", "How the work flows", why + more, tuple(block for block in made if block))


def workflow(audit: Audit, one: Flow, how: tuple[bool, bool]) -> list[Markup]:
    """All that is known of one workflow; `how`: whether it is one of many, and whether the log has times."""
    is_one_of_many, has_times = how
    name = one.workflow
    shape = audit.shape
    nodes = [node for node in shape.nodes if node.workflow == name]
    edges = [edge for edge in shape.edges if edge.workflow == name]
    outcome = next((row for row in shape.outcomes if row.workflow == name), None)
    return [
        blocks.heading(named(name)) if is_one_of_many else "",
        graph(nodes, edges) if len(nodes) > 1 else "",
        blocks.pair(facts(one, has_times), growth(audit, name)),
        bounds(one.bounds) if has_times else "",
        handoffs(edges),
        outcomes(outcome) if outcome else "",
        modes(audit, name),
        repeated(audit, name),
    ]


def graph(nodes: Sequence[Node], edges: Sequence[Edge]) -> Markup:
    boxes = [
        flow.Node(
            named(node.agent),
            (f"{node.calls:,} calls · {spent(node.spend)}", f"{share(node.path_share)} of the time"),
            node.path_share,
        )
        for node in nodes
    ]
    critical = {named(node.agent) for node in nodes if node.path_share >= 0.1}
    arrows = [
        flow.Edge(source, target, edge.count, {source, target} <= critical and edge.count >= _half(edges))
        for edge in edges
        for source, target in [(named(edge.source), named(edge.target))]
    ]
    drawn = flow.drawn(
        boxes,
        arrows,
        "Agents and hand-offs: " + "; ".join(f"{one.source} to {one.target} {one.count:,}" for one in arrows),
    )
    note = (
        "An arrow is as wide as its hand-offs are many. The bar in a box is the agent's share of the critical path; "
        "arrows in that colour join the agents that the wall clock waits for most."
    )
    left = len(boxes) - flow.MOST
    return blocks.card(
        "Agents and the critical path", drawn, note + (f" {left} smaller agents are left out." if left > 0 else "")
    )


def _half(edges: Sequence[Edge]) -> float:
    return max((edge.count for edge in edges), default=0) / 2


def facts(one: Flow, has_times: bool) -> Markup:
    rows: list[tuple[str, object]] = [
        ("tasks", f"{one.tasks:,}"),
        ("calls a task", f"{figure(one.calls, _one)}; p90 {count(one.calls_p90)}"),
        ("serial chain", f"{figure(one.chain, _one)} calls that could not overlap"),
        (
            "a task takes",
            f"{seconds(one.wall_p50_s)}; one in ten over {seconds(one.wall_p90_s)}" if has_times else NONE,
        ),
        ("in parallel", f"{figure(one.in_parallel)} of the time; {one.fan_out:,} at most"),
        ("tool calls an answer", figure(one.tools_an_answer, _one)),
        ("messages between agents", f"{figure(one.density, _two)} a call"),
        ("tool calls made again", figure(one.redundancy)),
        ("likeness of an agent's texts", figure(one.likeness)),
        ("each turn adds", f"{figure(one.growth, count)} input tokens"),
    ]
    known = [(name, text) for name, text in rows if not str(text).startswith(NONE)]
    return blocks.card("Shape", blocks.facts(known), "In brackets: 95 % intervals.")


def _one(value: float) -> str:
    return f"{value:.1f}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def growth(audit: Audit, name: str) -> Markup:
    turns = [one for one in audit.shape.turns if one.workflow == name]
    points = [
        {"x": one.turn, "y": value, "series": series}
        for one in turns
        for series, value in (("mean", one.tokens.value), ("p90", one.p90))
        if value is not None
    ]
    if len(turns) < 2:
        return ""
    first, last = turns[0], turns[-1]
    told = f"{count(first.p50)} tokens at turn {first.turn}, {count(last.p50)} at turn {last.turn} (medians)"
    drawn = charts.curves(points, f"Input tokens by turn: {told}", ("turn of the task", "~s"), ("input tokens", "~s"))
    return blocks.card("Context growth", drawn, told)


def bounds(rows: Sequence[Bound]) -> Markup:
    by_name: dict[tuple[str, Stage], float] = defaultdict(float)
    for row in rows:
        by_name[row.agent, row.stage] += row.share
    ranked = sorted(by_name.items(), key=lambda item: -item[1])
    parts = [
        Part(f"{named(agent)}: {STAGES[stage][0]}", part, share(part)) for (agent, stage), part in ranked[: _BOUNDS - 1]
    ]
    rest = sum(part for _, part in ranked[_BOUNDS - 1 :])
    if rest > 0:
        parts.append(Part("all else", rest, share(rest)))
    strip = blocks.strip("The critical path by agent and stage", parts)
    return (
        blocks.card("What the wall clock waits for", strip, "Shares of the critical path of all tasks.")
        if parts
        else ""
    )


def handoffs(edges: Sequence[Edge]) -> Markup:
    rows = [
        (
            f"{named(edge.source)} → {named(edge.target)}",
            f"{edge.count:,}",
            figure(edge.success),
            *(f"{value:,}" if value else NONE for value in (edge.returned, edge.asked_again, edge.done_again)),
        )
        for edge in edges
    ]
    caption = "Success: the receiver neither sends straight back, nor asks again, nor repeats a tool call of the sender"
    return blocks.card("Hand-offs", blocks.table(caption, _EDGES, rows))


def outcomes(one: Outcome) -> Markup:
    rows = [
        ("solved", figure(one.success)),
        ("cost of a solved task", figure(one.per_solved, money)),
        (
            "mean cost, solved against not",
            f"{figure(one.solved_cost, money)} against {figure(one.unsolved_cost, money)}",
        ),
        ("an unsolved task costs", f"{figure(one.ratio, _two)} times a solved one"),
        ("calls, solved against not", f"{figure(one.solved_calls, _one)} against {figure(one.unsolved_calls, _one)}"),
        (
            "messages, solved against not",
            f"{figure(one.solved_messages, _one)} against {figure(one.unsolved_messages, _one)}",
        ),
        ("tokens a solved task", figure(one.tokens_per_solved, count)),
    ]
    return blocks.card("What success costs", blocks.facts([row for row in rows if not row[1].startswith(NONE)]))


def modes(audit: Audit, name: str) -> Markup:
    rows = [
        (one.name, figure(one.share), figure(one.unsolved), spent(one.spend), one.rule)
        for one in audit.shape.modes
        if one.workflow == name
    ]
    return blocks.card("Ways to fail, told by rule", blocks.table("Tasks that show it", _MODES, rows))


def repeated(audit: Audit, name: str) -> Markup:
    rows = [
        (one.tool, f"{one.calls:,}", figure(one.share), f"{one.most:,}", spent(one.spend))
        for one in audit.shape.repeated_tools
        if one.workflow == name
    ]
    return blocks.card(
        "Repeated tool calls", blocks.table("Called again with the same arguments in one session", _REPEATED, rows)
    )


def tools(audit: Audit) -> Markup:
    rows = [
        (
            row.tool,
            f"{row.calls:,}",
            row.share,
            f"{row.errors:,}" if row.errors else NONE,
            f"{row.repeats:,}" if row.repeats else NONE,
            seconds(row.seconds),
            count(row.context_tokens),
        )
        for row in audit.tools
    ]
    return blocks.card(
        "Tools", blocks.table("Context tokens: what their results filled in all later requests", _TOOLS, rows)
    )
