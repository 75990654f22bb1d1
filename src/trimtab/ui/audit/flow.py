"""The graph of a workflow as SVG: agents in layers, hand-offs as arrows as wide as they are many. Knows no Audit.

Layers are the distance from where work comes in; inside a layer, nodes stand by the mean place of those that lead to
them (their barycentre, as in Sugiyama, Tagawa, Toda 1981).
"""

from __future__ import annotations

import html
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from trimtab.ui.audit.charts import NARROW, WIDE

BOX = (152, 60)
GAP_ACROSS, GAP_ALONG, ROOM = 30, 36, 80
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


# The middle of a box, and its layer.
_Place = tuple[float, float, int]
_Point = tuple[float, float]
_Curve = tuple[_Point, _Point, _Point, _Point]


def drawn(nodes: Sequence[Node], edges: Sequence[Edge], title: str) -> str:
    """The graph twice, from left to right for a wide page and as one column for a narrow one; "" without nodes."""
    if not nodes:
        return ""
    shown = nodes[:MOST]
    names = {node.name for node in shown}
    held = [edge for edge in edges if {edge.source, edge.target} <= names]
    layers = layered([node.name for node in shown], held)
    column = [[name] for layer in layers for name in layer]
    return "".join(
        f'<div class="{name}">{_picture(shown, held, (title, rows, down))}</div>'
        for name, rows, down in (("wide", layers, False), ("narrow", column, True))
    )


