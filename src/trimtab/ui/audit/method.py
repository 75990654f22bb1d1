"""How it was measured: what was read, what could not be, and what the figures can not say."""

from __future__ import annotations

from trimtab.plan.survey import Reading, Survey
from trimtab.ui.audit import blocks
from trimtab.ui.audit.blocks import Column, Markup, Section
from trimtab.ui.audit.numbers import share

_READ = (Column("source"), Column("calls"), Column("counted"), Column("twice", "extra"), Column("bad"))
LIMITS = (
    "Costs are list prices, not your contract's; a call whose model has no known price is counted apart, never as 0.",
    "Latency and the critical path are as good as the clock of the log: a trace without times has none.",
    "Parts of a prompt are told apart by their place and form; their tokens are their share of the request's bytes.",
    "A first estimate is no proof. It says where to look first; trimtab gate compares a lever with what serves now.",
    "What is masked are secrets and structured personal data (addresses, numbers), not names.",
)


def section(survey: Survey) -> Section:
    rows = [(one.source, f"{one.read:,}", f"{one.kept:,}", f"{one.known:,}", f"{one.bad:,}") for one in survey.reading]
    made = [
        blocks.card("What was read", blocks.table("Calls by source", _READ, rows)),
        *(_bad(one) for one in survey.reading if one.bad or one.remarks),
        blocks.heading("How"),
        blocks.bullets(how(survey)),
        blocks.heading("Limits"),
        blocks.bullets(LIMITS),
        methods(survey),
    ]
    why = "Everything was read once, on one machine; nothing was sent anywhere and no model was asked."
    return Section("method", "Method", "Method and limits", why, tuple(block for block in made if block))


def how(survey: Survey) -> tuple[str, ...]:
    sampled = survey.audit.sampled
    whole = "Totals, distributions, workflows, agents and models are over all calls."
    bodies = (
        f"Texts were looked at in {sampled.sessions:,} whole sessions ({share(sampled.share)} of all, "
        f"{sampled.calls:,} calls, {sampled.with_bodies:,} with bodies), chosen by the hash of seed {sampled.seed} "
        "and their names." + (f" {sampled.cut:,} sessions were longer than is kept of one." if sampled.cut else "")
    )
    prices = f"Costs that the logs do not hold come from price table {survey.prices}."
    lines = [whole, bodies] if sampled.sessions else [whole]
    if survey.weighed:
        lines.append(f"The first estimates took {survey.weighed.cpu_s:.1f} s of CPU.")
    if survey.untimed:
        lines.append(f"The times of {survey.untimed:,} calls are made up to keep their order: their log has none.")
    return (*lines, *([prices] if survey.prices else []))


def methods(survey: Survey) -> Markup:
    """Every method that a figure names, once."""
    named: dict[str, None] = {}
    for holder in (survey.audit.where, survey.audit.shape, survey.audit.waste):
        for text in _methods(holder):
            named.setdefault(text)
    return blocks.fold("How each figure was made", str(len(named)), "", [], [("", "\n".join(named))]) if named else ""


def _methods(value: object) -> list[str]:
    """The `method` of every figure below `value`."""
    if isinstance(value, tuple):
        return [text for held in value for text in _methods(held)]
    fields = getattr(value, "__struct_fields__", ())
    found = [text for name in fields if name != "method" for text in _methods(getattr(value, name))]
    method = getattr(value, "method", "")
    return [method, *found] if isinstance(method, str) and method else found


def _bad(one: Reading) -> Markup:
    facts = [(reason, f"{times:,} times") for reason, times in one.remarks.items()]
    texts = [("The first that could not be read", "\n".join(one.samples))] if one.samples else []
    return blocks.fold(f"What was wrong in {one.source}", f"{one.bad:,} bad", "", facts, texts)
