"""Drifting: the drift report of a run, kept beside it and put into words. It informs; the tests decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from trimtab.evals import drift
from trimtab.evals.drift import Drift, Flips
from trimtab.evals.replay import Outcome
from trimtab.gate.conjunction import Pair

FILE = "drift.json"
_SLICES = 12


def of(pairs: Sequence[Pair], again: Iterable[tuple[Outcome, Outcome]]) -> Drift:
    """The drift of what was fed; `again` are the baseline's answers and those it gave when asked a second time."""
    twice = list(again)
    return drift.report([(pair.baseline, pair.candidate) for pair in pairs], twice or None)


def keep(found: Drift, folder: Path) -> None:
    (folder / FILE).write_bytes(msgspec.json.encode(found))


def kept(folder: Path) -> Drift | None:
    """The drift of the run in `folder`; None where there is none, or none that can be read: a report does without."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Drift)
    except (OSError, msgspec.MsgspecError):
        return None


def lines(found: Drift) -> list[str]:
    """As Markdown."""
    wins = found.wins.rate
    # Sessions of the arena have no text of their own.
    spoke = found.baseline.style.compression
    told = [
        f"{found.same:,} of {found.n:,} answers are the same to the letter" if spoke else "",
        f"{_flips(found.flips)}",
        "" if wins is None else f"the candidate wins {wins:.1%} of pairs (50 %: neither is better)",
        "" if found.length is None else f"its answers are {found.length:.2f} times as long",
    ]
    if (apart := found.divergence) is not None and apart.kl is not None:
        told.append(f"their next-token distributions are {apart.kl:.4f} nats apart over {apart.n:,} pairs")
    rows = ["### Drift", "", "; ".join(part for part in told if part) + ".", ""]
    if spoke:
        rows += _styles(found)
    worst = sorted(found.slices.items(), key=lambda held: held[1].gains - held[1].losses)[:_SLICES]
    if worst:
        rows += ["| slice | items | gained | lost | flips beyond the baseline's own |", "|---|--:|--:|--:|--:|"]
        rows += [f"| {_plain(name)} | {f.n} | {f.gains} | {f.losses} | {_excess(f)} |" for name, f in worst]
    return [*rows, ""]


def _styles(found: Drift) -> list[str]:
    rows = ["| style, at the same length | baseline | candidate |", "|---|--:|--:|"]
    for name in ("compression", "self_repetition", "loops", "distinct"):
        before, after = getattr(found.baseline.style, name), getattr(found.candidate.style, name)
        rows.append(f"| {name.replace('_', ' ')} | {before:.3f} | {after:.3f} |")
    for name in ("declined", "cut"):
        rows.append(f"| {name} | {getattr(found.baseline, name):,} | {getattr(found.candidate, name):,} |")
    return [*rows, ""]


def _flips(flips: Flips) -> str:
    low, high = flips.interval
    own = "" if flips.noise is None else f"; the baseline against itself {flips.noise:.1%} of {flips.noise_n}"
    return f"{flips.share:.1%} of {flips.n:,} verdicts flip ({low:.1%} to {high:.1%}{own})"


def _excess(flips: Flips) -> str:
    return "" if flips.excess is None else f"{flips.excess:+.1%}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
