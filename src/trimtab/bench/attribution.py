"""The attribution's run: blocks of cells in a random order, each noted once measured, so that a stopped run goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from trimtab.bench import cells, player, processes, report, traffic
from trimtab.bench.cells import Cell, Setting, Setup
from trimtab.bench.pairs import Models
from trimtab.bench.player import Replayed
from trimtab.bench.traffic import Work
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.errors import FormatError

WARM = 16  # sessions before anything is measured: they hold every agent's prompt
KV_MIB = 1024
SEED = 6
JUDGED = 1000  # the number of the block whose sessions judge task success: other ones than any that is timed
AGAIN = 2000, 3000, 4000  # first blocks of what is measured again: look-up and drafter that looked slower; the best
FEWEST = 6  # sessions of such a block


class Plan(msgspec.Struct, frozen=True):
    """What is measured: `setups` in each of `blocks`, `sessions` by concurrency, and open loop at `open_rate` times
    what the plain teacher serves at most, for the `barred` setups (0: none). `more` blocks follow of the student's
    setups alone: its cells are over in a second or two, and differ the more from each other. Then `judged` sessions,
    not timed, tell the task success of those that are compared; and what a bar picked out, the fastest of its
    concurrency or a drafter that looked slower than none, is measured `again` so often, all servers up and in turn:
    the best and the worst of many short measurements are partly luck."""

    pair: str
    setups: list[Setup]
    blocks: int
    sessions: dict[int, int]
    open_rate: float = 0.0
    threads: int = 0
    more: int = 0
    judged: int = 0
    again: int = 0


def quick(pair: str, threads: int) -> Plan:
    """A fraction of the cells, two blocks: minutes."""
    return Plan(pair, cells.fraction(pair), 2, {1: 2, 4: 6, 16: 32}, 0.0, threads, more=1)


def full(pair: str, blocks: int, threads: int) -> Plan:
    return Plan(pair, cells.full(pair), blocks, {1: 6, 4: 10, 16: 32}, 0.7, threads, judged=250, again=8)


class Journal:
    """Cells measured so far, one line each; a torn last line is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cells: list[Cell] = []
        lines = path.read_bytes().splitlines() if path.exists() else []
        for at, line in enumerate(lines):
            try:
                self.cells.append(msgspec.json.decode(line, type=Cell))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                if at + 1 < len(lines):
                    raise FormatError(f"{path}, line {at + 1}: not a cell ({error}): remove the file") from error
        self.done = {cell.key for cell in self.cells}
        if len(self.cells) < len(lines):
            path.write_bytes(b"".join(msgspec.json.encode(cell) + b"\n" for cell in self.cells))

    def add(self, cell: Cell) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(cell) + b"\n")
        self.cells.append(cell)
        self.done.add(cell.key)


def run(plan: Plan, models: Models, journal: Journal, say: Callable[[str], None]) -> None:
    """Measure what the journal lacks. In each block all setups get the same sessions, and come in a new order."""
    for block in range(plan.blocks + plan.more):
        order = [setup for setup in plan.setups if block < plan.blocks or setup.model == "student"]
        random.Random(f"{SEED} {block}").shuffle(order)
        # What all bear in open loop is read off the plain teacher, so it has to come before them.
        order.sort(key=lambda setup: block > 0 or setup != Setup(plan.pair, "teacher"))
        for at, setup in enumerate(order, 1):
            wanted = [(c, "closed") for c in plan.sessions]
            if plan.open_rate and setup in cells.barred(plan.pair):
                wanted.append((0, "open"))
            missing = [(c, loop) for c, loop in wanted if (setup, block, c, loop) not in journal.done]
            if missing:
                say(f"block {block + 1}/{plan.blocks + plan.more}, {plan.pair} {at}/{len(order)}: {setup.name}")
                measure(plan, setup, block, models, (missing, journal))
    cell = max(plan.sessions), "judged"
    for setup in report.compared(journal.cells, plan.pair) if plan.judged else []:
        if setup in plan.setups and (setup, JUDGED, *cell) not in journal.done:
            say(f"task success of {plan.pair}: {setup.name}, {plan.judged} sessions")
            measure(plan, setup, JUDGED, models, ([cell], journal))
    for setups, concurrency, first in _picked(journal.cells, plan.pair) if plan.again else []:
        blocks = range(first, first + plan.again)
        wanted_again = {Setting(setup, block, concurrency, "again") for setup in setups for block in blocks}
        if set(setups) <= set(plan.setups) and wanted_again - journal.done:
            names = " against ".join(setup.name for setup in setups)
            say(f"{plan.pair}, {concurrency} at once: {names}, {plan.again} times more")
            _again(plan, setups, (concurrency, blocks), models, journal)


