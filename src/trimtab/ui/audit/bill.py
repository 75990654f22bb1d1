"""Where the money goes: the bill as a waterfall, and by workflow, agent, model and template."""

from __future__ import annotations

from trimtab.plan.survey import Survey
from trimtab.plan.spending import AgentUse
from trimtab.ui.audit import blocks, charts
from trimtab.ui.audit.blocks import Column, Markup, Section
from trimtab.ui.audit.charts import Step
from trimtab.ui.audit.numbers import count, milliseconds, share, spent

_COLUMNS = (
    Column("agent"),
    Column("cost"),
    Column("share"),
    Column("", "bar extra"),
    Column("calls"),
    Column("tokens in", "extra"),
    Column("cached", "extra"),
    Column("out", "extra"),
    Column("p50"),
    Column("p90", "extra"),
)
_BARS = 8


def section(survey: Survey) -> Section | None:
    audit = survey.audit
    if not audit.totals.calls:
        return None
    made = (waterfall(audit.agents), blocks.heading("By agent"), by_agent(audit.agents))
    why = "List prices of each call's model for fresh, cached, written and generated tokens."
    return Section("bill", "Bill", "Where the money goes", why, made)


def waterfall(agents: tuple[AgentUse, ...]) -> Markup:
    """Agents, largest first, up to the whole."""
    steps: list[Step] = []
    at = 0.0
    for row in agents[:_BARS]:
        end = at + row.spend.nanodollars / 1e9
        steps.append(Step(row.agent or "(unnamed)", at, end, "part"))
        at = end
    rest = sum(row.spend.nanodollars for row in agents[_BARS:]) / 1e9
    if rest:
        steps.append(Step(f"{len(agents) - _BARS} others", at, at + rest, "part"))
        at += rest
    steps.append(Step("the bill", 0.0, at, "total"))
    drawn = charts.waterfall(steps, "The bill by agent") if at else ""
    return blocks.card("The bill", drawn, "Each bar starts where the one above it ends.")


def by_agent(agents: tuple[AgentUse, ...]) -> Markup:
    rows = [
        (
            row.agent or "(unnamed)",
            spent(row.spend),
            share(row.share),
            row.share,
            f"{row.calls:,}",
            count(row.input_tokens),
            share(row.cache_read_tokens / row.input_tokens if row.input_tokens else None),
            count(row.output_tokens),
            milliseconds(row.latency_p50_ms),
            milliseconds(row.latency_p90_ms),
        )
        for row in agents
    ]
    return blocks.table("Agents by cost; p50 and p90 are the times of complete calls", _COLUMNS, rows)
