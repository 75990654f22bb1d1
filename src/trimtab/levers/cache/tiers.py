"""The tiers behind one door: the very same question, then one of the same meaning; and what a fresh answer teaches.

For threads; knows no requests and no event loop. Whatever fails here is a miss.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from trimtab.errors import TrimtabError
from trimtab.levers import encoder
from trimtab.levers.cache import comparator, kept
from trimtab.levers.cache.asking import Asked
from trimtab.levers.cache.comparator import Comparator
from trimtab.levers.cache.eligibility import is_acting
from trimtab.levers.cache.entries import Answer, Entries
from trimtab.levers.cache.kept import Kept
from trimtab.levers.cache.options import Options
from trimtab.levers.cache.policy import Candidate, Choice, Setting
from trimtab.levers.cache.routes import Route, Routes
from trimtab.levers.cache.sharing import Sharing
from trimtab.levers.encoder import Encoder

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("trimtab.cache")

NEAR = 20
_S = 10**9


class Near(NamedTuple):
    """What the semantic tier looked at: `compare` are the (entry, group) that a fresh answer is compared with, and
    `questions` theirs."""

    route: Route
    choice: Choice
    vector: np.ndarray
    compare: tuple[tuple[int, int], ...]
    questions: tuple[str, ...]


class Found(NamedTuple):
    """`held` may be served unless `explored`: then upstream answers all the same, to be compared. `entry` is the one
    whose question is the very same, `group` that of `held`."""

    held: Kept | None = None
    tier: str = ""
    entry: int = 0
    group: int = 0
    explored: bool = False
    near: Near | None = None


NOTHING = Found()


class Semantic(NamedTuple):
    """What the semantic tier needs, once it is loaded."""

    encoder: Encoder
    entries: Entries
    routes: Routes


class Tiers:
    """The rows below `folder`; `state` is what an artefact's policy learned. `clock` gives Unix time in ns."""

    def __init__(
        self, options: Options, folder: Path, state: bytes | None = None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._clock = clock
        self._options = options
        self._folder = folder
        self._state = state
        self._exact: Entries | None = None
        self._semantic: Semantic | None = None
        self._sharing = Sharing(folder, options.share_from) if options.share_from else None
        self._random = random.Random(options.seed)
        self._comparator = Comparator()
        self.broken = ""

    @property
    def semantic(self) -> Semantic | None:
        return self._semantic

    def open(self) -> None:
        """Load what takes seconds. Without it there is the exact tier alone; `broken` says why."""
        if not self._options.semantic or self._semantic is not None:
            return
        # Threads of numpy's own spin while they wait, on the cores that serve.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            its = _encoder(self._options.encoder)
            entries = Entries(self._folder, its.version, its.dims, self._clock)
        except (TrimtabError, OSError, RuntimeError, ValueError, ImportError) as error:
            self.broken = f"{type(error).__name__}: {error}"
            log.warning("the cache compares no meanings, only the very same questions hit: %s", error)
            return
        setting = Setting(alpha=self._options.alpha, explore=self._options.explore)
        routes = Routes(self._folder, setting, self._options.seed, its.dims, self._state)
        self._comparator = Comparator(its.embed)
        self._semantic = Semantic(its, entries, routes)
        its.warm()

    def same(self, fresh: Kept, held: Kept | None) -> bool | None:
        """Whether both say the same; None where that cannot be told."""
        if held is None:
            return None
        return self._comparator.same(
            comparator.Answer(fresh.text, fresh.calls), comparator.Answer(held.text, held.calls)
        )

    def nearest(self, found: Found) -> Kept | None:
        """The answer of the nearest question that was not served."""
        if found.near is None or not found.near.compare or self._semantic is None:
            return None
        answer = self._semantic.entries.answer(found.near.compare[0][1])
        return None if answer is None else _kept(answer)

    def find(self, asked: Asked, route: str) -> Found:
        """What may be served. StoreError and what else the parts raise."""
        exact = self._exactly(asked)
        if exact.held is not None:
            return exact._replace(explored=self._random.random() < self._options.explore)
        semantic = self._semantic
        return self._nearly(semantic, asked, route) if semantic is not None and asked.by_meaning else NOTHING

    def _rows(self) -> Entries:
        if self._exact is None:
            self._exact = Entries(self._folder, clock=self._clock)
        return self._exact

    def _exactly(self, asked: Asked) -> Found:
        rows = self._rows()
        entry = rows.find_exact(asked.partition.digest, asked.key)
        if entry is not None and (answer := rows.answer(entry.group)) is not None:
            return Found(_kept(answer), "exact", entry.id, entry.group)
        if self._sharing is not None and not asked.judged.private:
            entry = rows.find_exact(_shared(asked), asked.shared_key)
            if entry is not None and (answer := rows.answer(entry.group)) is not None:
                return Found(_kept(answer), "shared", entry.id, entry.group)
        return NOTHING

    def _nearly(self, semantic: Semantic, asked: Asked, name: str) -> Found:
        text = asked.question.text
        vector = semantic.encoder.embed([text])[0]
        found = semantic.entries.candidates(asked.partition.digest, vector, NEAR)
        near = [Candidate(each.entry, each.group, each.question, each.cosine) for each in found]
        route = semantic.routes.of(name)
        if strange := route.strange(near):
            route.meet(strange, semantic.entries.vectors([each.entry for each in strange]))
            gone = {each.entry for each in route.strange(strange)}
            near = [each for each in near if each.entry not in gone]
        choice = route.decide(text, vector, near)
        compare = tuple((near[place].entry, near[place].group) for place in choice.compare)
        looked = Near(route, choice, vector, compare, tuple(near[place].question for place in choice.compare))
        served = next((each for each in near if each.entry == choice.entry), None)
        if served is None:
            return Found(explored=choice.explore, near=looked)
        answer = semantic.entries.answer(served.group)
        if answer is None:
            return Found(near=looked)
        return Found(_kept(answer), "semantic", served.entry, served.group, near=looked)

    def keep(self, asked: Asked, found: Found, fresh: Kept, admitted: bool) -> None:
        """Learn from a `fresh` answer of upstream's and, where the caller may add to it, keep it."""
        answer = self._answer(asked, fresh)
        if found.tier == "exact":
            self._again(found, fresh, answer)
            return
        semantic = self._semantic
        if semantic is not None and asked.by_meaning and not is_acting(fresh.calls):
            self._learn(semantic, asked, found, fresh, admitted)
        elif admitted:
            self._rows().add(asked.partition.digest, asked.key, asked.question.text, None, answer)
        if self._sharing is not None and admitted and not asked.judged.private:
            said = partition_digest(fresh)
            if self._sharing.seen(asked.shared_key, said, asked.partition.tenant):
                self._rows().add(_shared(asked), asked.shared_key, asked.question.text, None, answer)

    def _again(self, found: Found, fresh: Kept, answer: Answer) -> None:
        """The very same question was asked upstream once more: what it says now counts."""
        same = self.same(fresh, found.held)
        if same is None:
            return
        self._rows().label(found.entry, "", same, "explored")
        if not same:
            self._rows().replace(found.group, answer)

    def _learn(self, semantic: Semantic, asked: Asked, found: Found, fresh: Kept, admitted: bool) -> None:
        text, near, group = asked.question.text, found.near, None
        vector = near.vector if near is not None else semantic.encoder.embed([text])[0]
        rows = semantic.entries
        if near is not None and near.compare:
            held = [rows.answer(its) for _, its in near.compare]
            same = [None if each is None else self.same(fresh, _kept(each)) for each in held]
            lesson = near.route.learn(near.choice, [its for _, its in near.compare], same)
            given = [(entry, equal) for (entry, _), equal in zip(near.compare, same, strict=True) if equal is not None]
            rows.labels(text, given, "explored" if near.choice.explore else "miss")
            if lesson.retired is not None:
                rows.quarantine(lesson.retired)
            group = lesson.group
        if not admitted:
            return
        if group is not None and rows.alias(group, asked.key, text, vector, asked.partition.caller) is None:
            group = None
        if group is None:
            group = rows.add(asked.partition.digest, asked.key, text, vector, self._answer(asked, fresh)).group
        route = near.route if near is not None else semantic.routes.of("")
        if route.store(group, vector, text):
            route.refit()

    def _answer(self, asked: Asked, fresh: Kept) -> Answer:
        now = self._clock()
        return Answer(
            body=fresh.body,
            dialect=fresh.dialect,
            usage={name: held for name, held in msgspec.structs.asdict(fresh.usage).items() if type(held) is int},
            latency_ms=fresh.latency_ms,
            caller=asked.partition.caller,
            trust=asked.trust,
            version=asked.version,
            created_ns=now,
            expires_ns=now + int(asked.life_s * _S),
            sources=asked.sources,
        )

    def answers(self) -> int:
        """How many distinct answers are held."""
        rows = self._semantic.entries if self._semantic is not None else self._rows()
        return rows.counts()["answers"]

    def close(self) -> None:
        for rows in (self._exact, self._semantic.entries if self._semantic is not None else None):
            if rows is not None:
                rows.close()
        if self._sharing is not None:
            self._sharing.close()

    def save(self) -> None:
        """Write down what was learned and the large indexes."""
        if self._semantic is not None:
            self._semantic.entries.save_index()
            for route in self._semantic.routes.all().values():
                route.save()


@functools.lru_cache(maxsize=4)
def _encoder(spec: str) -> Encoder:
    return encoder.load(spec)


def _shared(asked: Asked) -> str:
    return f"shared:{asked.partition.shared}"


def partition_digest(fresh: Kept) -> str:
    """What answers share that say the same words and call the same tools."""
    from trimtab.levers.cache.partition import digest

    return digest([fresh.text, list(fresh.calls)])


def _kept(answer: Answer) -> Kept:
    found = kept.read(answer.dialect, answer.body)
    return msgspec.structs.replace(
        found, latency_ms=answer.latency_ms, stored_s=answer.created_ns / _S, expires_s=answer.expires_ns / _S
    )
