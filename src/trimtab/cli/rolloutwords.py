"""A rollout in words."""

from __future__ import annotations

import time

from trimtab.money import text_of
from trimtab.rollout.steps import Status


def text(status: Status) -> str:
    """All of it, line by line."""
    rollout = status.rollout
    lines = [f"rollout {rollout.id} is {rollout.stage} since {_ago(rollout.since_ns)}: {rollout.reason or 'begun'}"]
    lines.append(
        f"baseline {rollout.baseline.name}, candidate {rollout.candidate.name} ({rollout.share:.0%} of sessions)"
    )
    if status.stale:
        lines.append(f"its verdict is stale: {status.stale}; gate the two again")
    for name, held in status.evidence.get("tests", {}).items():
        lines.append(
            f"{name:<15}n {held['n']}, missing {held['missing']}, mean {held['mean']:+.4f}; evidence for it "
            f"{held['wealth']:.3g}, against it {held['harm']:.3g} of {held['needed']:g}: {held['decision']}"
        )
    for name, held in status.evidence.get("detectors", {}).items():
        lines.append(f"{name:<15}n {held['n']}, evidence {held['evidence']:.3g} of {held['threshold']:.3g}")
    counts = dict(status.counts)
    cost, shadows = counts.pop("shadow nanodollars", 0), counts.pop("shadows", 0)
    dropped = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none dropped"
    lines.append(f"{shadows} calls asked twice for {text_of(cost)}; {dropped}")
    lines.append(taken(status))
    for event in status.events:
        if event.kind == "step":
            reason = event.body.get("reason") or "begun"
            said = f"{event.body.get('from', 'nothing')} -> {event.body['stage']}: {reason}"
        else:
            verdict = event.body["verdict"]
            said = f"verdict of the {event.body['stage']}: {verdict['decision']} ({verdict.get('reason', '')})"
        lines.append(f"{time.strftime('%H:%M:%S', time.gmtime(event.at_ns / 1e9))} UTC  {said}  [{event.hash[:12]}]")
    return "\n".join(lines)


def taken(status: Status) -> str:
    """Which serving processes have taken the last change, and how soon."""
    rollout, running = status.rollout, status.processes
    if not running:
        return "no gateway serves from this store now; it holds from the next start on"
    there = [each for each in running if each.revision >= rollout.revision]
    late_ms = max((each.at_ns - rollout.since_ns) / 1e6 for each in there) if there else 0.0
    return f"{len(there)} of {len(running)} serving processes have taken it" + (
        f", within {late_ms:.0f} ms" if there else ""
    )


def _ago(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_ns / 1e9))
