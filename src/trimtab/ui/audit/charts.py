"""Charts of the audit's page: rows of numbers in, SVG text out, drawn by Vega-Lite without a browser.

Each chart is drawn twice, for a wide and for a narrow page, so that its letters keep their size. Colours are the
page's CSS variables, so one picture serves light, dark and paper. Knows no survey.
"""

from __future__ import annotations

import html
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.errors import require
from trimtab.ui.audit.numbers import money

WIDE, HALF, NARROW = 1080, 500, 318
# The widest letters a reader's font may have, in pixels a letter of 12.
LETTER = 7.4
FONT = "system-ui, sans-serif"
SERIES = ("var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)", "var(--six)")
MONEY = "$,.3~r"
_IDS = itertools.count(1)
Row = Mapping[str, Any]


class Step(msgspec.Struct, frozen=True):
    """One bar of a waterfall, in dollars: from `start` to `end`; `kind` is part, total or saving."""

    name: str
    start: float
    end: float
    kind: str
    low: float | None = None
    high: float | None = None


class Band(msgspec.Struct, frozen=True):
    """One row of an interval chart: a point between `low` and `high`."""

    name: str
    low: float
    value: float
    high: float
    kind: str = ""


def waterfall(steps: Sequence[Step], title: str) -> str:
    """The bill, part by part to its total, then what could come off it."""
    rows = [
        {
            "name": step.name,
            "from": min(step.start, step.end),
            "to": max(step.start, step.end),
            "kind": step.kind,
            "text": dollars(step.end - step.start if step.kind == "saving" else abs(step.end - step.start)),
            "low": step.low,
            "high": step.high,
            "far": max(step.start, step.end, step.high or 0.0),
        }
        for step in steps
    ]
    order = [step.name for step in steps]
    most = max((step.end for step in steps), default=0.0)
    colour = {
        "field": "kind",
        "scale": {"domain": ["part", "total", "saving"], "range": ["var(--one)", "var(--ink)", "var(--good)"]},
        "legend": None,
    }
    x = _axis("from", "US dollars", MONEY) | {"scale": {"domain": [0, most * 1.12 or 1]}}
    marks = [
        {"mark": {"type": "bar", "cornerRadius": 2, "height": {"band": 0.66}}, "encoding": {"color": colour}},
        {
            "transform": [{"filter": "datum.low != null"}],
            "mark": {"type": "rule", "strokeWidth": 1.5, "color": "var(--ink)"},
            "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 5, "color": "var(--ink)"},
            "encoding": {"x": {"field": "far", "type": "quantitative"}, "text": {"field": "text"}},
        },
    ]
    spec = {"encoding": {"y": _names(order), "x": x, "x2": {"field": "to"}}, "layer": marks}
    return _drawn(spec, rows, title, (WIDE, 27 * len(rows)))


def intervals(bands: Sequence[Band], title: str, unit: str, form: str) -> str:
    """One row a band: its interval as a line, its value as a dot."""
    rows = [msgspec.structs.asdict(band) for band in bands]
    order = [band.name for band in bands]
    layer = [
        {
            "mark": {"type": "rule", "strokeWidth": 4, "opacity": 0.35, "strokeCap": "round", "color": "var(--good)"},
            "encoding": {"x": _axis("low", unit, form), "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1, "color": "var(--good)"},
            "encoding": {"x": {"field": "value", "type": "quantitative"}},
        },
    ]
    return _drawn({"encoding": {"y": _names(order)}, "layer": layer}, rows, title, (WIDE, 27 * len(rows)))


def histogram(bars: Sequence[tuple[float, float, float]], title: str, unit: str, marks: Mapping[str, float]) -> str:
    """Bars of (from, to, count) on a logarithmic axis, with lines at `marks` (such as p50)."""
    rows = [{"from": low, "to": high, "count": count} for low, high, count in bars if low > 0]
    if not rows:
        return ""
    form = MONEY if unit == "US dollars" else ",~r"
    across = {"title": unit, "format": form, "values": _ticks(rows[0]["from"], rows[-1]["to"])}
    x = {"field": "from", "type": "quantitative", "axis": across, "scale": {"type": "log", "nice": False}}
    y = _axis("count", "calls", ",~r") | {"axis": {"title": None, "format": "~s", "tickCount": 4, "grid": True}}
    # Room over the bars for the names of the lines.
    y["scale"] = {"domain": [0, max(row["count"] for row in rows) * 1.45]}
    layer: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "color": "var(--one)", "binSpacing": 1},
            "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0}},
        }
    ]
    for index, (name, value) in enumerate((name, value) for name, value in marks.items() if value > 0):
        place = {"data": {"values": [{"at": value, "name": name}]}}
        at = {"x": {"field": "at", "type": "quantitative"}}
        rule = {"type": "rule", "strokeDash": [3, 3], "color": "var(--ink)"}
        words = {"type": "text", "align": "right", "dx": -4, "color": "var(--ink)"}
        layer.append(place | {"mark": rule, "encoding": at})
        layer.append(
            place | {"mark": words, "encoding": at | {"text": {"field": "name"}, "y": {"value": 6 + 14 * index}}}
        )
    return _drawn({"layer": layer}, rows, title, (HALF, 160))


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in reach; the powers alone where those would be too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    return [held for power in powers for step in steps if low <= (held := step * 10.0**power) <= high * 1.001]


