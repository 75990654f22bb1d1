"""Charts of the audit's page: rows of numbers in, SVG text out, drawn by Vega-Lite without a browser.

Each chart is drawn twice, for a wide and for a narrow page, so that its letters keep their size. Colours are the
page's CSS variables, so one picture serves light, dark and paper. Knows no Audit.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.errors import require

WIDE, NARROW = 640, 270
FONT = "system-ui, sans-serif"
SERIES = ("var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)", "var(--six)")
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
        }
        for step in steps
    ]
    order = [step.name for step in steps]
    most = max((row["to"] for row in rows), default=0.0)
    colour = {
        "field": "kind",
        "scale": {"domain": ["part", "total", "saving"], "range": ["var(--one)", "var(--ink)", "var(--good)"]},
        "legend": None,
    }
    y = {"field": "name", "type": "nominal", "sort": order, "axis": {"title": None, "labelLimit": 150}}
    x = _axis("from", "US dollars", "$~g") | {"scale": {"domain": [0, most * 1.16 or 1]}}
    marks = [
        {"mark": {"type": "bar", "cornerRadius": 2, "height": {"band": 0.66}}, "encoding": {"color": colour}},
        {
            "transform": [{"filter": "datum.low != null"}],
            "mark": {"type": "rule", "strokeWidth": 1.5, "color": "var(--ink)"},
            "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 5, "color": "var(--ink)"},
            "encoding": {"x": {"field": "to", "type": "quantitative"}, "text": {"field": "text"}},
        },
    ]
    spec = {"encoding": {"y": y, "x": x, "x2": {"field": "to"}}, "layer": marks}
    return _drawn(spec, rows, title, 26 * max(1, len(rows)))


def intervals(bands: Sequence[Band], title: str, unit: str, form: str) -> str:
    """One row a band: its interval as a line, its value as a dot."""
    rows = [msgspec.structs.asdict(band) for band in bands]
    order = [band.name for band in bands]
    y = {"field": "name", "type": "nominal", "sort": order, "axis": {"title": None, "labelLimit": 150}}
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
    return _drawn({"encoding": {"y": y}, "layer": layer}, rows, title, 26 * max(1, len(rows)))


def histogram(bars: Sequence[tuple[float, float, float]], title: str, unit: str, marks: Mapping[str, float]) -> str:
    """Bars of (from, to, count) on a logarithmic axis, with lines at `marks` (such as p50)."""
    rows = [{"from": low, "to": high, "count": count} for low, high, count in bars if low > 0]
    lines = [{"at": value, "name": name} for name, value in marks.items() if value > 0]
    x = _axis("from", unit, "~s") | {"scale": {"type": "log", "nice": False}}
    layer: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "color": "var(--one)", "binSpacing": 1, "opacity": 0.9},
            "encoding": {"x": x, "x2": {"field": "to"}, "y": _axis("count", "calls", "~s")},
        }
    ]
    for kind in ({"type": "rule", "strokeDash": [3, 3]}, {"type": "text", "align": "left", "dx": 3, "dy": -2}):
        spot = {"x": {"field": "at", "type": "quantitative"}}
        extra = {"text": {"field": "name"}, "y": {"value": 8}} if kind["type"] == "text" else {}
        layer.append({"data": {"values": lines}, "mark": kind | {"color": "var(--ink)"}, "encoding": spot | extra})
    return _drawn({"layer": layer}, rows, title, 150)


def curves(points: Sequence[Row], title: str, x: tuple[str, str], y: tuple[str, str]) -> str:
    """Lines over (x, y), one a `series`; x and y are (axis title, number format), an x format of "log" is a log axis."""
    names = list(dict.fromkeys(point["series"] for point in points))
    across = _axis("x", x[0], "~s") | ({"scale": {"type": "log"}} if x[1] == "log" else {})
    colour = {
        "field": "series",
        "scale": {"domain": names, "range": list(SERIES[: len(names)])},
        "legend": {"orient": "top", "title": None, "columns": 2, "labelLimit": 130} if len(names) > 1 else None,
    }
    spec = {
        "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 28, "filled": True}},
        "encoding": {"x": across, "y": _axis("y", y[0], y[1]), "color": colour},
    }
    return _drawn(spec, [dict(point) for point in points], title, 170)


def dollars(value: float) -> str:
    """Short, for a label: $12.3k, $4.56, $0.0071."""
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 10_000:
        return f"{sign}${size / 1000:,.1f}k"
    if size >= 1:
        return f"{sign}${size:,.2f}"
    return f"{sign}${size:.2g}" if size else "$0"


def _axis(field: str, title: str, form: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "axis": {"title": title, "format": form, "tickCount": 5}}


def _drawn(spec: Mapping[str, Any], rows: Sequence[Row], title: str, height: int) -> str:
    """Both widths of one chart, as HTML; `title` is read out in place of the picture."""
    if not rows:
        return ""
    pictures = [
        f'<div class="{name}">{_svg(spec, rows, title, (width, height))}</div>'
        for name, width in (("wide", WIDE), ("narrow", NARROW))
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
    "axisY": {"grid": False, "ticks": False, "domain": False, "labelColor": "var(--ink)", "labelPadding": 6},
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 12},
    "text": {"fontSize": 12, "font": FONT},
}
