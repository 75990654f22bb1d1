"""Sources: where a run's items come from and how one is asked: a suite's requests, or the dealership's sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import aiohttp
import msgspec

from trimtab.arena.client import Caller, Target
from trimtab.arena.dealership import tasks
from trimtab.arena.run import Session, judged
from trimtab.errors import ConfigError
from trimtab.evals import replay, scorers, suite
from trimtab.evals.judge import Judge
from trimtab.evals.replay import Outcome, Rates
from trimtab.evals.suite import Item, Suite
from trimtab.gate.sides import Side, prompted
from trimtab.money import Usage

ARENA = "arena:"
_SESSIONS, _MOST = 1000, 100_000


class Asker(Protocol):
    """Asks one side for the items of one cluster, one after the other."""

    async def ask(self, items: Sequence[Item]) -> tuple[Outcome, ...]: ...


class Source(Protocol):
    """A suite, the version of what judges it, and an asker for each side."""

    suite: Suite
    judge: str

    def asker(self, http: aiohttp.ClientSession, url: str, side: Side) -> Asker: ...


def named(text: str) -> Source:
    """The source that `text` names: a suite's file, or `arena:SPLIT`, `arena:SPLIT:COUNT`, `arena:SPLIT:COUNT:SEED`.

    FormatError, ConfigError or ArenaError where it cannot be used.
    """
    return Dealership(text) if text.startswith(ARENA) else Requests(suite.read(Path(text)))


def judge_of(text: str) -> scorers.Panel:
    """The judges of the suite in the file `text`, as one."""
    return scorers.Panel(suite.read(Path(text)))


class Requests:
    """A suite's own chat requests, judged by its judges."""

    def __init__(self, held: Suite) -> None:
        self.suite = held
        self._judge = scorers.Panel(held)
        self.judge = self._judge.version

    def asker(self, http: aiohttp.ClientSession, url: str, side: Side) -> Asker:
        return _Replayed(http, url, side, self._judge)


class _Replayed:
    def __init__(self, http: aiohttp.ClientSession, url: str, side: Side, judge: Judge) -> None:
        self._http, self._url, self._side, self._judge = http, url, side, judge
        self._rates = Rates.of(side.deployment, side.prices)

    async def ask(self, items: Sequence[Item]) -> tuple[Outcome, ...]:
        found = []
        for item in items:
            asked = msgspec.structs.replace(item, body=prompted(item.body, self._side.prompt))
            model = self._side.model
            found.append(await replay.ask(self._http, self._url, model, asked, self._judge, self._rates))
        return tuple(found)


class Dealership:
    """Sessions of the arena: each is an item and a cluster of its own, solved (1) or not (0) by its oracle's word."""

    judge = "arena-oracle-1"

    def __init__(self, text: str) -> None:
        words = text.removeprefix(ARENA).split(":")
        try:
            split, count, seed = words[0], int(words[1]) if words[1:] else _SESSIONS, int((words[2:] or ["0"])[0])
        except ValueError as error:
            raise ConfigError(f"'{text}' is no suite of the arena: write it like arena:test:500:0") from error
        if len(words) > 3 or count > _MOST:
            raise ConfigError(f"'{text}' is no suite of the arena: give a split, at most {_MOST:,} sessions and a seed")
        self._tasks = {task.id: task for task in tasks.draw(split, count, seed)}
        items = [
            Item(task.id, task.id, {"task": msgspec.to_builtins(task)}, True, (task.family,))
            for task in self._tasks.values()
        ]
        self.suite = suite.of(items, name=text)

    def asker(self, http: aiohttp.ClientSession, url: str, side: Side) -> Asker:
        if side.prompt:
            raise ConfigError("the arena's agents have prompts of their own: leave --baseline-prompt and its like out")
        return _Played(http, url, side, self._tasks)


class _Played:
    def __init__(self, http: aiohttp.ClientSession, url: str, side: Side, known: dict[str, tasks.Task]) -> None:
        self._http, self._known = http, known
        self._target = Target(url, side.model)
        self._rates = Rates.of(side.deployment, side.prices)

    async def ask(self, items: Sequence[Item]) -> tuple[Outcome, ...]:
        found = []
        for item in items:
            caller = Caller(self._http, self._target, f"{item.id}.0", lambda action: None)
            session = await judged(self._known[item.id], 0, caller)
            found.append(self._outcome(item, session, caller))
        return tuple(found)

    def _outcome(self, item: Item, session: Session, caller: Caller) -> Outcome:
        counted = bool(session.input_tokens)
        failed = session.why == "no answer"
        return Outcome(
            item=item.id,
            cluster=item.cluster,
            slices=item.slices,
            score=None if failed else float(session.solved),
            reason="; ".join(session.faults)[:300],
            ttft_s=caller.used.slowest_first_s or None,
            total_s=session.seconds,
            input_tokens=session.input_tokens if counted else None,
            output_tokens=session.output_tokens if counted else None,
            cached_tokens=session.cached_tokens,
            cost_nanodollars=self._cost(caller) if counted else None,
            fingerprint=" ".join(sorted("/".join(server) for server in caller.used.by_server)),
            error="; ".join(session.faults)[:300] if failed else "",
        )

    def _cost(self, caller: Caller) -> int | None:
        total = 0
        for (endpoint, model), (given, told, cached) in caller.used.by_server.items():
            usage = Usage(input_tokens=given, output_tokens=told, cache_read_tokens=cached)
            cost = self._rates.prices.cost(self._rates.names.get(endpoint) or model, usage)
            if cost is None:
                return None
            total += cost.nanodollars
        return total
