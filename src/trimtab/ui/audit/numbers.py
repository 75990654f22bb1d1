"""Numbers as people read them in the page and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable

from trimtab.money import text_of
from trimtab.plan.findings import Figure
from trimtab.plan.spending import Spend

NONE = "–"


def money(nano: int | float | None) -> str:
    """Nano-dollars at a glance: three figures, thousands and millions with their letters."""
    if nano is None:
        return text_of(None)
    value = abs(nano) / 1e9
    sign = "−" if nano < 0 else ""
    for least, letter in ((1e9, "bn"), (1e6, "M"), (1e4, "k")):
        if value >= least:
            return f"{sign}${value / (1e3 if letter == 'k' else least):,.1f}{letter}"
    if value >= 1:
        return f"{sign}${value:,.2f}"
    if not value:
        return "$0"
    # Three figures that count, and at least cents.
    text = f"{value:.{2 - math.floor(math.log10(value))}f}".rstrip("0")
    return f"{sign}${text}" if len(text) > 3 else f"{sign}${value:.2f}"


def spent(spend: Spend) -> str:
    """'≥' marks a sum in which calls without a known price are missing."""
    text = money(spend.known)
    return f"≥ {text}" if spend.unpriced and spend.priced else text


def count(value: int | float | None) -> str:
    """12,345 up to a million, 1.23M above."""
    if value is None:
        return NONE
    for least, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= least:
            return f"{value / least:,.2f}{letter}"
    return f"{value:,.0f}"


def share(value: float | None) -> str:
    """0 and 100 only where it is all or nothing."""
    if value is None:
        return NONE
    if 0 < value < 0.001:
        return "<0.1%"
    digits = 1 if 0 < value < 0.1 or 0.995 <= value < 1 else 0
    return f"{value:.{digits}%}"


def seconds(value: float | None) -> str:
    if value is None:
        return NONE
    if value and abs(value) < 0.1:
        return f"{value * 1000:,.0f} ms" if abs(value) >= 0.001 else "<1 ms"
    if abs(value) < 100:
        return f"{value:,.1f} s"
    return f"{value / 60:,.1f} min" if abs(value) < 6000 else f"{value / 3600:,.1f} h"


def milliseconds(value: float | None) -> str:
    """A call of 0 ms is one whose log says no times."""
    return seconds(value / 1000) if value else NONE


def between(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def figure(held: Figure, form: Callable[[float], str] = share) -> str:
    """The value with its interval, where there is one."""
    if held.value is None:
        return NONE
    text = form(held.value)
    if held.low is None or held.high is None:
        return text
    return f"{text} ({between(form(held.low), form(held.high))})"


def named(text: str) -> str:
    """What stands for a name that no call gave."""
    return text or "(unnamed)"
