"""The attribution's tables: every cell, effects and interactions with intervals and needs, and the bars."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean

import msgspec

from trimtab.bench.cells import CONCURRENCY, FACTORS, NEEDS, Cell, Setup
from trimtab.stats.factorial import Effect, Row, interaction, main_effect, ratio
from trimtab.stats.intervals import wilson
from trimtab.stats.noninferiority import newcombe
from trimtab.stats.quantiles import quantile

MARGIN = 0.03
# At each concurrency: optimised student by the teacher in BF16, and by the student in BF16.
BARS = {1: (14.0, 2.8), 4: (8.0, 1.3), 16: (7.0, 1.15)}
MOONSHOT = {1: (20.0, 3.5), 4: (10.0, 1.7), 16: (8.0, 1.3)}
SLOWER = 0.97  # a governed drafter may be this much slower than none


class Bar(msgspec.Struct, frozen=True):
    """One bar; `holds` None: not measured."""

    name: str
    bar: str
    measured: str
    beside: str
    holds: bool | None


def table(cells: Sequence[Cell]) -> list[dict[str, str]]:
    """One row for each setup, concurrency and loop, over its blocks."""
    groups: dict[tuple[Setup, str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.setup, cell.loop, cell.concurrency].append(cell)
    return [_row(setup, loop, concurrency, some) for (setup, loop, concurrency), some in sorted(groups.items())]


def _row(setup: Setup, loop: str, concurrency: int, some: Sequence[Cell]) -> dict[str, str]:
    wall, requests = sum(cell.wall_s for cell in some), sum(cell.requests for cell in some)
    first = [each for cell in some for each in cell.ttft_s]
    whole = [each for cell in some for each in cell.latency_s]
    sessions = [good for cell in some for good in cell.sessions.values()]
    low, high = wilson(sum(sessions), len(sessions))
    drafted = sum(cell.drafted for cell in some)
    return {
        "pair": setup.pair,
        "setup": setup.name,
        "at once": {"closed": f"{concurrency}", "open": "open loop"}.get(loop, f"{concurrency}, {loop}"),
        "requests/s": f"{requests / wall:.2f}",
        "tokens/s": f"{sum(cell.tokens for cell in some) / wall:.0f}",
        "CPU s/request": f"{sum(cell.cpu_s for cell in some) / requests:.3f}",
        "TTFT P50/P90 ms": f"{_ms(first, 0.5)}/{_ms(first, 0.9)}" if first else "",
        "latency P50/P90 ms": f"{_ms(whole, 0.5)}/{_ms(whole, 0.9)}",
        "peak MB": f"{max(cell.peak_mb for cell in some):.0f}",
        "drafts taken": f"{sum(cell.taken for cell in some) / drafted:.0%}" if drafted else "",
        "moves right": f"{sum(cell.moves_right for cell in some) / requests:.1%}",
        "task success": f"{sum(sessions) / len(sessions):.1%} [{low:.1%}, {high:.1%}]",
        "n": f"{requests} requests, {len(sessions)} sessions, {len(some)} blocks",
    }


def _ms(seconds: Sequence[float], q: float) -> str:
    return f"{(quantile(seconds, q) or 0.0) * 1e3:.0f}"


def closed(cells: Iterable[Cell], pair: str) -> list[Cell]:
    return [cell for cell in cells if cell.setup.pair == pair and cell.loop == "closed"]


def crossed(cells: Sequence[Cell]) -> list[Cell]:
    """Those of blocks with as many models as any: further blocks of one model would outweigh the other's."""
    models: dict[int, set[str]] = defaultdict(set)
    for cell in cells:
        models[cell.block].add(cell.setup.model)
    most = max(map(len, models.values()), default=0)
    return [cell for cell in cells if len(models[cell.block]) == most]


