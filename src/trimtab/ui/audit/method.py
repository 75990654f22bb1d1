"""How it was measured: what was read, what could not be, and what the figures can not say."""

from __future__ import annotations

from trimtab.plan.survey import Survey, Reading
from trimtab.ui.audit import blocks
from trimtab.ui.audit.blocks import Column, Section

_COLUMNS = (Column("source"), Column("calls"), Column("counted"), Column("twice", "extra"), Column("bad"))
LIMITS = (
    "Costs are list prices of the named table, not your contract's.",
    "A first estimate is no proof: before a lever takes traffic, trimtab gate compares it with what serves now.",
)


def section(survey: Survey) -> Section:
    rows = [
        (one.source, f"{one.read:,}", f"{one.kept:,}", f"{one.known:,}", f"{one.bad:,}") for one in survey.reading
    ]
    made = [
        blocks.table("What was read", _COLUMNS, rows),
        *(_bad(one) for one in survey.reading if one.bad or one.mended),
        blocks.heading("Limits"),
        blocks.bullets(LIMITS),
    ]
    why = "Everything was read once, on this machine; nothing was sent anywhere."
    return Section("method", "Method", "Method and limits", why, tuple(made))


def _bad(one: Reading) -> str:
    facts = [(reason, f"{times:,} calls") for reason, times in one.mended.items()]
    texts = [("The first that could not be read", "\n".join(one.samples))] if one.samples else []
    return blocks.fold(f"What was wrong in {one.source}", f"{one.bad:,} bad", "", facts, texts)
