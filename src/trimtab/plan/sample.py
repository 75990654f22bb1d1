"""The sessions of an audit whose bodies are kept: all of a small log, a seeded share of a large one, never part of one.

A session is kept while the hash of its name lies below a bar; when too much is kept, the bar is halved and what lies
above goes. So the choice depends on names and seed alone, not on order or on what was said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from trimtab.plan import messages
from trimtab.plan.findings import Sampled
from trimtab.plan.timeline import Exchange
from trimtab.trace import Call, EncodedPayload, Payload, Score, Trace

_ALL = 2**63


class Limits(NamedTuple):
    """What is kept at most; None: no limit."""

    calls: int | None = 12_000
    size: int | None = 48 << 20
    a_session: int = 2_000


class Session(NamedTuple):
    """One session's exchanges, oldest first."""

    key: int
    exchanges: list[Exchange]


class Sample:
    def __init__(self, seed: int, limits: Limits) -> None:
        self._seed, self._limits = seed, limits
        self._bar = _ALL
        self._kept: dict[int, list[tuple[Call, Payload | EncodedPayload | None]]] = {}
        self._sizes: dict[int, int] = {}
        self._calls = self._size = 0
        self._cut: set[int] = set()

    def add(self, key: int, call: Call, payload: Payload | EncodedPayload | None) -> None:
        """Keep the call if its session `key` is among the chosen."""
        if key >= self._bar:
            return
        calls = self._kept.setdefault(key, [])
        limits, size = self._limits, messages.weight(payload)
        held = self._sizes.get(key, 0)
        if limits.calls is not None and (
            len(calls) >= limits.a_session or (limits.size is not None and held + size > limits.size // 4)
        ):
            self._cut.add(key)
            return
        calls.append((call, _detached(payload) if limits.size is not None else payload))
        self._sizes[key] = held + size
        self._calls += 1
        self._size += size
        while self._is_full() and len(self._kept) > 1:
            self._halve()

    def _is_full(self) -> bool:
        calls, size, _ = self._limits
        return (calls is not None and self._calls > calls) or (size is not None and self._size > size)

    def _halve(self) -> None:
        bar = self._bar // 2
        left = [key for key in self._kept if key < bar]
        if not left:  # The sessions are few and long: the one that would stay longest is kept.
            left = [min(self._kept)]
            bar = left[0] + 1
        self._bar = bar
        self._kept = {key: self._kept[key] for key in left}
        self._sizes = {key: self._sizes[key] for key in left}
        self._calls = sum(map(len, self._kept.values()))
        self._size = sum(self._sizes.values())
        self._cut &= self._kept.keys()

    @property
    def share(self) -> float:
        return self._bar / _ALL

    def described(self) -> Sampled:
        bodies = sum(payload is not None for calls in self._kept.values() for _, payload in calls)
        return Sampled(
            sessions=len(self._kept),
            calls=self._calls,
            share=self.share,
            cut=len(self._cut),
            with_bodies=bodies,
            seed=self._seed,
        )

    def sessions(self) -> Iterator[Session]:
        """With bodies read; in the order in which their first calls came."""
        once: messages.Known = {}  # Definitions and system prompts are the same in all sessions.
        for key, calls in self._kept.items():
            known: messages.Known = dict(once)
            exchanges = [Exchange(call, messages.read(payload, known)) for call, payload in calls]
            exchanges.sort(key=lambda one: one.call.started_ns)
            if len(once) < 2_000:
                fixed = ("definition", "system")
                once.update((text, its) for text, its in known.items() if its and its[0].role in fixed)
            yield Session(key, exchanges)

    def traces(self, scores: Mapping[str, tuple[Score, ...]]) -> Iterator[Trace]:
        """The traces of the sessions, whole, their payloads decoded one trace at a time."""
        for calls in self._kept.values():
            by_trace: dict[str, list[tuple[Call, Payload | EncodedPayload | None]]] = {}
            for call, payload in calls:
                by_trace.setdefault(call.trace_id, []).append((call, payload))
            for name, its in by_trace.items():
                its.sort(key=lambda pair: pair[0].started_ns)
                payloads = {call.id: payload.decoded() for call, payload in its if payload is not None}
                yield Trace(name, tuple(call for call, _ in its), payloads, scores.get(name, ()))


def _detached(payload: Payload | EncodedPayload | None) -> Payload | EncodedPayload | None:
    """The same, holding on to no larger buffer that it was read from."""
    if not isinstance(payload, EncodedPayload):
        return payload
    request = {name: text.copy() for name, text in payload.request.items()}
    response = None if payload.response is None else {name: text.copy() for name, text in payload.response.items()}
    return msgspec.structs.replace(payload, request=request, response=response)