def _picked(found: Sequence[Cell], pair: str) -> list[tuple[list[Setup], int, int]]:
    """(setups, concurrency, first block) of what a bar picked out, each with those that it is held against."""
    lookup, drafter, best = AGAIN
    slower = [
        ([setup, setup.undrafted], concurrency, lookup if setup.draft == "lookup" else drafter)
        for setup, concurrency in report.doubtful(found, pair)
    ]
    winners = [(report.best(found, pair, concurrency), concurrency) for concurrency in cells.CONCURRENCY]
    plain = [Setup(pair, "teacher"), Setup(pair, "student")]
    return slower + [([winner, *plain], concurrency, best) for winner, concurrency in winners if winner]


def measure(
    plan: Plan, setup: Setup, block: int, models: Models, wanted: tuple[list[tuple[int, str]], Journal]
) -> None:
    """Start the setup's server once, warm it, and measure the missing cells."""
    missing, journal = wanted
    with served(setup, models, plan.threads) as engine:
        _warm(plan, setup, engine)
        for concurrency, loop in missing:
            sessions = plan.judged if loop == "judged" else plan.sessions.get(concurrency, max(plan.sessions.values()))
            rate = plan.open_rate * bearable(journal, plan.pair) if loop == "open" else 0.0
            setting = Setting(setup, block, concurrency, loop)
            # At each concurrency others: what one has left in the caches would answer the next.
            some = works("test", sessions, block, concurrency)
            journal.add(_cell(engine, setting, some, rate))


def _again(plan: Plan, setups: list[Setup], where: tuple[int, range], models: Models, journal: Journal) -> None:
    """Measure what is missing of the setups, all servers up and in turn; `where` is concurrency and blocks."""
    concurrency, blocks = where
    with contextlib.ExitStack() as stack:
        sides = [(setup, stack.enter_context(served(setup, models, plan.threads))) for setup in setups]
        for setup, engine in sides:
            _warm(plan, setup, engine)
        for block in blocks:
            sides = sides[1:] + sides[:1]
            for setup, engine in sides:
                cell = Setting(setup, block, concurrency, "again")
                if cell not in journal.done:
                    journal.add(_cell(engine, cell, works("test", max(FEWEST, concurrency), block)))


def _warm(plan: Plan, setup: Setup, engine: EmbeddedEngine) -> None:
    """Answer recorded sessions of other customers."""
    # With a drafter these go to two pipelines, each with its cache; where nothing is reused there is none to fill.
    most = WARM if setup.reuse == "on" else 2
    for concurrency in sorted(plan.sessions, reverse=True):
        warming = works("train", WARM, 900)[: min(most, concurrency * 3)]
        asyncio.run(player.closed(engine.url, engine.models[0], warming, concurrency))


def _cell(engine: EmbeddedEngine, setting: Setting, some: list[Work], rate: float = 0.0) -> Cell:
    """Replay `some` closed loop, or open loop at `rate` requests a second."""
    name, pids = engine.models[0], processes.family(engine.pid)
    before = processes.cpu_s(pids)
    if rate:
        sessions_a_second = rate * len(some) / sum(len(work.moves) for work in some)
        replayed = asyncio.run(player.opened(engine.url, name, some, sessions_a_second))
    else:
        replayed = asyncio.run(player.closed(engine.url, name, some, setting.concurrency))
    return Cell(
        **setting._asdict(),
        cpu_s=processes.cpu_s(pids) - before,
        peak_mb=processes.peak_mb(pids),
        **{name: getattr(replayed, name) for name in Replayed.__struct_fields__},
    )


def bearable(journal: Journal, pair: str) -> float:
    """Requests a second of the teacher in BF16 at the highest concurrency: a load that every barred setup can bear."""
    found = [one.rate for one in journal.cells if one.loop == "closed" and one.setup == Setup(pair, "teacher")]
    return max(found, default=1.0)


_recorded: dict[tuple[str, int, int], list[Work]] = {}


def works(split: str, sessions: int, block: int, concurrency: int = 0) -> list[Work]:
    """The sessions of a block at that concurrency: the same for every setup, others in every block."""
    key = split, sessions, 100 + block + 100_000 * concurrency
    if key not in _recorded:
        _recorded[key] = traffic.record(*key)
    return _recorded[key]


@contextlib.contextmanager
def served(setup: Setup, models: Models, threads: int) -> Iterator[EmbeddedEngine]:
    """`trimtab engine serve` as the setup has it."""
    folder = models.folders[f"{setup.pair} {setup.model}"]
    words: list[str] = ["--kv-mib", str(KV_MIB)]
    if setup.draft != "none":
        words += ["--draft", "lookup"] if setup.draft == "lookup" else models.drafters[setup.model]
    if setup.reuse == "off":
        words.append("--no-prefix-reuse")
    cores = threads or len(os.sched_getaffinity(0))
    with EmbeddedEngine([str(folder)], precision=setup.precision, threads=cores, options=words) as engine:
        yield engine
