"""The audit's page: a Survey in, one HTML document out that needs no network. Measures nothing."""

from __future__ import annotations

from pathlib import Path

from trimtab.errors import ConfigError
from trimtab.plan.survey import Survey
from trimtab.ui.audit import bill, blocks, examples, levers, method, shape, times, waste
from trimtab.ui.audit.blocks import Tile
from trimtab.ui.audit.numbers import NONE, between, count, money, seconds, share, spent

_SECTIONS = (
    bill.section,
    times.section,
    shape.section,
    waste.section,
    levers.section,
    levers.together,
    examples.section,
    method.section,
)


def document(survey: Survey) -> str:
    """The page as text; MissingExtra where the extra `audit` is not installed."""
    made = [build(survey) for build in _SECTIONS]
    words = {
        "headline": blocks.marked(*headline(survey)),
        "lead": lead(survey),
        "tiles": tiles(survey),
        "sections": [section for section in made if section is not None],
        "foot": f"Made by trimtab audit from {source_of(survey)}. This file needs no network and sends nothing.",
    }
    return blocks.page(f"Audit of {source_of(survey)}", words)


def check(path: Path) -> None:
    """ConfigError where no file can be written there: better before the reading than after it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"cannot write {path}: give --html a file in a folder that is there")


def write(path: Path, survey: Survey) -> None:
    """The page as a file, whole or not at all; ConfigError where it cannot be written."""
    text, held = document(survey), path.with_name(f".{path.name}.part")
    try:
        held.write_text(text, encoding="utf-8")
        held.replace(path)
    except OSError as error:
        held.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; give --html another file") from error


def source_of(survey: Survey) -> str:
    """The sources by name, the first few."""
    names = [reading.source.rstrip("/").rpartition("/")[2] or reading.source for reading in survey.reading]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def headline(survey: Survey) -> tuple[str, str, str]:
    """One sentence that can be forwarded: what it cost, what could go (to be marked), and the rest."""
    totals = survey.audit.totals
    if not totals.calls:
        return "No call could be read.", "", ""
    if totals.spend.known:
        paid = f"{spent(totals.spend)} went into {totals.calls:,} calls."
    else:
        paid = f"{count(totals.input_tokens + totals.output_tokens)} tokens went through {totals.calls:,} calls."
    one = survey.portfolio
    if one is None or not one.saving:
        return paid, "", ""
    return f"{paid} First estimates see ", share(one.saving), " of it saved."


def lead(survey: Survey) -> str:
    audit = survey.audit
    totals = audit.totals
    hours = max((row.hours for row in audit.traffic), default=0.0) if survey.has_times else 0.0
    over = f" over {hours:,.1f} hours" if 0.1 <= hours < 48 else f" over {hours / 24:,.0f} days" if hours >= 48 else ""
    only = " and ".join(
        f"{name} {value}"
        for name, value in (("workflow", survey.wanted.workflow), ("agent", survey.wanted.agent))
        if value
    )
    return (
        f"{_many(totals.traces, 'trace')} of {_many(len(audit.where.workflows) or 1, 'workflow')} and "
        f"{_many(len(audit.agents), 'agent')}{over}{f' (only {only})' if only else ''}. Read from {source_of(survey)}."
    )


def _many(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def tiles(survey: Survey) -> tuple[Tile, ...]:
    totals = survey.audit.totals
    cached = totals.cache_read_tokens / totals.input_tokens if totals.input_tokens else None
    unpriced = (f"{totals.spend.unpriced:,} calls have no known price",) if totals.spend.unpriced else ()
    made = [Tile("Cost, at list prices", spent(totals.spend), unpriced)]
    one = survey.portfolio
    if one is not None and one.saving:
        made.append(
            Tile(
                "Could go",
                f"{share(one.saving)}",
                (f"95 %: {between(share(one.low), share(one.high))}", f"{share(one.grounded)} counted or played"),
            )
        )
    made.append(Tile("Calls", f"{totals.calls:,}", (f"in {_many(totals.traces, 'trace')}",)))
    made.append(Tile("Tokens in", count(totals.input_tokens), (f"{share(cached)} of them cached",)))
    made.append(Tile("Tokens out", count(totals.output_tokens)))
    if totals.session_p50 and survey.has_times:
        made.append(
            Tile("A session takes", seconds(totals.session_p50), (f"one in ten over {seconds(totals.session_p90)}",))
        )
    if totals.success is not None:
        interval = between(share(totals.success_low), share(totals.success_high))
        made.append(
            Tile("Solved", share(totals.success), (f"{totals.solved:,} of {totals.scored:,}", f"95 %: {interval}"))
        )
        made.append(Tile("Cost of a solved trace", money(totals.per_solved) if totals.solved else NONE))
    return tuple(made)