def effects(cells: Sequence[Cell], pair: str) -> list[tuple[Effect, str]]:
    """Main effects on requests/s, over all cells that have both levels, each with what it needs."""
    rows = _rows(crossed(closed(cells, pair)))
    wanted = [(factor, levels[0], level) for factor, levels in FACTORS.items() for level in levels[1:]]
    wanted += [("concurrency", "1", str(c)) for c in CONCURRENCY[1:]]
    found = []
    for factor, base, level in wanted:
        for at in ("", *(str(c) for c in CONCURRENCY)):
            some = [row for row in rows if not at or row.levels["concurrency"] == at]
            if (at and factor == "concurrency") or not some:
                continue
            try:
                effect = main_effect(some, factor, base, level)
            except ValueError:
                continue
            named = msgspec.structs.replace(effect, name=effect.name + (f", {at} at once" if at else ", overall"))
            found.append((named, NEEDS.get(effect.name, "")))
    return found


def interactions(cells: Sequence[Cell], pair: str) -> list[Effect]:
    """Each two changes together against each alone, where it was measured."""
    rows = _rows(crossed(closed(cells, pair)))
    changes = [(factor, levels[0], level) for factor, levels in FACTORS.items() for level in levels[1:]]
    changes += [("concurrency", "1", str(c)) for c in CONCURRENCY[1:]]
    found = []
    for one, other in combinations(changes, 2):
        if one[0] != other[0]:
            try:
                found.append(_named(interaction(rows, one, other), one, other))
            except ValueError:
                continue
    return found


def _named(effect: Effect, one: tuple[str, str, str], other: tuple[str, str, str]) -> Effect:
    return msgspec.structs.replace(effect, name=f"{one[0]} {one[2]} with {other[0]} {other[2]}")


def _rows(cells: Iterable[Cell]) -> list[Row]:
    return [Row(cell.block, cell.levels, cell.rate) for cell in cells]


def best(cells: Sequence[Cell], pair: str, concurrency: int) -> Setup | None:
    """The optimised student: of its quantized or drafting setups the one with the most requests a second there."""
    rates: dict[Setup, list[float]] = defaultdict(list)
    for cell in closed(cells, pair):
        if cell.concurrency == concurrency and cell.setup.model == "student" and cell.setup.reuse == "on":
            rates[cell.setup].append(math.log(cell.rate))
    rates.pop(Setup(pair, "student"), None)
    return max(rates, key=lambda setup: fmean(rates[setup]), default=None)


def compared(cells: Sequence[Cell], pair: str) -> list[Setup]:
    """Those that the bars hold against each other: both models plain, and the optimised student of each concurrency."""
    winners = {best(cells, pair, concurrency) for concurrency in CONCURRENCY}
    return sorted({Setup(pair, "teacher"), Setup(pair, "student"), *(each for each in winners if each is not None)})


def paired(cells: Sequence[Cell], over: Setup, under: Setup, concurrency: int, loop: str = "closed") -> Effect:
    """Requests/s of one setup by another's in the same block. ValueError where no block has both."""
    found: dict[int, dict[Setup, float]] = defaultdict(dict)
    for cell in cells:
        if (cell.concurrency, cell.loop) == (concurrency, loop) and cell.setup in (over, under):
            found[cell.block][cell.setup] = cell.rate
    logs = [math.log(both[over] / both[under]) for both in found.values() if len(both) == 2]
    return ratio(f"{over.name} / {under.name}", logs, 1)


def bars(cells: Sequence[Cell], pair: str) -> list[Bar]:
    """What must hold, on the pair that it is meant for.

    What was measured again stands in place of the first measurement, by which it was picked out.
    """
    found = []
    for concurrency, (teacher, student) in BARS.items():
        winner = best(cells, pair, concurrency)
        if winner is None:
            continue
        moon = MOONSHOT[concurrency]
        for base, bar, far in ((Setup(pair, "teacher"), teacher, moon[0]), (Setup(pair, "student"), student, moon[1])):
            try:
                first = paired(cells, winner, base, concurrency)
            except ValueError:
                continue
            effect, beside = first, f"moonshot {far:g}x; {first.blocks} blocks"
            with contextlib.suppress(ValueError):
                effect = paired(cells, winner, base, concurrency, "again")
                beside = f"moonshot {far:g}x; {effect.blocks} blocks after it was picked by {told(first)}"
            name = f"{pair}, {concurrency} at once: {winner.name} / {base.name}, requests/s"
            found.append(
                Bar(
                    name,
                    f">= {bar:g}x",
                    told(effect),
                    beside,
                    effect.factor >= bar,
                )
            )
            found.append(_success(cells, winner, base, concurrency))
    return found + governed(cells, pair)


