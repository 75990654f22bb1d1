"""The cache's curves as a picture: hits against wrong hits, a line for each policy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cache_peers import Point

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 56, 16, 36, 44
COLOURS = ("#0969da", "#8250df", "#9a6700", "#1a7f37", "#cf222e")
MOST = 0.05  # wrong hits of hits at the right edge


def picture(name: str, points: Sequence[Point]) -> str:
    """An SVG: wrong hits of hits to the right, hits of requests upwards."""

    def x(wrong: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * wrong / MOST

    def y(hit: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * hit

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(name)}: hits of requests against wrong hits of hits</text>',
    ]
    for tick in range(6):
        share = tick / 5
        parts.append(f'<path d="M{LEFT} {y(share):.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>')
        at = tick * MOST / 5
        parts.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{100 * at:.0f} %</text>')
    parts.append(f'<path d="M{x(0.01):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#57606a" stroke-dasharray="4 3"/>')
    for at, policy in enumerate(dict.fromkeys(p.policy for p in points)):
        colour = COLOURS[at % len(COLOURS)]
        line = sorted((p.per_hit, p.hit) for p in points if p.policy == policy and p.per_hit <= MOST)
        if not line:
            continue
        path = " ".join(f"{x(wrong):.1f},{y(hit):.1f}" for wrong, hit in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(w):.1f}" cy="{y(h):.1f}" r="3" fill="{colour}"/>' for w, h in line]
        parts.append(
            f'<text x="{WIDTH - RIGHT - 150}" y="{HEIGHT - 120 + 16 * at}" fill="{colour}">{escape(policy)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
