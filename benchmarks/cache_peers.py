"""What the cache's policy is held against: fixed cosines, GPTCache's rule, and a threshold learned for each entry."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from trimtab.levers.cache.replay import Outcome, Stream
from trimtab.levers.cache.verifier import newton

Near = tuple[np.ndarray, np.ndarray]

COSINES = (0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99)
# GPTCache's SearchDistanceEvaluation scores 4 − d, d the squared Euclidean distance, and serves at similarity_threshold
# × 4 or more: cosine >= 1 − (1 − threshold)·4/2. Its default threshold is 0.8, its own benchmark's 0.95.
GPTCACHE = {"GPTCache, 0.8 (its default)": 0.6, "GPTCache, 0.95 (its benchmark)": 0.9}
PSEUDO = ((0.0, 0.0), (1.0, 1.0))  # each entry starts with these two (cosine, right)
FEWEST = 6  # observations, the pseudo ones too, before an entry is served
APART = 0.2  # of an entry whose right and wrong cosines do not overlap: variance of its threshold times observations
LEVELS = np.linspace(0.001, 0.999, 60)


def static(stream: Stream, near: Near, cosine: float) -> Outcome:
    """Serve the nearest entry if its cosine is at least this; store what was missed."""
    places, cosines = near
    answers, held = stream.answers, np.zeros(len(stream.answers) + 1, dtype=bool)
    served, wrong = [], []
    for at in range(len(answers)):
        found = held[places[at]]
        first = int(found.argmax())
        if found[first] and cosines[at, first] >= cosine:
            served.append(at)
            wrong.append(answers[places[at, first]] != answers[at])
        else:
            held[at] = True
    return Outcome(len(answers), np.array(served, dtype=int), np.array(wrong, dtype=bool), 0, ())


class Entry:
    """One entry's observations and its curve P(right | cosine) = σ(g·(cosine − t))."""

    def __init__(self) -> None:
        self.seen = list(PSEUDO)
        self.curve: tuple[float, np.ndarray] | None = None

    def add(self, cosine: float, right: bool) -> None:
        self.seen.append((cosine, float(right)))
        self.curve = None

    def least(self, cosine: float) -> float:
        """P(right), seen from the side of caution at each of `LEVELS`, each less its level."""
        if self.curve is None:
            self.curve = self._fitted()
        steep, thresholds = self.curve
        return (1 - LEVELS) / (1 + np.exp(np.clip(-steep * (cosine - thresholds), -50, 50)))

    def _fitted(self) -> tuple[float, np.ndarray]:
        seen = np.array(self.seen)
        terms = np.stack([np.ones(len(seen)), seen[:, 0]], axis=1)
        a, b = newton(terms, seen[:, 1], np.ones(len(seen)), np.array([-2.0, 3.0]), 1e-6, 40)
        b = max(float(b), 1e-3)
        p = 1 / (1 + np.exp(-(a + b * seen[:, 0])))
        bend = terms.T @ ((p * (1 - p))[:, None] * terms) + 1e-6 * np.eye(2)
        slope = np.array([-1 / b, a / b**2])  # of t = −a/b
        variance = max(float(slope @ np.linalg.inv(bend) @ slope), 0.0)
        if seen[seen[:, 1] == 1, 0].min() > seen[seen[:, 1] == 0, 0].max():
            variance = max(APART / len(seen), 0.005)  # the curve is a step: its own spread says nothing
        spread = math.sqrt(variance)
        above = np.array([NormalDist().inv_cdf(1 - level) for level in LEVELS])
        return b, np.clip(-a / b + above * spread, 0.0, 1.0)


def per_entry(stream: Stream, near: Near, delta: float, seed: int) -> Outcome:
    """A threshold for each entry, written from vCache's paper (arXiv 2502.03771): wrong hits <= `delta` of requests.

    Only the nearest entry is asked. It is served with the largest probability q for which q·P(wrong) <= delta at a
    cautious curve; else the answer comes from upstream and is a label for that entry. A question becomes an entry
    where the nearest answer was wrong. Own formulas where the paper leaves them open: a hint of a ridge,
    the threshold's spread by the delta method, and by a floor where right and wrong do not overlap.
    """
    places, cosines = near
    answers, draw = stream.answers, np.random.default_rng(seed)
    held = np.zeros(len(answers) + 1, dtype=bool)
    entries: dict[int, Entry] = {}
    served, wrong, explored = [], [], 0
    for at in range(len(answers)):
        found = held[places[at]]
        first = int(found.argmax())
        if not found[first]:
            held[at], entries[at] = True, Entry()
            continue
        nearest, cosine = int(places[at, first]), float(cosines[at, first])
        entry, right = entries[nearest], bool(answers[nearest] == answers[at])
        if len(entry.seen) >= FEWEST:
            chance = float((delta / np.maximum(1 - entry.least(cosine), 1e-9)).max())
            if draw.random() < chance:
                served.append(at)
                wrong.append(not right)
                continue
        explored += 1
        entry.add(cosine, right)
        if not right:
            held[at], entries[at] = True, Entry()
    return Outcome(len(answers), np.array(served, dtype=int), np.array(wrong, dtype=bool), explored, ())


class Point(NamedTuple):
    """One setting of one policy, over its orders."""

    policy: str
    setting: float
    hit: float  # mean share of requests
    per_hit: float  # mean wrong hits per hit
    per_request: float
    worst: float  # largest wrong hits per hit of an order
    orders: int


def point(policy: str, setting: float, outcomes: list[Outcome]) -> Point:
    """The orders in one line."""
    rates = [o.wrong_rate for o in outcomes]
    requests = [float(o.wrong.sum()) / o.requests for o in outcomes]
    hit = float(np.mean([o.hit_rate for o in outcomes]))
    return Point(policy, setting, hit, float(np.mean(rates)), float(np.mean(requests)), max(rates), len(outcomes))