def curves(points: Sequence[Row], title: str, x: tuple[str, str], y: tuple[str, str]) -> str:
    """Lines over (x, y), one a `series`; x and y are (axis title, number format), where an x format may be "log"."""
    names = list(dict.fromkeys(point["series"] for point in points))
    across = _axis("x", x[0], "~s")
    if x[1] == "log":
        known = [point["x"] for point in points]
        across["axis"] |= {"values": _ticks(min(known), max(known)) if max(known) > min(known) else known}
        across["scale"] = {"type": "log", "nice": False}
    colour = {
        "field": "series",
        "scale": {"domain": names, "range": list(SERIES[: len(names)])},
        "legend": {"orient": "top", "title": None, "columns": 2, "labelLimit": 130} if len(names) > 1 else None,
    }
    spec: dict[str, Any] = {
        "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 28, "filled": True}},
        "encoding": {"x": across, "y": _axis("y", y[0], y[1]), "color": colour},
    }
    spec["encoding"]["y"]["axis"]["grid"] = True
    return _drawn(spec, [dict(point) for point in points], title, (HALF, 190))


def dollars(value: float) -> str:
    """Short, for a label."""
    return money(value * 1e9)


def _axis(field: str, title: str, form: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "axis": {"title": title, "format": form, "tickCount": 5}}


def _names(order: Sequence[str]) -> dict[str, Any]:
    """The axis of rows by name, with room for the longest."""
    room = min(170.0, max((len(name) for name in order), default=0) * LETTER)
    return {
        "field": "name",
        "type": "nominal",
        "sort": list(order),
        "axis": {"title": None, "minExtent": room, "labelLimit": room + 4},
    }


def _drawn(spec: Mapping[str, Any], rows: Sequence[Row], title: str, size: tuple[int, int]) -> str:
    """Both widths of one chart, as HTML; `title` is read out in place of the picture."""
    if not rows:
        return ""
    pictures = [
        f'<div class="{name}">{_svg(spec, rows, title, (width, size[1]))}</div>'
        for name, width in (("wide", size[0]), ("narrow", NARROW))
    ]
    return "".join(pictures)


def _svg(spec: Mapping[str, Any], rows: Sequence[Row], title: str, size: tuple[int, int]) -> str:
    require("audit", "vl_convert")
    import vl_convert

    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": size[0],
        "height": size[1],
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": None,
        "padding": 2,
        "data": {"values": list(rows)},
        "config": _STYLE,
        **spec,
    }
    return _titled(vl_convert.vegalite_to_svg(whole, allowed_base_urls=[]), title)


def _titled(svg: str, title: str) -> str:
    """The SVG as it stands in a page: scales with it, is one image with a name, and shares no id with another."""
    mark = f"v{next(_IDS)}-"
    svg = re.sub(r'(?<=id=")|(?<=url\(#)', mark, svg)
    svg = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", svg)
    name = html.escape(title)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1).replace(">", f"><title>{name}</title>", 1)


_STYLE: dict[str, Any] = {
    "view": {"stroke": None},
    "font": FONT,
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "axisX": {"labelOverlap": True, "labelSeparation": 4},
    "axisY": {"grid": False, "ticks": False, "domain": False, "labelColor": "var(--ink)", "labelPadding": 6},
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 12},
    "text": {"fontSize": 12, "font": FONT},
}
