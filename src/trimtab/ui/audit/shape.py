"""How the work flows: the graph of agents, the critical path, the tools."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.plan.audit import Audit
from trimtab.plan.survey import Survey
from trimtab.plan.report import STAGES
from trimtab.plan.tools import ToolUse
from trimtab.ui.audit import blocks, flow
from trimtab.ui.audit.blocks import Column, Markup, Part, Section
from trimtab.ui.audit.flow import Edge, Node
from trimtab.ui.audit.numbers import NONE, count, seconds, share, spent

_TOOLS = (
    Column("tool"),
    Column("calls"),
    Column("", "bar extra"),
    Column("errors"),
    Column("repeated"),
    Column("seconds", "extra"),
    Column("context tokens", "extra"),
)


def section(survey: Survey) -> Section | None:
    audit = survey.audit
    if not audit.totals.calls:
        return None
    made = (graph(audit), stages(audit), blocks.heading("Tools") if audit.tools else "", tools(audit.tools))
    why = "Agents, what they hand to each other, and what bounds the wall clock."
    return Section("flow", "Flow", "How the work flows", why, made)


def graph(audit: Audit) -> Markup:
    agents = {row.agent or "(unnamed)": row for row in audit.agents}
    total = sum(row.model_seconds for row in audit.agents)
    nodes = [
        Node(name, (f"{row.calls:,} calls · {spent(row.spend)}", f"{share(row.model_seconds / total)} of model time" if total else ""), row.model_seconds / total if total else 0)
        for name, row in agents.items()
    ]
    edges = [Edge(one.source or "(unnamed)", one.target, one.count) for one in audit.handoffs]
    known = {*agents}
    nodes += [Node(name) for name in dict.fromkeys(edge.target for edge in edges) if name not in known]
    drawn = flow.drawn(nodes, edges, "Agents and their hand-offs")
    return blocks.card("Agents and hand-offs", drawn, "An arrow is as wide as the hand-offs are many; the bar in a box is its share of model time.")


def stages(audit: Audit) -> Markup:
    parts = [
        Part(STAGES[row.stage][0], row.share, share(row.share), f"{seconds(row.mean)} a session") for row in audit.stages
    ]
    return blocks.card("What bounds the wall clock", blocks.strip("Critical path by stage", parts)) if parts else ""


def tools(rows: Sequence[ToolUse]) -> Markup:
    made = [
        (
            row.tool,
            f"{row.calls:,}",
            row.share,
            f"{row.errors:,}" if row.errors else NONE,
            f"{row.repeats:,}" if row.repeats else NONE,
            seconds(row.seconds),
            count(row.context_tokens),
        )
        for row in rows
    ]
    return blocks.table("Tools by calls; 'repeated' has the same arguments in one session", _TOOLS, made)
