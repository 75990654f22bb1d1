"""The decision: may a cached answer be served for this question? Learns only from what went upstream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.levers.cache import keep, risk, vetoes
from trimtab.levers.cache.alarm import Alarm, Watch
from trimtab.levers.cache.features import Rarity, lexical
from trimtab.levers.cache.metric import Metric
from trimtab.levers.cache.verifier import Verifier

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

COMPARED = 5  # distinct answers the fresh one is compared with
SHARPNESS = 12.0  # of a vote by cosine
OPPOSED = ("one denies what the other says", "antonyms", "parts exchanged")  # vetoes that no other question lifts


class Candidate(NamedTuple):
    """A stored question near the one asked."""

    entry: int
    group: int
    question: str
    cosine: float


class Choice(NamedTuple):
    """What to do with one request: serve `entry`, or go upstream where it is None.

    `explore`: it would have been a hit, and goes upstream for its label. `compare`: places in the candidates, one for
    each distinct answer, the best first: compare the fresh answer with these.
    """

    entry: int | None
    score: float
    explore: bool
    reason: str
    compare: tuple[int, ...]
    row: tuple[float, ...]
    chance: float = 1.0  # of going upstream, as it stood


class Lesson(NamedTuple):
    """What the fresh answer taught.

    `group`: where the fresh answer belongs (None: a new one); `merged`: groups found to hold the same answer as it;
    `retired`: a group whose answer is out of date: delete its entries.
    """

    group: int | None
    merged: tuple[int, ...]
    retired: int | None


class Setting(NamedTuple):
    """What may be set.

    `alpha`: wrong hits allowed of hits. `explore`: share of would-be hits sent upstream for a label. `confidence`: of
    the one-sided bound. The policy is fitted from `warm` labels on, each `every` requests or twentieth part, with
    at least `fewest` right and wrong labels, to the last `window`. `hidden`: share of wrong answers that the comparator
    does not see, at most (`mistakes`).
    """

    alpha: float = 0.01
    explore: float = 0.015
    confidence: float = 0.7
    warm: int = 200
    every: int = 250
    fewest: int = 30
    window: int = 8000
    vetoes: bool = True
    hidden: float = 0.0


class Policy:
    """One route's cache decision. `seed` fixes the draws of exploration.

    Threads may share it. `shut` closes it by hand; the alarm closes it group by group: each must prove itself anew.
    """

    def __init__(self, setting: Setting | None = None, seed: int = 0, dims: int = 384) -> None:
        import numpy as np

        self.setting, self.seed = setting or Setting(), seed
        self.random = np.random.default_rng(seed)
        self.metric = Metric(dims)
        self.rarity = Rarity()
        self.slots: dict[int, int] = {}
        self.moved: dict[int, int] = {}
        self.tries: list[float] = []
        self.rights: list[float] = []
        self.verifier: Verifier | None = None
        self.curve: risk.Curve | None = None
        self.threshold = math.inf
        self.shut = False
        self.lock = RLock()
        self.alarm = Alarm()
        self.watch = Watch()
        self.rang = 0
        self.retired: set[int] = set()
        self.seen = 0
        self.rows: list[tuple[float, ...]] = []  # labelled
        self.right: list[float] = []
        self.recent: list[tuple[float, ...]] = []  # of all requests
        self.fitted = 0

    @property
    def closed(self) -> bool:
        """Nothing at all may be served: shut by hand, nothing learned yet, or the alarm rang and no group is back."""
        return self.shut or not math.isfinite(self.threshold) or (bool(self.watch.held) and all(self.watch.held))

    # -- deciding -----------------------------------------------------------------------------------------------
    def decide(self, asked: str, vector: Array, candidates: Sequence[Candidate]) -> Choice:
        """`candidates` best first. Deterministic, given the seed and what was asked and learned before."""
        with self.lock:
            return self._decide(asked, vector, candidates)

    def _decide(self, asked: str, vector: Array, candidates: Sequence[Candidate]) -> Choice:
        self.seen += 1
        groups: dict[int, list[int]] = {}
        for place, candidate in enumerate(candidates):
            if (slot := self.slot(candidate.group)) not in self.retired:
                groups.setdefault(slot, []).append(place)
        if not groups:
            return Choice(None, -math.inf, False, "nothing near", (), ())
        best, row, order = self.look(asked, vector, candidates, groups)
        self.recent.append(row)
        if len(self.recent) > 2 * self.setting.window:
            del self.recent[: self.setting.window]
        score = -math.inf
        if self.verifier is not None:
            import numpy as np

            score = float(self.verifier.score(np.array([row]))[0])
        places = groups[best]
        if score >= self.threshold and self.setting.vetoes:
            places = permitted(asked, candidates, places)
        entry, reason, explore = None, self._refusal(score, best, bool(places)), False
        if not reason:
            explore = bool(self.random.random() < self.setting.explore)
            entry, reason = (None, "explored") if explore else (candidates[places[0]].entry, "sure")
        compare = tuple(groups[group][0] for group in order[:COMPARED])
        chance = self.setting.explore if explore else float(entry is None)
        return Choice(entry, score, explore, reason, compare, row, chance)

    def _refusal(self, score: float, slot: int, allowed: bool) -> str:
        if self.shut:
            return "shut"
        if score < self.threshold:
            return "unsure"
        if self.watch.held[slot]:
            return "held"
        return "" if allowed else "vetoed"

    def look(
        self, asked: str, vector: Array, candidates: Sequence[Candidate], groups: dict[int, list[int]]
    ) -> tuple[int, tuple[float, ...], list[int]]:
        """The best group, its features, and the groups in order."""
        names = list(groups)
        top = candidates[0].cosine
        votes = [sum(math.exp(SHARPNESS * (candidates[p].cosine - top)) for p in groups[g]) for g in names]
        ratios = self.metric.ratios(vector, names)
        total = sum(votes)
        rank = [math.log(v / total) + r for v, r in zip(votes, ratios, strict=True)]
        order = sorted(range(len(names)), key=lambda i: -rank[i])
        i = order[0]
        slot, places = names[i], groups[names[i]]
        others = [j for j in range(len(names)) if j != i]
        held = candidates[places[0]]
        other = max((candidates[groups[names[j]][0]].cosine for j in others), default=0.0)
        n = self.metric.members[slot]
        total_vector = self.metric.sums[slot]
        words = lexical(asked, [candidates[p].question for p in places], self.rarity)
        row = (
            ratios[i],
            min(ratios[i] - max((ratios[j] for j in others), default=0.0), 8.0),
            held.cosine,
            held.cosine - other,
            votes[i] / total,
            float(total_vector @ vector) / (float(total_vector @ total_vector) ** 0.5 + 1e-9),
            words[0],
            words[1],
            (self.rights[slot] + 1) / (self.tries[slot] + 2),
            math.log1p(self.tries[slot]),
            math.log(n),
            float(len(names)),
            len(places) / len(candidates),
            float(places[0] == 0),
            candidates[min(4, len(candidates) - 1)].cosine,
            *words[2:],
        )
        return slot, row, [names[j] for j in order]

    # -- learning -----------------------------------------------------------------------------------------------
    def learn(self, choice: Choice, groups: Sequence[int], same: Sequence[bool | None]) -> Lesson:
        """After upstream answered: for each place in `choice.compare`, its group, and whether the fresh answer is the
        same as its answer (None: not compared). Then store the question, by `store`."""
        with self.lock:
            return self._learn(choice, groups, same)

    def _learn(self, choice: Choice, groups: Sequence[int], same: Sequence[bool | None]) -> Lesson:
        if not choice.compare:
            return Lesson(None, (), None)
        retired = None
        if same[0] is not None:
            retired = groups[0] if self._record(choice, self.slot(groups[0]), same[0]) else None
        alike = [group for group, equal in zip(groups, same, strict=True) if equal]
        for group in alike[1:]:
            self._merge(alike[0], group)
        return Lesson(alike[0] if alike else None, tuple(alike[1:]), retired)

    def _record(self, choice: Choice, slot: int, right: bool) -> bool:
        """One label; True if the group's answer is out of date."""
        self.tries[slot] += 1
        self.rights[slot] += right
        self.rows.append(choice.row)
        self.right.append(float(right))
        if self.curve is None or not math.isfinite(choice.score):
            return False
        forecast = self.curve.wrong(choice.score)
        before = self.watch.held[slot]
        retired = self.watch.feed(slot, not right, forecast)
        if self.alarm.feed(not right, forecast, self.watch.held[slot] and not before):
            self.rang += 1
            self.watch.suspect()
        if retired:
            self.retired.add(slot)
        return retired

    def store(self, group: int, vector: Array, question: str) -> None:
        """A question was stored as one of `group`, a known or a new one."""
        with self.lock:
            if group not in self.slots:
                self.slots[group] = len(self.slots)
                self.tries.append(0.0)
                self.rights.append(0.0)
                self.watch.grow()
            self.metric.add(self.slot(group), vector)
            self.rarity.add(question)

    def due(self) -> bool:
        """Is it time for `refit`?"""
        return len(self.rows) >= self.setting.warm and self.seen >= self.fitted + max(
            self.setting.every, self.fitted // 20
        )

    def refit(self) -> None:
        """Fit the metric, the verifier and the threshold anew, in some tenths of a second: call it off the path."""
        import numpy as np

        window = self.setting.window
        with self.lock:
            self.fitted = self.seen
            self.metric.fit()
            right = np.array(self.right[-window:])
            rows, recent = np.array(self.rows[-window:]), np.array(self.recent[-window:])
            start = None if self.verifier is None else self.verifier.weights
        if min(right.sum(), len(right) - right.sum()) < self.setting.fewest:
            return
        verifier = Verifier()
        verifier.weights = start
        scores = verifier.held_out(rows, right)
        verifier.fit(rows, right)
        curve = risk.curve(scores, right)
        alpha = self.setting.alpha * (1 - self.setting.hidden)
        threshold = curve.threshold(verifier.score(recent), alpha, self.setting.confidence)
        with self.lock:
            self.verifier, self.curve, self.threshold = verifier, curve, threshold

    def _merge(self, into: int, group: int) -> None:
        slot, gone = self.slot(into), self.slot(group)
        if slot == gone:
            return
        self.metric.merge(slot, gone)
        self.tries[slot] += self.tries[gone]
        self.rights[slot] += self.rights[gone]
        self.moved[gone] = slot

    def slot(self, group: int) -> int:
        """Where a group's record is. KeyError: a group that `store` never heard of."""
        at = self.slots[group]
        while at in self.moved:
            at = self.moved[at]
        return at

    # -- keeping ------------------------------------------------------------------------------------------------
    def state(self) -> bytes:
        """Everything `resume` needs: arrays and JSON, no code."""
        with self.lock:
            return keep.packed(self)

    @classmethod
    def resume(cls, state: bytes) -> Policy:
        """The policy as it stood, its random draws too. ValueError: not a state of this version."""
        words, arrays = keep.opened(state)
        policy = cls(Setting(*words["setting"]), words["seed"], words["dims"])
        keep.restore(policy, words, arrays)
        return policy


def permitted(asked: str, candidates: Sequence[Candidate], places: Sequence[int]) -> list[int]:
    """The questions of one answer, nearest first, that do not forbid it.

    A question with the same numbers, names and dates speaks for an answer that another with others had forbidden. An
    opposite is an opposite: where the nearest question is one, a question that merely says it in other words is no
    reason to serve.
    """
    first = vetoes.veto(asked, candidates[places[0]].question)
    if first in OPPOSED:
        return []
    found = [place for place in places[1:] if vetoes.veto(asked, candidates[place].question) is None]
    return found if first else [places[0], *found]
