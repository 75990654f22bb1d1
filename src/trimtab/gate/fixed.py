"""Fixed: a verdict on results that are all in, by tests with one look. Looking again later needs the sequential run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from trimtab.errors import ConfigError, FormatError
from trimtab.evals.imported import Paired, Result
from trimtab.gate import scores
from trimtab.gate.criteria import Criteria
from trimtab.gate.forecast import power_of
from trimtab.stats.noninferiority import clustered_bootstrap, newcombe, tango
from trimtab.verdict import Criterion, Decision, Finding, Margin, Verdict, conclude, digest

TEST = "fixed"
# Fewer clusters than these have no bootstrap to be believed.
_LEAST = 30


def verdict(
    items: Sequence[Paired], criteria: Criteria, names: dict[str, str], digests: tuple[str, str] = ("", "")
) -> Verdict:
    """The verdict on quality, for the whole and each protected slice. `digests` are of the two result files.

    Paired answers that are right or wrong, each a cluster of its own: Tango's score test and Newcombe's interval; all
    else: a bootstrap of whole clusters. ConfigError for a protected slice without items.
    """
    findings = []
    for name in ("", *criteria.slices):
        held = [item for item in items if not name or name in item.baseline.slices]
        if not held:
            raise ConfigError(f"no item is in the slice '{name}': tag some, or take it out")
        findings.append(_finding(held, criteria, name))
    decision, reason = conclude(findings)
    return Verdict(
        decision=decision,
        findings=tuple(findings),
        baseline=digests[0],
        candidate=digests[1],
        suite=scores.digest_of(items),
        order=digest([item.baseline.id for item in items]),
        seed=0,
        n=findings[0].n,
        reason=reason,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        names=names,
        facts=_facts(items),
    )


def _finding(items: Sequence[Paired], criteria: Criteria, name: str) -> Finding:
    margin = criteria.margin_of(name)
    harm = -margin / 2 if criteria.harm is None else criteria.harm * margin / criteria.margin
    both = [(one.cluster, one.score or 0.0, other.score or 0.0) for one, other in items if _told(one, other)]
    counts = {
        "items": float(len(items)),
        "missing": float(len(items) - len(both)),
        "most_missing": criteria.missing,
        "minimum": float(criteria.slice_minimum if name else 0),
        "harm": harm,
    }
    clusters: dict[str, list[float]] = {}
    for cluster, before, after in both:
        clusters.setdefault(cluster, []).append(after - before)
    alone = len(clusters) == len(both) and all(x in (0.0, 1.0) for _, before, after in both for x in (before, after))
    path: list[tuple[float, int]] = []
    if alone:
        counts |= {
            "gains": float(sum(after > before for _, before, after in both)),
            "losses": float(sum(after < before for _, before, after in both)),
            "both_right": float(sum(after == before == 1 for _, before, after in both)),
            "pairs": float(len(both)),
        }
    else:
        means = sorted(math.fsum(held) / len(held) for held in clusters.values())
        path = [(mean, means.count(mean)) for mean in dict.fromkeys(means)]
    criterion = Criterion("quality", Margin(margin), criteria.alpha)
    return _judged(criterion, counts, name, tuple(path))


def again(finding: Finding) -> Finding:
    """The finding computed anew from its counts. FormatError where it lacks them."""
    try:
        return _judged(finding.criterion, dict(finding.counts), finding.slice, finding.path)
    except (KeyError, ValueError) as error:
        raise FormatError(f"the finding on {finding.criterion.metric} cannot be computed again: {error}") from error


def _judged(criterion: Criterion, counts: dict[str, float], name: str, path: tuple[tuple[float, int], ...]) -> Finding:
    margin, alpha, harm = criterion.margin.value, criterion.alpha, counts["harm"]
    if "pairs" in counts:
        n, gains, losses = int(counts["pairs"]), int(counts["gains"]), int(counts["losses"])
        difference = (gains - losses) / n if n else 0.0
        low, high = newcombe(gains, losses, n, int(counts["both_right"]), 1 - 2 * alpha)
        passed, harmed = tango(gains, losses, n, margin) <= alpha, tango(losses, gains, n, harm) <= alpha
        squares = (gains + losses) / n if n else 0.0
    else:
        means = [mean for mean, times in path for _ in range(times)]
        n = len(means)
        difference = math.fsum(means) / n if n else 0.0
        low, high = clustered_bootstrap([[mean] for mean in means], 1 - 2 * alpha) if n > 1 else (-1.0, 1.0)
        # Clusters that do not differ have an interval of no width, however few they are.
        passed = low > -margin and n >= _LEAST and tango(0, 0, n, margin) <= alpha
        harmed = high < harm and n >= _LEAST
        squares = math.fsum(mean * mean for mean in means) / n if n else 0.0
    decision, reason = _decided(counts, n, passed, harmed)
    return Finding(
        decision=decision,
        criterion=criterion,
        difference=difference,
        low=low,
        high=high,
        n=n,
        power=power_of(n, margin, squares, alpha),
        counts=counts,
        reason=reason,
        slice=name,
        test=TEST,
        path=path,
    )


def _decided(counts: dict[str, float], n: int, passed: bool, harmed: bool) -> tuple[Decision, str]:
    if counts["missing"] > counts["most_missing"] * counts["items"]:
        return Decision.INCONCLUSIVE, f"{counts['missing']:g} of {counts['items']:g} items have no score"
    if harmed:
        return Decision.REJECT, ""
    if n < counts["minimum"]:
        return Decision.UNCERTIFIED, f"{n} clusters, {counts['minimum']:g} are the least"
    return (Decision.PROMOTE, "") if passed else (Decision.INCONCLUSIVE, f"{n} clusters do not tell")


def _facts(items: Sequence[Paired]) -> dict[str, float]:
    both = [(one.score or 0.0, other.score or 0.0) for one, other in items if _told(one, other)]
    if not both:
        return {"items": float(len(items))}
    return {
        "items": float(len(items)),
        "baseline_score": math.fsum(before for before, _ in both) / len(both),
        "candidate_score": math.fsum(after for _, after in both) / len(both),
        "gained": sum(after > before for before, after in both) / len(both),
        "lost": sum(after < before for before, after in both) / len(both),
    }


def _told(one: Result, other: Result) -> bool:
    return one.score is not None and other.score is not None
