"""What each lever would save, alone and together. Estimates nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.plan.portfolio import Portfolio
from trimtab.plan.survey import Survey
from trimtab.plan.worth import Word, Worth
from trimtab.ui.audit import blocks, charts
from trimtab.ui.audit.blocks import Column, Markup, Section
from trimtab.ui.audit.charts import Band
from trimtab.ui.audit.numbers import NONE, between, money, named, share

_LEVERS = (
    *(Column("agent"), Column("lever", "left"), Column("first estimate", "left"), Column("saves of its cost")),
    *(Column("saves of its time", "extra"), Column("worse answers, at most", "extra"), Column("effort", "extra")),
)
_TOGETHER = (
    *(Column("lever"), Column("agent", "left"), Column("alone", "extra"), Column("adds to the above")),
    *(Column("worse answers, at most"), Column("risk", "text extra")),
)
_RANK = {Word.WORTH: 0, Word.TRY: 1, Word.NO: 2, Word.SKIPPED: 3}
_CLASS = {Word.WORTH: "good", Word.TRY: "warn"}
_BANDS = 12


def section(survey: Survey) -> Section | None:
    """Levers one by one."""
    if survey.weighed is None or not survey.weighed.worths:
        return None
    rows = ordered(survey.weighed.worths)
    promising = [row for row in rows if _RANK[row.word] < 2]
    bands = [
        Band(f"{row.lever} · {named(row.agent)}", row.low, row.saving, row.high)
        for row in promising[:_BANDS]
        if row.high > 0
    ]
    drawn = charts.intervals(
        bands, "Saving of each lever as a share of its agent's cost", "share of the agent's cost", ".0%"
    )
    made = (
        blocks.card("Worth it, or worth a try", drawn, "A dot is the first estimate, the line its 95 % interval."),
        table(rows),
        blocks.heading("Each in full"),
        *(_fold(row) for row in rows if row.word is not Word.SKIPPED),
        blocks.bullets(survey.weighed.notes),
    )
    why = (
        "First estimates from your own calls; no model was asked. "
        "Before a lever takes traffic, trimtab gate proves that answers did not get worse."
    )
    return Section("levers", "Levers", "What each lever would save", why, tuple(block for block in made if block))


def ordered(rows: Sequence[Worth]) -> list[Worth]:
    """Worth it first, then by saving; agents stay in the order they came, the dearest first, among equals."""
    return sorted(rows, key=lambda row: (_RANK[row.word], -row.saving))


def table(rows: Sequence[Worth]) -> Markup:
    made = [
        (
            named(row.agent),
            row.lever,
            blocks.badge(row.word, _CLASS.get(row.word, "dim")),
            interval(row.saving, row.low, row.high),
            interval(row.seconds, row.seconds_low, row.seconds_high),
            share(row.quality) if row.quality else NONE,
            row.effort,
        )
        for row in rows
    ]
    return blocks.card("Every lever for every agent", blocks.table("In brackets 95 % intervals", _LEVERS, made))


def interval(value: float, low: float, high: float) -> str:
    if not value and not high:
        return NONE
    return f"{share(value)} ({between(share(low), share(high))})"


def _fold(row: Worth) -> Markup:
    facts: list[tuple[str, object]] = [
        ("what it stands on", f"{row.evidence}, n = {row.n:,}"),
        ("method", row.method),
        ("evidence that is missing", "; ".join(row.missing)),
        ("risk", row.risk),
        ("effort", row.effort),
        ("what breaks it", row.breaks),
        *_flat(row.facts),
        ("look at", ", ".join(row.look)),
    ]
    under = f"{row.word}: {row.says}"
    return blocks.fold(
        f"{named(row.agent)} · {row.lever}",
        interval(row.saving, row.low, row.high),
        under,
        [fact for fact in facts if fact[1]],
    )


def _flat(facts: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [(name.replace("_", " "), _text(value)) for name, value in facts.items() if value is not None]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(held)}" for name, held in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(held) for held in value)
    return str(value)


def together(survey: Survey) -> Section | None:
    """The combination, step by step."""
    one = survey.portfolio
    if one is None or not (one.chosen or one.left_out):
        return None
    rows = [
        (
            row.lever,
            named(row.agent),
            share(row.alone),
            interval(row.added, row.low, row.high),
            share(row.quality) if row.quality else NONE,
            row.risk,
        )
        for row in one.chosen
    ]
    left = [f"{named(agent)}: {lever} is left out, {why}" for _, agent, lever, why in one.left_out]
    made = (
        blocks.card(
            "",
            blocks.table("Best value for its risk first; shares are of the whole bill", _TOGETHER, rows),
            summary(one),
        ),
        blocks.fold("Left out", str(len(left)), "", [], [("", "\n".join(left))]) if left else "",
    )
    why = "Savings do not add: a call that a cache answers can not be made cheaper by a smaller model as well."
    return Section("together", "Together", "What they come to together", why, tuple(block for block in made if block))


def summary(one: Portfolio) -> str:
    seconds = f", and {share(one.seconds)} of the time in models" if one.seconds else ""
    if not one.saving:
        return f"Nothing comes off the bill by these{seconds}."
    return (
        f"Together {interval(one.saving, one.low, one.high)} of the bill, {money(one.nanodollars)}{seconds}; "
        f"added up they would claim {share(one.summed)}. {share(one.grounded)} of the bill rests on calls counted or "
        f"played, the rest on upper bounds. They may make {share(one.quality)} of all answers worse."
    )
