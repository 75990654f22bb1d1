"""How long calls take and how large they are: distributions and arrivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trimtab.plan.findings import Traffic
from trimtab.plan.spread import Spread
from trimtab.plan.survey import Survey
from trimtab.ui.audit import blocks, charts
from trimtab.ui.audit.blocks import Column, Markup, Section
from trimtab.ui.audit.numbers import NONE, count, figure, milliseconds, money, named

_TITLES = {
    "latency": "Latency of a call",
    "cost": "Cost of a call",
    "input": "Tokens into a call",
    "output": "Tokens out of a call",
}
_FORMS: dict[str, Callable[[float], str]] = {"ms": milliseconds, "US dollars": lambda value: money(value * 1e9)}
_TRAFFIC = (
    *(Column("workflow"), Column("calls"), Column("hours", "extra"), Column("in p50"), Column("in p90", "extra")),
    *(Column("out p50"), Column("out p90", "extra"), Column("burstiness"), Column("peak over mean", "extra")),
)


def section(survey: Survey) -> Section | None:
    drawn = [_drawn(one) for one in survey.spreads]
    made = (
        *(blocks.pair(*drawn[at : at + 2]) for at in range(0, len(drawn), 2)),
        traffic(survey.audit.traffic, survey.has_times),
    )
    why = (
        "Complete calls on a logarithmic axis. A long right tail is where a cap, a smaller model or a cache helps most."
    )
    return Section("spread", "Spread", "How calls are spread", why, made) if any(made) else None


def _drawn(one: Spread) -> Markup:
    scale = 1 / 1000 if one.unit == "ms" else 1.0
    unit = "seconds" if one.unit == "ms" else one.unit
    bars = [(held.low * scale, held.high * scale, held.count) for held in one.bins]
    marks = {name: value * scale for name, value in (("p50", one.p50), ("p90", one.p90), ("p99", one.p99))}
    form = _FORMS.get(one.unit, count)
    told = f"p50 {form(one.p50)} · p90 {form(one.p90)} · p99 {form(one.p99)} · n = {one.n:,}"
    nought = f" · {one.nought:,} of 0 not drawn" if one.nought else ""
    title = _TITLES.get(one.name, one.name)
    return blocks.card(title, charts.histogram(bars, f"{title}: {told}", unit, marks), told + nought)


def traffic(rows: Sequence[Traffic], has_times: bool) -> Markup:
    made = [
        (
            named(row.workflow),
            f"{row.calls:,}",
            f"{row.hours:,.1f}" if has_times else NONE,
            count(row.input_p50),
            count(row.input_p90),
            count(row.output_p50),
            count(row.output_p90),
            figure(row.burstiness, lambda value: f"{value:.2f}") if has_times else NONE,
            NONE if row.peak is None or not has_times else f"{row.peak:.1f}×",
        )
        for row in rows
    ]
    caption = "Tokens per call, and arrivals; burstiness is the coefficient of variation of the gaps (1: evenly random)"
    return blocks.card("Traffic", blocks.table(caption, _TRAFFIC, made))
