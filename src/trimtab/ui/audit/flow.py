"""The graph of a workflow as SVG: agents in layers, hand-offs as arrows as wide as they are many. Knows no Audit.

Layers by longest path once the edges that close a circle are set aside (Sugiyama, Tagawa, Toda 1981, steps one and
two); inside a layer, nodes stand by the mean place of those that lead to them (their barycentre).
"""

from __future__ import annotations

import html
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from trimtab.ui.audit.charts import NARROW, WIDE

BOX = (132, 58)
GAP_ACROSS, GAP_ALONG = 26, 62
MOST = 14  # nodes that can be read on one page


class Node(msgspec.Struct, frozen=True):
    """One agent: two short lines under its name; `share` is of the critical path's time, 0 to 1."""

    name: str
    notes: tuple[str, ...] = ()
    share: float = 0.0


class Edge(msgspec.Struct, frozen=True):
    """`count` hand-offs; `critical` where most of the wall clock goes this way."""

    source: str
    target: str
    count: int
    critical: bool = False


_Place = dict[str, tuple[float, float]]


def drawn(nodes: Sequence[Node], edges: Sequence[Edge], title: str) -> str:
    """The graph twice, from left to right for a wide page and from top to bottom for a narrow one; "" without nodes."""
    if not nodes:
        return ""
    shown = nodes[:MOST]
    names = {node.name for node in shown}
    held = [edge for edge in edges if {edge.source, edge.target} <= names]
    layers = layered([node.name for node in shown], held)
    return "".join(
        f'<div class="{name}">{_picture(shown, held, layers, (title, down))}</div>'
        for name, down in (("wide", False), ("narrow", True))
    )


