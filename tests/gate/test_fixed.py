import random

import msgspec
import pytest

from trimtab.errors import ConfigError
from trimtab.evals.imported import Paired, Result
from trimtab.gate import fixed, recompute
from trimtab.gate.criteria import Criteria
from trimtab.verdict import Decision

FIVE = Criteria(margin=0.05)


def matched(name, cluster, slices, before, after):
    return Paired(Result(name, before, cluster, slices), Result(name, after, cluster, slices))


def pairs(gains, losses, right, wrong, missing=0):
    held = [(0.0, 1.0)] * gains + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * right + [(0.0, 0.0)] * wrong
    held += [(None, 1.0)] * missing
    return [matched(str(n), str(n), (), before, after) for n, (before, after) in enumerate(held)]


@pytest.mark.parametrize(
    ("items", "decision"),
    [
        (pairs(20, 20, 400, 60), Decision.PROMOTE),
        (pairs(2, 60, 400, 38), Decision.REJECT),
        (pairs(4, 4, 60, 12), Decision.INCONCLUSIVE),
        (pairs(20, 20, 400, 60, missing=4), Decision.PROMOTE),
        (pairs(20, 20, 400, 60, missing=6), Decision.INCONCLUSIVE),
        (pairs(0, 0, 20, 0), Decision.INCONCLUSIVE),
    ],
)
def test_right_or_wrong_answers(items, decision):
    verdict = fixed.verdict(items, FIVE, {})
    assert verdict.decision is decision
    assert verdict.findings[0].low <= verdict.findings[0].difference <= verdict.findings[0].high
    assert recompute.check(verdict) == []
    assert recompute.check(msgspec.json.decode(msgspec.json.encode(verdict), type=type(verdict))) == []


def clustered(count, size, mean, spread, seed=1):
    rng = random.Random(seed)
    items = []
    for cluster in range(count):
        shift = mean + spread * rng.uniform(-1, 1)
        for turn in range(size):
            before = 0.5
            after = min(1.0, max(0.0, before + shift))
            items.append(matched(f"{cluster}.{turn}", str(cluster), ("long",) if cluster % 2 else (), before, after))
    return items


@pytest.mark.parametrize(
    ("items", "decision"),
    [
        (clustered(200, 5, 0.0, 0.2), Decision.PROMOTE),
        (clustered(200, 5, -0.1, 0.2), Decision.REJECT),
        (clustered(60, 5, -0.03, 0.2), Decision.INCONCLUSIVE),
        (clustered(29, 5, 0.2, 0.1), Decision.INCONCLUSIVE),
        (clustered(40, 5, 0.0, 0.0), Decision.INCONCLUSIVE),  # too few to show 5 points even if none differs
        (clustered(80, 5, 0.0, 0.0), Decision.PROMOTE),
    ],
)
def test_graded_answers_in_clusters(items, decision):
    verdict = fixed.verdict(items, FIVE, {})
    assert verdict.decision is decision
    assert verdict.n == len({item.baseline.cluster for item in items})
    assert recompute.check(verdict) == []


def test_a_slice_with_few_clusters_is_uncertified_and_keeps_it_from_being_promoted():
    criteria = Criteria(margin=0.05, slices={"long": 0.1}, slice_minimum=150)
    verdict = fixed.verdict(clustered(200, 5, 0.0, 0.2), criteria, {})
    assert [finding.decision for finding in verdict.findings] == [Decision.PROMOTE, Decision.UNCERTIFIED]
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "'long'" in verdict.reason


def test_a_slice_without_items_is_an_error():
    with pytest.raises(ConfigError, match="no item is in the slice 'none'"):
        fixed.verdict(pairs(1, 1, 1, 1), Criteria(slices={"none": 0.1}), {})


@pytest.mark.parametrize("name", ["gains", "losses", "both_right", "pairs"])
def test_a_count_that_was_changed_shows(name):
    verdict = fixed.verdict(pairs(20, 20, 400, 60), FIVE, {})
    finding = verdict.findings[0]
    changed = msgspec.structs.replace(finding, counts={**finding.counts, name: finding.counts[name] + 7})
    assert recompute.check(msgspec.structs.replace(verdict, findings=(changed,)))


def test_the_power_is_that_of_so_many_clusters():
    small, large = (fixed.verdict(pairs(k, k, 8 * k, 0), FIVE, {}).findings[0].power for k in (10, 90))
    assert small < 0.5 < 0.9 < large
