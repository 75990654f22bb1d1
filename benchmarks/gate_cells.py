"""The gate's simulated cells: seeded streams of scores, fed to the shipped code, many runs side by side in arrays."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from gate_rivals import Rivals, canary

from trimtab.stats import detector, judged, power
from trimtab.stats.multiple import e_bh
from trimtab.stats.sequential import Process, Rate

ALPHA = 0.05
SEED = 20261123
LABELS = 200  # of each kind, right and wrong, that a judge is calibrated on
CANARY_RUNS = 500
FAR = 10  # times the runs, where a figure lies near its bound


@dataclass
class Row:
    """One figure: what it is of, its bar (none: told for information), and what stands beside it."""

    case: str
    value: float
    error: float = math.nan
    limit: float = math.nan
    at_least: bool = False
    unit: str = "%"
    beside: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        if math.isnan(self.limit):
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def source(case: str) -> np.random.Generator:
    """Each case has its own stream, the same in each run of the benchmark."""
    return np.random.default_rng([SEED, zlib.crc32(case.encode())])


def share(flags: np.ndarray) -> tuple[float, float]:
    """A share of runs and its Monte-Carlo standard error."""
    p = float(np.mean(flags))
    return p, math.sqrt(max(p * (1 - p), 1e-12) / len(flags))


def percent(flags: np.ndarray | float) -> str:
    return f"{100 * float(np.mean(flags)):.1f} %"


def draws(rng: np.random.Generator, shape: int | tuple[int, ...], difference: float, flips: float) -> np.ndarray:
    """Items lost (−1), kept (0) or gained (1): mean `difference`, share not kept `flips`."""
    u = rng.random(shape)
    return (u < (flips + difference) / 2).astype(float) - (u > 1 - (flips - difference) / 2)


def false_promotion(runs: int) -> Iterator[Row]:
    """At D = −M, looking at every item up to the cap."""
    for margin in (0.02, 0.03, 0.05):
        for flips in (0.05, 0.1, 0.2):
            case = f"false promotion, D = −M, M = {100 * margin:g}, flips {100 * flips:g} %"
            rng, cap = source(case), power.cap(margin, flips)
            row = at_the_margin(case, (draws(rng, runs, -margin, flips) for _ in range(cap)), margin, runs)
            passed = canary(rng, -margin, power.fixed_n(margin, flips), CANARY_RUNS)
            row.beside["Mann-Whitney"] = percent(passed)
            yield row
    for margin in (0.02, 0.03, 0.05):
        case = f"the same, rare and one-sided (every flip a loss), M = {100 * margin:g}"
        rng, cap = source(case), power.cap(margin, margin)
        yield at_the_margin(case, (draws(rng, runs, -margin, margin) for _ in range(cap)), margin, runs)


def far_beyond(runs: int) -> Iterator[Row]:
    """The hardest case without a cap, where the bound is nearly reached: told without a bar, from more runs."""
    for margin in (0.02, 0.03, 0.05):
        case = f"one-sided, no cap, 10,000 items, M = {100 * margin:g} (proven ≤ 5 %)"
        rng = source(case)
        scores = (draws(rng, FAR * runs, -margin, margin) for _ in range(10_000))
        row = at_the_margin(case, scores, margin, FAR * runs)
        row.limit = math.nan
        yield row


def at_the_margin(case: str, scores: Iterator[np.ndarray], margin: float, runs: int) -> Row:
    """Promoted at any look, and not counting on the harm stop: a run goes on where a real one would be rejected."""
    process, rivals, ever = Process(margin, ALPHA, runs=runs), Rivals(margin, runs), np.zeros(runs, dtype=bool)
    for x in scores:
        process.feed(x)
        rivals.feed(x)
        ever |= process.wealth >= 1 / ALPHA
    beside = {"naive": percent(rivals.naive), "Wald": percent(rivals.wald)}
    return Row(case, *share(ever), limit=ALPHA, beside=beside)


def clustered(runs: int) -> Iterator[Row]:
    """Clusters whose turns share one draw with a chance; M = 3, flips 10 %, D = −M; beside: rules that bet per item."""
    margin, flips = 0.03, 0.1
    for turns, alike in ((5, 0.3), (5, 0.7), (10, 0.3), (10, 0.7)):
        case = f"clustered, {turns} turns, shared draw {alike:g}, D = −M = −3"
        rng = source(case)
        cap = power.cap(margin, flips * ((1 - alike) / turns + alike))
        process, by_item = Process(margin, ALPHA, runs=runs), Process(margin, ALPHA, runs=runs)
        rivals = Rivals(margin, runs)
        ever, item_ever = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
        for _ in range(cap):
            shared = draws(rng, (runs, 1), -margin, flips)
            scores = np.where(rng.random((runs, 1)) < alike, shared, draws(rng, (runs, turns), -margin, flips))
            process.feed(scores.mean(axis=1))
            ever |= process.wealth >= 1 / ALPHA
            for x in scores.T:
                by_item.feed(x)
                rivals.feed(x)
                item_ever |= by_item.wealth >= 1 / ALPHA
        beside = {"naive": percent(rivals.naive), "Wald": percent(rivals.wald), "ours per item": percent(item_ever)}
        yield Row(case, *share(ever), limit=ALPHA, beside=beside)


def judge(runs: int) -> Iterator[Row]:
    """A judge that errs each way, on M = 2 and true flips of 6 %; calibrated anew in every run, on 400 labels."""
    margin, flips = 0.02, 0.06
    part = judged.split(ALPHA)
    for wrong in (0.05, 0.1, 0.2):
        right, shrink = 1 - wrong, 1 - 2 * wrong
        seen = flips * (right**2 + wrong**2) + (1 - flips) * 2 * right * wrong
        for difference in (-margin, 0.0):
            case = f"judge wrong {100 * wrong:g} % each way, calibrated, true D = {100 * difference:g}, M = 2"
            rng = source(case)
            margins = calibrated(rng, right, margin, runs)
            cap = power.cap(float(np.median(margins)), seen)
            process, plain = Process(margins, part.alpha, runs=runs), Process(margin, ALPHA, runs=runs)
            rivals, taken = Rivals(margin, runs), np.full(runs, cap)
            ever, plain_ever = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
            for n in range(1, cap + 1):
                x = judgements(rng, runs, difference, flips, right)
                process.feed(x)
                ever |= process.wealth >= 1 / part.alpha
                if difference:
                    plain.feed(x)
                    rivals.feed(x)
                    plain_ever |= plain.wealth >= 1 / ALPHA
                elif finished(process, taken, n):
                    break
            beside = {
                "naive": percent(rivals.naive),
                "Wald": percent(rivals.wald),
                "margin not scaled": percent(plain_ever),
            }
            if difference:
                yield Row(case, *share(ever), limit=ALPHA, beside=beside)
            else:
                beside = {"mean n": f"{taken.mean():.0f}", "fixed n": f"{power.fixed_n(margin * shrink, seen)}"}
                yield Row(case.replace("judge", "power, judge"), *share(process.promotes), beside=beside)


def calibrated(rng: np.random.Generator, right: float, margin: float, runs: int) -> np.ndarray:
    """The margin that each run would take from its own labelled set; one too small to matter where there is none."""
    hits = np.sort(rng.binomial(LABELS, right, (2, runs)), axis=0)  # the bound is the same either way round

    @cache
    def one(fewer: int, more: int) -> float:
        try:
            return judged.calibrated_margin(margin, judged.Labels(fewer, LABELS), judged.Labels(more, LABELS), ALPHA)
        except ValueError:
            return 1e-9

    return np.array([one(int(a), int(b)) for a, b in hits.T])


def judgements(rng: np.random.Generator, runs: int, difference: float, flips: float, right: float) -> np.ndarray:
    """Judged candidate minus judged baseline; the baseline is truly right in 80 of 100."""
    u = rng.random(runs)
    lost, gained = (flips - difference) / 2, (flips + difference) / 2
    candidate = (u < 0.8 - lost) | (u > 1 - gained)
    baseline = u < 0.8
    errs = rng.random((2, runs)) > right
    return (candidate ^ errs[0]).astype(float) - (baseline ^ errs[1])


def finished(process: Process, taken: np.ndarray, n: int) -> bool:
    """Note in `taken` at which n each run ended; have all?"""
    ended = process.promotes | process.rejects
    taken[ended & (taken > n)] = n
    return bool(ended.all())


def portfolio(runs: int) -> Iterator[Row]:
    """Twenty levers, fourteen harmful (D = −M) and six equal; M = 3, flips 10 %, looked at throughout."""
    margin, flips, level, harmful, levers = 0.03, 0.1, 0.1, 14, 20
    case = "20 levers, 14 of them harmful: harmful ones shipped by e-BH at 10 %"
    rng, total = source(case), runs * levers
    truth = np.tile(np.where(np.arange(levers) < harmful, -margin, 0.0), runs)
    process, rivals = Process(margin, ALPHA, runs=total), Rivals(margin, total)
    kept, stopped, alone = np.ones(total), np.zeros(total, dtype=bool), np.zeros(total, dtype=bool)
    for _ in range(power.cap(margin, flips)):
        x = draws(rng, total, truth, flips)
        process.feed(x)
        rivals.feed(x)
        wealth = process.wealth
        kept = np.where(stopped, kept, wealth)
        # A lever stops where it would ship by itself: an e-value may be taken at any stopping time.
        stopped |= wealth >= levers / level
        alone |= wealth >= 1 / ALPHA
    shipped = np.zeros((runs, levers), dtype=bool)
    for at, values in enumerate(kept.reshape(runs, levers)):
        shipped[at, e_bh(values.tolist(), level)] = True

    def bad(flags: np.ndarray) -> np.ndarray:
        return flags.reshape(runs, levers)[:, :harmful].sum(axis=1)

    counts = bad(shipped)
    others = {"naive": rivals.naive, "Wald": rivals.wald, "each at 5 %": alone}
    beside = {name: f"{bad(flags).mean():.2f}" for name, flags in others.items()}
    beside["good shipped of 6"] = f"{shipped[:, harmful:].sum(axis=1).mean():.2f}"
    error = float(counts.std()) / math.sqrt(runs)
    yield Row(case, float(counts.mean()), error, 0.1, unit="", beside=beside)


def samples(runs: int) -> Iterator[Row]:
    """Clusters asked for against the fixed size for 90 % power; M = 2, flips 10 %."""
    margin, flips = 0.02, 0.1
    fixed, cap = power.fixed_n(margin, flips), power.cap(margin, flips)
    cases = ((0.0, None, -0.25), (0.01, None, -0.6), (-0.04, None, -0.5), (-0.04, 0.0, -0.7), (-0.01, None, math.nan))
    for difference, harm, limit in cases:
        policy = " (eager harm policy)" if harm is not None else ""
        case = f"samples against fixed n = {fixed}, D = {100 * difference:+g}{policy}"
        rng, process, taken = source(case), Process(margin, ALPHA, harm, runs), np.full(runs, cap)
        for n in range(1, cap + 1):
            process.feed(draws(rng, runs, difference, flips))
            if finished(process, taken, n):
                break
        ends = {"promoted": percent(process.promotes), "rejected": percent(process.rejects)}
        error = float(taken.std()) / math.sqrt(runs) / fixed
        yield Row(case, float(taken.mean()) / fixed - 1, error, limit, beside=ends)
        if difference == 0:
            yield Row("power at D = 0, M = 2, flips 10 %", *share(process.promotes), limit=0.88, at_least=True)


def rollback(runs: int) -> Iterator[Row]:
    """After 5,000 healthy pairs the candidate turns worse; M = 2, flips 10 %, the threshold from the alarm budget."""
    margin, flips, healthy, budget, runs = 0.02, 0.1, 5000, 0.01, 2 * runs
    bars = ((-0.1, 160), (-0.05, 700))
    thresholds = (
        ("set by simulation", detector.threshold(budget, healthy, margin, flips), True),
        ("proven", detector.threshold(budget, healthy), False),
    )
    for words, limit, has_bar in thresholds:
        case = f"rollback, threshold {limit:.0f} ({words})"
        rng, watch = source(case), detector.ShiryaevRoberts(margin, limit, runs=runs)
        for _ in range(healthy):
            watch.feed(draws(rng, runs, 0.0, flips))
        early = watch.alarm.copy()
        yield Row(f"{case}: false alarms in 5,000 healthy pairs", *share(early), limit=budget if has_bar else math.nan)
        for difference, bar in bars:
            turned = np.sort(delays(watch, difference, rng, flips)[~early])
            middle, spread = len(turned) // 2, math.ceil(math.sqrt(len(turned)) / 2)
            error = float(turned[middle + spread] - turned[middle - spread]) / 2
            row = Row(f"{case}: median delay at {100 * difference:g}", float(turned[middle]), error, unit=" pairs")
            row.limit = bar if has_bar else math.nan
            row.beside["90 of 100 within"] = f"{np.quantile(turned, 0.9):.0f}"
            yield row


def delays(watch, difference: float, rng: np.random.Generator, flips: float, most: int = 6000) -> np.ndarray:
    """Pairs to the alarm after the change, in each run, from where the detector stands."""
    state = [sums.copy() for sums in watch._sums]
    alarm, watch.alarm = watch.alarm, np.zeros_like(watch.alarm)
    at = np.full(len(alarm), most)
    for n in range(1, most + 1):
        watch.feed(draws(rng, len(alarm), difference, max(flips, -difference)))
        at[watch.alarm & (at == most)] = np.minimum(at[watch.alarm & (at == most)], n)
        if watch.alarm.all():
            break
    watch._sums, watch.alarm = state, alarm
    return at


def rates(runs: int) -> Iterator[Row]:
    """The SLO's test, at most 5 % late: at the limit over 6,000 requests, and at 3 % and 2 %; told without a bar."""
    runs = 2 * runs
    for truth in (0.05, 0.03, 0.02):
        case = f"SLO, limit 5 % late, truly {100 * truth:g} %"
        rng, rate, taken = source(case), Rate(0.05, ALPHA, runs), np.full(runs, 6000)
        for n in range(1, 6001):
            rate.feed(rng.random(runs) < truth)
            if finished(rate, taken, n) and truth < 0.05:
                break
        proven = " (proven ≤ 5 %)" if truth == 0.05 else ""
        yield Row(f"{case}: promoted{proven}", *share(rate.promotes), beside={"mean n": f"{taken.mean():.0f}"})


CELLS = (false_promotion, far_beyond, clustered, judge, portfolio, samples, rollback, rates)