def layered(names: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """Names by how many hand-offs they are from where work comes in, so that no arrow skips a layer.

    Work comes in where more is handed on than taken; what nothing leads to begins anew in the first layer.
    """
    leads: dict[str, set[str]] = defaultdict(set)
    surplus: Counter[str] = Counter(dict.fromkeys(names, 0))
    for edge in edges:
        if edge.source != edge.target:
            leads[edge.source].add(edge.target)
            surplus[edge.source] += edge.count
            surplus[edge.target] -= edge.count
    led = {target for targets in leads.values() for target in targets}
    roots = [name for name in names if name not in led]
    depth = _distances(roots, leads)
    while left := [name for name in names if name not in depth]:
        roots.append(max(left, key=lambda name: surplus[name]))
        depth = _distances(roots, leads)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    _untangle(layers, leads)
    return layers


def _distances(roots: Sequence[str], leads: dict[str, set[str]]) -> dict[str, int]:
    """Breadth first from all roots at once, so that an arrow is never longer than one layer forward."""
    depth = dict.fromkeys(roots, 0)
    queue = list(roots)
    for name in queue:
        for target in sorted(leads[name]):
            if target not in depth:
                depth[target] = depth[name] + 1
                queue.append(target)
    return depth


def _untangle(layers: list[list[str]], leads: dict[str, set[str]]) -> None:
    place = {name: float(index) for index, name in enumerate(layers[0])}
    for layer in layers[1:]:
        centre = {name: _mean([place[one] for one in place if name in leads[one]]) for name in layer}
        layer.sort(key=lambda name: centre[name])
        place.update((name, float(index)) for index, name in enumerate(layer))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _picture(nodes: Sequence[Node], edges: Sequence[Edge], how: tuple[str, list[list[str]], bool]) -> str:
    title, layers, down = how
    places, width, height = _placed(layers, down)
    most = max((edge.count for edge in edges), default=1)
    lines = [
        _edge(edge, _bend(places[edge.source], places[edge.target], down), most)
        for edge in sorted(edges, key=lambda one: one.critical)
    ]
    boxes = [_box(node, places[node.name][:2]) for node in nodes]
    name = html.escape(title)
    return (
        f'<svg class="flow" role="img" aria-label="{name}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">'
        f"<title>{name}</title>{''.join(lines)}{''.join(boxes)}</svg>"
    )


def _placed(layers: list[list[str]], down: bool) -> tuple[dict[str, _Place], float, float]:
    """The place of every box, and the picture's width and height."""
    wide, high = BOX
    if down:
        step = high + GAP_ALONG
        column = {name: (NARROW / 2, 4 + high / 2 + at * step, at) for at, (name,) in enumerate(layers)}
        return column, NARROW, len(layers) * step - GAP_ALONG + 8
    tallest = max(len(layer) for layer in layers)
    gap = min(240.0, max(90.0, (WIDE - ROOM - len(layers) * wide) / max(1, len(layers) - 1)))
    places = {
        name: (4 + wide / 2 + at * (wide + gap), (index + (tallest - len(layer)) / 2 + 0.5) * (high + GAP_ACROSS), at)
        for at, layer in enumerate(layers)
        for index, name in enumerate(layer)
    }
    return places, len(layers) * (wide + gap) - gap + ROOM, tallest * (high + GAP_ACROSS)


def _edge(edge: Edge, points: _Curve, most: int) -> str:
    stroke = 1.2 + 4 * math.sqrt(edge.count / most)
    x0, (x2, y2), (x3, y3) = points[0][0], points[2], points[3]
    # The words of an arrow that leads back stand nearer its end, clear of those of the one that leads on.
    middle = _on(points, 0.5 if x3 >= x0 else 0.68)
    angle = math.degrees(math.atan2(y3 - y2, x3 - x2))
    words = html.escape(f"{edge.source} to {edge.target}: {edge.count:,} hand-offs")
    head = f'<path class="head" transform="translate({x3:.1f},{y3:.1f}) rotate({angle:.0f})" d="M1,0L-9,-5V5Z"/>'
    numbers = (held for point in points for held in point)
    line = "M{:.1f},{:.1f}C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}".format(*numbers)
    return (
        f'<g class="edge{" critical" if edge.critical else ""}"><title>{words}</title>'
        f'<path class="line" stroke-width="{stroke:.1f}" d="{line}"/>{head}'
        f'<text class="count" x="{middle[0]:.1f}" y="{middle[1] + 4:.1f}">{edge.count:,}</text></g>'
    )


def _on(points: _Curve, at: float) -> _Point:
    """The point of the cubic at `at`, from 0 to 1 (Bernstein's form)."""
    weights = ((1 - at) ** 3, 3 * at * (1 - at) ** 2, 3 * at**2 * (1 - at), at**3)
    x, y = (sum(weight * point[axis] for weight, point in zip(weights, points, strict=True)) for axis in (0, 1))
    return x, y


def _bend(source: _Place, target: _Place, down: bool) -> _Curve:
    """Four points of a cubic curve that leaves and meets the boxes at their faces and crosses none."""
    half, high = BOX[0] / 2, BOX[1] / 2
    (x0, y0, from_), (x3, y3, to) = source, target
    if source == target:
        corner, top = x0 + half, y0 - high
        return (corner - 26, top), (corner - 26, top - 28), (corner + 34, top + 14), (corner, top + 14)
    if down and to == from_ + 1:
        return (x0, y0 + high), (x0, y0 + high + 10), (x3, y3 - high - 10), (x3, y3 - high)
    if down or from_ == to:
        # Along the side: on the right where it leads on (below), on the left where it leads back.
        side = 1 if y3 > y0 or not down else -1
        far = side * min(half if down else 60.0, 14 + abs(y3 - y0) * 0.22)
        edge, lean = side * half, (6 if y3 > y0 else -6)
        return (
            (x0 + edge, y0 + lean),
            (x0 + edge + far, y0 + lean),
            (x3 + edge + far, y3 - lean),
            (x3 + edge, y3 - lean),
        )
    face, lean = (half, -7) if to > from_ else (-half, 11)
    reach = (x3 - x0 - 2 * face) / 2
    return (
        (x0 + face, y0 + lean),
        (x0 + face + reach, y0 + lean),
        (x3 - face - reach, y3 + lean),
        (x3 - face, y3 + lean),
    )


def _box(node: Node, middle: _Point) -> str:
    wide, high = BOX
    x, y = middle[0] - wide / 2, middle[1] - high / 2
    share = min(1.0, max(0.0, node.share))
    lines = _lines(node, (middle[0], y))
    place = f'x="{x + 8:.1f}" y="{y + high - 7:.1f}" width="{(wide - 16) * share:.1f}"'
    filled = f'<rect class="share" {place} height="3" rx="1.5"/>'
    return (
        f'<g class="node"><title>{html.escape(" · ".join((node.name, *node.notes)))}</title>'
        f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{wide}" height="{high}" rx="8"/>{filled}{"".join(lines)}</g>'
    )


def _lines(node: Node, top: _Point) -> Iterable[str]:
    x, y = top
    name = node.name if len(node.name) <= 17 else f"{node.name[:16]}…"
    yield f'<text class="name" x="{x:.1f}" y="{y + 19:.1f}">{html.escape(name)}</text>'
    for index, note in enumerate(node.notes[:2]):
        yield f'<text class="note" x="{x:.1f}" y="{y + 33 + 13 * index:.1f}">{html.escape(note)}</text>'
