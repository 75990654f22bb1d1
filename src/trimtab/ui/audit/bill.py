"""Where the money goes: the bill as a waterfall, and by workflow, agent, model, template and failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trimtab.plan.audit import Audit
from trimtab.plan.findings import Lost, PartUse, Template, Use
from trimtab.plan.portfolio import Portfolio
from trimtab.plan.survey import Survey
from trimtab.ui.audit import blocks, charts
from trimtab.ui.audit.blocks import Column, Markup, Section
from trimtab.ui.audit.charts import Step
from trimtab.ui.audit.numbers import count, figure, milliseconds, named, share, spent

_USE = (
    *(Column("cost"), Column("share"), Column("", "bar extra"), Column("calls"), Column("failed", "extra")),
    *(Column("tokens in", "extra"), Column("cached", "extra"), Column("out", "extra")),
    *(Column("p50", "extra"), Column("p90", "extra"), Column("p99", "extra")),
)
_LOST = (Column("what"), Column("calls"), Column("cost"), Column("share of all calls", "extra"))
_BARS = 8
_TEMPLATES = 12


def section(survey: Survey) -> Section | None:
    audit = survey.audit
    if not audit.totals.calls:
        return None
    made = [
        waterfall(audit, survey.portfolio),
        uses("workflow", audit.where.workflows) if len(audit.where.workflows) > 1 else "",
        uses("agent", audit.where.agents),
        uses("model", audit.where.models),
        *templates(audit.where.templates),
        lost(audit.where.lost),
    ]
    why = "What the parts of prompts and answers cost at list prices, and what is left if the levers keep their word."
    return Section("bill", "Bill", "Where the money goes", why, tuple(block for block in made if block))


def waterfall(audit: Audit, portfolio: Portfolio | None) -> Markup:
    """What the tokens were for, up to the bill; then what each lever takes off, down to what would be left."""
    whole = audit.totals.spend.nanodollars / 1e9
    if not whole:
        return strip(audit.where.parts)
    steps, at = [], 0.0
    for name, amount in _pieces(audit, whole):
        steps.append(Step(name, at, at + amount, "part"))
        at += amount
    steps.append(Step("the bill", 0.0, whole, "total"))
    at = whole
    savings = _savings(portfolio, whole)
    for name, amount in savings:
        steps.append(Step(name, at, at - amount, "saving"))
        at -= amount
    if portfolio is not None and savings:
        low, high = whole * (1 - portfolio.high), whole * (1 - portfolio.low)
        steps.append(Step("what is left", 0.0, at, "total", low, high))
    told = ", ".join(f"{step.name} {charts.dollars(abs(step.end - step.start))}" for step in steps)
    drawn = charts.waterfall(steps, f"The bill, part by part: {told}")
    note = "Each bar starts where the one above it ends. The line at the last one is the interval of the estimates."
    return blocks.card("From the tokens to the bill, and down again", drawn, note if savings else "")


def _pieces(audit: Audit, whole: float) -> list[tuple[str, float]]:
    """The parts with a known cost, and the rest; agents where the parts are not known."""
    parts = [one for one in audit.where.parts if not one.agent and not one.workflow and one.nanodollars]
    if parts:
        known = [(str(one.part), (one.nanodollars or 0) / 1e9) for one in parts]
        rest = whole - sum(amount for _, amount in known)
        if rest < 0:  # Parts are estimates: where they overshoot they are scaled to the bill.
            known = [(name, amount * whole / (whole - rest)) for name, amount in known]
        return known + ([("not told apart", rest)] if rest > whole * 0.005 else [])
    rows = [(named(row.agent), row.spend.nanodollars / 1e9) for row in audit.agents]
    rest = sum(amount for _, amount in rows[_BARS:])
    return rows[:_BARS] + ([(f"{len(rows) - _BARS} other agents", rest)] if rest else [])


def _savings(portfolio: Portfolio | None, whole: float) -> list[tuple[str, float]]:
    by_lever: dict[str, float] = defaultdict(float)
    for one in portfolio.chosen if portfolio else ():
        by_lever[one.lever] += one.added * whole
    return [(lever, amount) for lever, amount in by_lever.items() if amount > 0]


def strip(parts: Sequence[PartUse]) -> Markup:
    """What the tokens were for, where nothing has a price."""
    whole = [one for one in parts if not one.agent and not one.workflow and one.share.value]
    made = [blocks.Part(str(one.part), one.share.value or 0, figure(one.share), count(one.tokens)) for one in whole]
    return blocks.card("What the tokens were for", blocks.strip("Tokens by part", made)) if made else ""


def uses(what: str, rows: Sequence[Use]) -> Markup:
    twice = len({row.name for row in rows}) < len(rows)
    made = [
        (
            f"{named(row.name)} · {named(row.workflow)}" if twice else named(row.name),
            spent(row.spend),
            share(row.share),
            row.share,
            f"{row.calls:,}",
            f"{row.failed:,}" if row.failed else "–",
            count(row.input_tokens),
            share(row.cache_read_tokens / row.input_tokens if row.input_tokens else None),
            count(row.output_tokens),
            milliseconds(row.latency_p50_ms),
            milliseconds(row.latency_p90_ms),
            milliseconds(row.latency_p99_ms),
        )
        for row in rows
    ]
    caption = f"By {what}; shares are of the known cost, times of complete calls"
    return blocks.card(f"By {what}", blocks.table(caption, (Column(what), *_USE), made))


def templates(rows: Sequence[Template]) -> list[Markup]:
    if not rows:
        return []
    made = [blocks.heading("By prompt template")]
    for row in rows[:_TEMPLATES]:
        first = next((line.strip() for line in row.text.splitlines() if line.strip(" …")), "")
        first = first or "prompts that share too little text"
        under = f"{named(row.agent)} · {row.calls:,} calls · {row.slots} slots · {share(row.constant)} constant text"
        facts = [
            ("share of the sample", figure(row.share)),
            ("different fillings", f"{row.distinct:,}"),
            ("tokens in, out", f"{count(row.input_tokens)}, {count(row.output_tokens)}"),
            ("latency p50", milliseconds(row.latency_p50_ms)),
            ("look at", ", ".join(row.look_at)),
        ]
        title = first if len(first) <= 110 else f"{first[:109]}…"
        made.append(blocks.fold(title, spent(row.spend), under, facts, [("constant text; … is a slot", row.text)]))
    return made


def lost(rows: Sequence[Lost]) -> Markup:
    made = [
        (row.kind, f"{row.spend.priced + row.spend.unpriced:,}", spent(row.spend), figure(row.share)) for row in rows
    ]
    return blocks.card("Paid for without an answer", blocks.table("Failures, retries and cut streams", _LOST, made))