def _success(cells: Sequence[Cell], winner: Setup, base: Setup, concurrency: int) -> Bar:
    """Task success, session by session, timed there or judged: not worse than by MARGIN, at 95 %."""
    sides: list[dict[tuple[int, str], bool]] = [
        {
            (cell.block, name): good
            for cell in cells
            if cell.setup == setup
            and (cell.loop == "judged" or (cell.loop == "closed" and cell.concurrency == concurrency))
            for name, good in cell.sessions.items()
        }
        for setup in (winner, base)
    ]
    both = sides[0].keys() & sides[1].keys()
    gains = sum(sides[0][key] and not sides[1][key] for key in both)
    losses = sum(sides[1][key] and not sides[0][key] for key in both)
    right = sum(sides[0][key] and sides[1][key] for key in both)
    low, high = newcombe(gains, losses, len(both), right)
    shown = f"{(gains - losses) / max(1, len(both)):+.1%} [{low:+.1%}, {high:+.1%}]"
    # An interval that reaches below the margin and above it has shown neither.
    holds = True if low > -MARGIN else False if high < -MARGIN else None
    name = f"{winner.pair}, {concurrency} at once: task success of {winner.name} by {base.name}"
    return Bar(name, f"> -{MARGIN:.0%}", shown, f"{len(both)} sessions in pairs, {gains} gained, {losses} lost", holds)


def doubtful(cells: Sequence[Cell], pair: str) -> list[tuple[Setup, int]]:
    """(setup with a drafter, concurrency) that seemed too slow against none: to be measured again."""
    return [
        (setup, concurrency)
        for concurrency in CONCURRENCY
        for draft in ("lookup", "drafter")
        for setup, effect in _by_none(cells, pair, draft, concurrency, "closed").items()
        if effect.factor < SLOWER
    ]


def governed(cells: Sequence[Cell], pair: str) -> list[Bar]:
    """Drafting under the governor by none, worst case over models and precisions, at each concurrency.

    What was measured again stands in place of the first measurement, by which it was picked out.
    """
    found = []
    for concurrency in CONCURRENCY:
        for draft in ("lookup", "drafter"):
            effects = _by_none(cells, pair, draft, concurrency, "closed")
            if not effects:
                continue
            again = _by_none(cells, pair, draft, concurrency, "again")
            setup, worst = min((effects | again).items(), key=lambda each: each[1].factor)
            name = f"{pair}, {concurrency} at once: {draft} under the governor / none, worst of {len(effects)}"
            beside = setup.name
            if again:
                first = min(effects.values(), key=lambda effect: effect.factor)
                beside += f"; {len(again)} measured again, the worst at first {told(first)}"
            found.append(Bar(name, f">= {SLOWER:g}x", told(worst), beside, worst.factor >= SLOWER))
    return found


def _by_none(cells: Sequence[Cell], pair: str, draft: str, concurrency: int, loop: str) -> dict[Setup, Effect]:
    """What each setup with `draft` gives by the same without, where both were measured."""
    found = {}
    for setup in sorted({cell.setup for cell in cells if cell.setup.pair == pair and cell.setup.draft == draft}):
        with contextlib.suppress(ValueError):
            found[setup] = paired(cells, setup, setup.undrafted, concurrency, loop)
    return found


def told(effect: Effect) -> str:
    return f"{effect.factor:.2f}x [{effect.low:.2f}, {effect.high:.2f}]"