def layered(names: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """Names by layer; every edge that closes no circle leads to a later layer."""
    forward = _forward(names, edges)
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for source, target in forward:
            depth[target] = max(depth[target], depth[source] + 1)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    led_by: dict[str, list[str]] = defaultdict(list)
    for source, target in forward:
        led_by[target].append(source)
    place = {name: float(index) for layer in layers[:1] for index, name in enumerate(layer)}
    for layer in layers[1:]:
        layer.sort(key=lambda name: _mean([place.get(one, 0.0) for one in led_by[name]]))
        place.update((name, float(index)) for index, name in enumerate(layer))
    return [layer for layer in layers if layer]


def _forward(names: Sequence[str], edges: Sequence[Edge]) -> list[tuple[str, str]]:
    """The edges without circles: taken largest first, each that would close one is set aside."""
    reached: dict[str, set[str]] = {name: {name} for name in names}
    kept: list[tuple[str, str]] = []
    for edge in sorted(edges, key=lambda one: -one.count):
        if edge.source in reached[edge.target]:
            continue
        kept.append((edge.source, edge.target))
        for name in names:
            if edge.source in reached[name]:
                reached[name] |= reached[edge.target]
    return kept


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _picture(nodes: Sequence[Node], edges: Sequence[Edge], layers: list[list[str]], how: tuple[str, bool]) -> str:
    title, down = how
    place, width, height = _placed(layers, down)
    order = {name: index for index, layer in enumerate(layers) for name in layer}
    most = max((edge.count for edge in edges), default=1)
    lines = [_edge(edge, place, (order, most, down)) for edge in sorted(edges, key=lambda one: one.critical)]
    boxes = [_box(node, place[node.name]) for node in nodes]
    name = html.escape(title)
    top = width if not down else min(width, NARROW + 60)
    return (
        f'<svg class="flow" role="img" aria-label="{name}" width="{top:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        f"<title>{name}</title>{''.join(lines)}{''.join(boxes)}</svg>"
    )


def _placed(layers: list[list[str]], down: bool) -> tuple[_Place, float, float]:
    """The middle of every box, and the picture's width and height."""
    wide, high = BOX
    along, across = (high, wide) if down else (wide, high)
    gap = GAP_ALONG if not down else 44
    # The edges that lead back run in a lane of their own beside the boxes.
    lane = 46
    breadth = max(len(layer) for layer in layers) * (across + GAP_ACROSS) + lane * 2
    place: _Place = {}
    for depth, layer in enumerate(layers):
        start = (breadth - len(layer) * (across + GAP_ACROSS)) / 2 + (across + GAP_ACROSS) / 2
        for index, name in enumerate(layer):
            forth = 4 + along / 2 + depth * (along + gap)
            side = start + index * (across + GAP_ACROSS)
            place[name] = (side, forth) if down else (forth, side)
    length = len(layers) * (along + gap) - gap + 8
    return (place, breadth, length) if down else (place, max(length, WIDE * 0.5), breadth)


def _edge(edge: Edge, place: _Place, how: tuple[dict[str, int], int, bool]) -> str:
    order, most, down = how
    points = _bend(place[edge.source], place[edge.target], order[edge.target] - order[edge.source], down)
    stroke = 1.2 + 4.5 * math.sqrt(edge.count / most)
    kind = "edge critical" if edge.critical else "edge"
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    middle = ((x0 + 3 * x1 + 3 * x2 + x3) / 8, (y0 + 3 * y1 + 3 * y2 + y3) / 8)
    angle = math.degrees(math.atan2(y3 - y2, x3 - x2))
    head = f'<path class="head" transform="translate({x3:.1f},{y3:.1f}) rotate({angle:.0f})" d="M0,0L-9,-4.5V4.5Z"/>'
    words = html.escape(f"{edge.source} to {edge.target}: {edge.count:,} hand-offs")
    return (
        f'<g class="{kind}"><title>{words}</title>'
        f'<path class="line" stroke-width="{stroke:.1f}" d="M{x0:.1f},{y0:.1f}C{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f} '
        f'{x3:.1f},{y3:.1f}"/>{head}<text class="count" x="{middle[0]:.1f}" y="{middle[1] - 4:.1f}">{edge.count:,}</text></g>'
    )


def _bend(
    source: tuple[float, float], target: tuple[float, float], layers: int, down: bool
) -> tuple[tuple[float, float], ...]:
    """Four points of a cubic curve: forward from face to face, back or within a layer along the side."""
    flip = (lambda x, y: (y, x)) if down else (lambda x, y: (x, y))
    half = BOX[1] / 2 if down else BOX[0] / 2
    (x0, y0), (x3, y3) = flip(*source), flip(*target)
    if layers > 0:
        x0, x3 = x0 + half, x3 - half
        reach = (x3 - x0) * 0.5
        return flip(x0, y0), flip(x0 + reach, y0), flip(x3 - reach, y3), flip(x3, y3)
    side = BOX[0] / 2 if down else BOX[1] / 2
    if layers == 0 and y0 != y3:
        sign = 1 if y3 > y0 else -1
        x0 = x3 = x0 + sign * half * 0.3
        y0, y3 = y0 + sign * side, y3 - sign * side
        return flip(x0, y0), flip(x0, y0 + sign * 10), flip(x3, y3 - sign * 10), flip(x3, y3)
    y0, y3 = y0 + side, y3 + side
    x0, x3 = (x0 + half * 0.4, x3 + half * 0.4 * (-1 if layers == 0 else 1))
    return flip(x0, y0), flip(x0, y0 + 36), flip(x3, y3 + 36), flip(x3, y3)


def _box(node: Node, middle: tuple[float, float]) -> str:
    wide, high = BOX
    x, y = middle[0] - wide / 2, middle[1] - high / 2
    share = min(1.0, max(0.0, node.share))
    lines = _lines(node, (middle[0], y))
    filled = f'<rect class="share" x="{x + 8:.1f}" y="{y + high - 7:.1f}" width="{(wide - 16) * share:.1f}" height="3" rx="1.5"/>'
    return (
        f'<g class="node"><title>{html.escape(" · ".join((node.name, *node.notes)))}</title>'
        f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{wide}" height="{high}" rx="8"/>{filled}{"".join(lines)}</g>'
    )


def _lines(node: Node, top: tuple[float, float]) -> Iterable[str]:
    x, y = top
    name = node.name if len(node.name) <= 17 else f"{node.name[:16]}…"
    yield f'<text class="name" x="{x:.1f}" y="{y + 19:.1f}">{html.escape(name)}</text>'
    for index, note in enumerate(node.notes[:2]):
        yield f'<text class="note" x="{x:.1f}" y="{y + 33 + 13 * index:.1f}">{html.escape(note)}</text>'
