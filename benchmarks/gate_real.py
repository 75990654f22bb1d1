"""The gate on real results: two models on GSM8K, and four trials of one agent on each of 50 tasks."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gate_cells import ALPHA, Row, finished, percent, share, source
from gate_rivals import Rivals

from trimtab.stats import power
from trimtab.stats.clusters import design_effect, icc
from trimtab.stats.sequential import Process

ROUTED = ((0.2, 0.02, False), (0.1, math.nan, False), (0.05, math.nan, False), (0.0, 0.85, True))


def routed(file: Path, runs: int) -> Iterator[Row]:
    """A share of the questions goes to the weak model: in every run other ones, in another order."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    weak, strong = (np.array([row[name] == "True" for row in rows]) for name in list(rows[0])[1:3])
    change = weak.astype(float) - strong
    for q, limit, at_least in ROUTED:
        case = f"GSM8K, {len(change):,} questions, {100 * q:g} % of them to the weak model, M = 2: promoted"
        rng = source(case)
        streams = rng.permuted(np.tile(change, (runs, 1)), axis=1) * (rng.random((runs, len(change))) < q)
        process, rivals, taken = Process(0.02, ALPHA, runs=runs), Rivals(0.02, runs), np.full(runs, len(change))
        for n, x in enumerate(streams.T, 1):
            process.feed(x)
            rivals.feed(x)
            finished(process, taken, n)
        beside = {"true D": f"{100 * q * change.mean():+.1f}", "mean n": f"{taken.mean():.0f}"}
        beside |= {"rejected": percent(process.rejects), "naive": percent(rivals.naive), "Wald": percent(rivals.wald)}
        yield Row(case, *share(process.promotes), limit=limit, at_least=at_least, beside=beside)


def trials(file: Path, runs: int) -> Iterator[Row]:
    """The agent beside itself: two of a task's four trials, drawn anew in every run, against the other two."""
    by_task: dict[int, list[float]] = defaultdict(list)
    for trial in json.loads(file.read_text(encoding="utf-8")):
        by_task[trial["task_id"]].append(float(trial["reward"]))
    clusters = list(by_task.values())
    scores = np.array(clusters)
    rng = source("tau-bench")
    mixed = rng.permuted(np.tile(scores, (runs, 1, 1)), axis=2)
    x = rng.permuted(mixed[:, :, :2].mean(axis=2) - mixed[:, :, 2:].mean(axis=2), axis=1)
    for margin in (0.02, 0.03, 0.05):
        process = Process(margin, ALPHA, runs=runs)
        for column in x.T:
            process.feed(column)
        case = f"tau-bench, agent against itself, {len(clusters)} tasks, M = {100 * margin:g}"
        yield Row(f"{case}: promoted", *share(process.promotes), limit=ALPHA)
        yield Row(f"{case}: rejected", *share(process.rejects), limit=ALPHA)
    yield Row("tau-bench: intraclass correlation of a task's trials", icc(clusters), unit="")
    yield Row("tau-bench: design effect", design_effect(clusters), unit="")
    # Means of four against four vary half as much as means of two against two.
    square = float((x**2).mean()) / 2
    yield Row(
        "tau-bench: smallest margin that its tasks certify with 80 % power, four trials a side",
        power.smallest_margin(len(clusters), square),
        beside={"E[x²]": f"{square:.3f}", "tasks for M = 5": f"{power.fixed_n(0.05, square, 0.8)}"},
    )
