"""The calls that the findings point to, masked."""

from __future__ import annotations

from trimtab.plan.examples import Example
from trimtab.plan.survey import Survey
from trimtab.ui.audit import blocks
from trimtab.ui.audit.blocks import Markup, Section
from trimtab.ui.audit.numbers import milliseconds, money, named


def section(survey: Survey) -> Section | None:
    if not survey.examples:
        return None
    why = "What the findings point to. Secrets and structured personal data are masked; long texts are shortened."
    return Section("calls", "Calls", "Calls to look at", why, tuple(_fold(one) for one in survey.examples))


def _fold(one: Example) -> Markup:
    facts = [
        ("shows", "; ".join(one.shows)),
        ("model", one.model),
        ("tokens in, out", f"{one.input_tokens:,}, {one.output_tokens:,}"),
        ("took", milliseconds(one.duration_ms)),
    ]
    texts = [(name, text) for name, text in (("request", one.request), ("answer", one.answer)) if text]
    under = f"{named(one.workflow)} · {named(one.agent)} · {one.shows[0] if one.shows else ''}"
    return blocks.fold(one.id, money(one.nanodollars), under, [fact for fact in facts if fact[1]], texts)
