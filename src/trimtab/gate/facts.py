"""Facts: figures beside the tests: flips, lengths, tokens and money for each solved item. None of them decides."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.evals.replay import Outcome
from trimtab.gate.conjunction import Pair


def of(pairs: Sequence[Pair]) -> dict[str, float]:
    """Figures by name; those that were not measured are left out."""
    told = [pair.difference for pair in pairs]
    differences = [difference for difference in told if difference is not None]
    found: dict[str, float | None] = {
        "items": float(len(pairs)),
        "gained": _share(sum(x > 0 for x in differences), len(differences)),
        "lost": _share(sum(x < 0 for x in differences), len(differences)),
        "length_ratio": _ratio(pairs, "output_tokens"),
        "cost_ratio": _ratio(pairs, "cost_nanodollars"),
        "time_ratio": _ratio(pairs, "total_s"),
    }
    for name in ("baseline", "candidate"):
        found |= {f"{name}_{what}": figure for what, figure in _side([getattr(pair, name) for pair in pairs]).items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def _side(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    scores = [outcome.score for outcome in outcomes if outcome.score is not None]
    tokens = [outcome.output_tokens for outcome in outcomes]
    costs = [outcome.cost_nanodollars for outcome in outcomes]
    first = sorted(outcome.ttft_s for outcome in outcomes if outcome.ttft_s is not None)
    whole = sorted(outcome.total_s for outcome in outcomes if not outcome.error)
    solved = sum(scores)
    usd = sum(cost for cost in costs if cost is not None) / 1e9
    return {
        "score": solved / len(scores) if scores else None,
        "errors": float(sum(bool(outcome.error) for outcome in outcomes)),
        "unscored": float(sum(outcome.score is None for outcome in outcomes)),
        "tokens_per_solved": sum(held or 0 for held in tokens) / solved if solved and None not in tokens else None,
        "usd": usd if None not in costs else None,
        "usd_per_solved": usd / solved if solved and None not in costs else None,
        "median_first_s": first[len(first) // 2] if first else None,
        "median_total_s": whole[len(whole) // 2] if whole else None,
    }


def _ratio(pairs: Sequence[Pair], field: str) -> float | None:
    """The candidate's sum over the baseline's, where both answered and it was measured."""
    held = [(getattr(p.baseline, field), getattr(p.candidate, field)) for p in pairs if p.whole]
    both = [(before, after) for before, after in held if before is not None and after is not None]
    below = sum(before for before, _ in both)
    return float(sum(after for _, after in both) / below) if below else None


def _share(count: int, n: int) -> float | None:
    return count / n if n else None
