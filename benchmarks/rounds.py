"""What is measured of a gateway: CPU, added time, highest rate, paced streams, memory. Systems take turns on one core.

All but the one under measurement are frozen meanwhile, so that what they do when idle is not on its bill.
"""

from __future__ import annotations

import contextlib
import gc
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import fake
import uvloop
from load import NUMBER, Sample, Target, Wrong, ask, listen, quantile, until
from systems import System

QUESTION = {
    "model": "MODEL/bench",
    "messages": [
        {"role": "system", "content": "You sell cars. " * 60},
        {"role": "user", "content": f"Customer {NUMBER.decode()}. {'Have you a red one? ' * 10}"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": f"tool_{n}", "description": "one", "parameters": {"type": "object", "properties": {}}},
        }
        for n in range(8)
    ],
}
PLAIN = json.dumps(QUESTION).encode()
STREAMED = json.dumps({**QUESTION, "stream": True}).encode()
BRISK = STREAMED.replace(b"Customer ", fake.BRISK + b" Customer ")
PACED = STREAMED.replace(b"MODEL/bench", b"MODEL/paced")
CONCURRENCY = 8
# What a system still has to do after its last answer (records to write, say) belongs to the requests before it: it is
# waited for until so little of a core is used, but not for ever.
QUIET, LOOK_S, PATIENCE_S = 0.04, 0.25, 15.0
BOUND_MS = 10.0
# An event that reaches the client so much later than it was due.
STALL_MS = 40.0
PACED_S = 64 * 0.02
SLICE = {"plain": 1800, "streamed": 200}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    clients: tuple[int, ...]
    streams: tuple[int, ...]
    soak: int
    others_soak_s: float
    cold_starts: int


QUICK = Plan(3, 1.5, (1, 2, 4, 8, 16, 32), (1, 100, 300, 400), 100_000, 8.0, 3)
FULL = Plan(
    7, 3.0, (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128), (1, 25, 50, 100, 200, 250, 300, 350, 400, 500, 600, 800),
    100_000, 120.0, 7,
)  # fmt: skip


@dataclass
class Seen:
    """What was measured of one system: a list of values, one a round, for each name."""

    values: dict[str, list[float]] = field(default_factory=dict)
    streams: int = 0
    rss_mb: list[tuple[int, float]] = field(default_factory=list)
    wrong: str = ""

    def note(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)


def run(coroutine) -> Sample:
    """Without a collector that stops the clock in the middle of it."""
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(coroutine)
    finally:
        gc.enable()


@contextlib.contextmanager
def turn(system: System):
    """Its turn: it runs, warmed up again."""
    system.thaw()
    try:
        run(ask(system.target, PLAIN, CONCURRENCY, until(0.3)))
        yield
    finally:
        system.freeze()


def round_of(system: System, plan: Plan, seen: Seen) -> None:
    """One turn: CPU ms a request, times at concurrency 1, and the highest rate whose p99 is within the bound."""
    with turn(system):
        for kind, body in (("plain", PLAIN), ("brisk", BRISK), ("streamed", STREAMED)):
            seen.note(f"cpu_{kind}_ms", cpu_ms(system, body, plan.seconds))
        alone(system.target, plan, seen)
        held, best = highest_rate(system.target, plan)
        seen.note("rate", held)
        seen.note("rate_any", best)


def cpu_ms(system: System, body: bytes, seconds: float) -> float:
    settle(system)
    before = system.cpu_s
    sample = run(ask(system.target, body, CONCURRENCY, until(seconds)))
    settle(system)
    return (system.cpu_s - before) * 1e3 / len(sample.seconds)


def settle(system: System) -> None:
    """Wait until nothing more comes of what was asked."""
    give_up = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < give_up:
        before = system.cpu_s
        time.sleep(LOOK_S)
        if system.cpu_s - before < QUIET * LOOK_S:
            break


def alone(target: Target, plan: Plan, seen: Seen) -> None:
    """One request at a time; of streams the time until the last byte."""
    plain = run(ask(target, PLAIN, 1, until(plan.seconds)))
    seen.note("p50_ms", plain.ms(0.5))
    seen.note("p99_ms", plain.ms(0.99))
    seen.note("stream_p50_ms", run(ask(target, STREAMED, 1, until(plan.seconds))).ms(0.5))


def highest_rate(target: Target, plan: Plan) -> tuple[float, float]:
    """Requests a second with p99 within the bound, and whatever p99 was, over growing numbers of clients."""
    held, best, beyond = 0.0, 0.0, 0
    for clients in plan.clients:
        sample = run(ask(target, PLAIN, clients, until(plan.seconds / 2)))
        best = max(best, sample.rate)
        if sample.ms(0.99) <= BOUND_MS:
            held, beyond = max(held, sample.rate), 0
        elif (beyond := beyond + 1) == 2:
            break
    return held, best


def most_streams(target: Target, levels: Iterable[int]) -> int:
    """The most paced streams at a time of which no event came late in two tries of three; 0 for none.

    It gives up at the second level in a row that does not hold: what disturbs one is perhaps not the system.
    """
    most, beyond = 0, 0
    for streams in levels:
        good = bad = 0
        while good < 2 and bad < 2:
            if is_held(target, streams):
                good += 1
            else:
                bad += 1
        if good == 2:
            most, beyond = streams, 0
        elif (beyond := beyond + 1) == 2:
            break
    return most


def is_held(target: Target, streams: int) -> bool:
    try:
        sample = run(listen(target, PACED, streams, until(2 * PACED_S), PACED_S))
    except Wrong:
        return False
    return quantile(sample.late_ms, 1.0) <= STALL_MS


def soak(system: System, count: int, seconds: float) -> list[tuple[int, float]]:
    """(requests so far, resident MB) after each slice, until `count` requests or `seconds`."""
    give_up = time.perf_counter() + seconds
    done, track = 0, [(0, system.rss_mb)]
    while done < count and time.perf_counter() < give_up:
        run(ask(system.target, PLAIN, 16, until(seconds, SLICE["plain"] - 16)))
        run(ask(system.target, STREAMED, 32, until(seconds, SLICE["streamed"] - 32)))
        done += sum(SLICE.values())
        track.append((done, system.rss_mb))
    return track


def growth(track: list[tuple[int, float]]) -> float:
    """MB more for each 100,000 requests: the least-squares slope after the first fifth."""
    kept = track[len(track) // 5 :]
    if len(kept) < 3:
        return float("nan")
    x0, y0 = (sum(column) / len(kept) for column in zip(*kept, strict=True))
    return 1e5 * sum((x - x0) * (y - y0) for x, y in kept) / sum((x - x0) ** 2 for x, _ in kept)


def measure(systems: list[System], upstream: Target, plan: Plan, say: Callable[[str], None]) -> dict[str, Seen]:
    """Everything, of `systems`, which are started and frozen, and of the upstream itself as `direct`."""
    seen = {"direct": Seen(), **{system.name: Seen() for system in systems}}
    alone(upstream, plan, Seen())
    for number in range(plan.rounds + 1):
        say(f"round {number} of {plan.rounds}" + ("" if number else ", to warm up"))
        # The first is not counted: interpreters compile, pools fill.
        notes = seen if number else {name: Seen() for name in seen}
        alone(upstream, plan, notes["direct"])
        for system in systems:
            with watched(seen[system.name]):
                if number:
                    round_of(system, plan, notes[system.name])
                else:
                    warm(system, plan)
    say("paced streams")
    seen["direct"].streams = most_streams(upstream, plan.streams)
    for system in systems:
        with watched(seen[system.name]), turn(system):
            seen[system.name].streams = most_streams(system.target, plan.streams)
    say("soak")
    for system in systems:
        own = system.name == "trimtab"
        with watched(seen[system.name]), turn(system):
            seen[system.name].rss_mb = soak(system, plan.soak, 900.0 if own else plan.others_soak_s)
    return seen


def warm(system: System, plan: Plan) -> None:
    with turn(system):
        for body in (PLAIN, BRISK, STREAMED):
            run(ask(system.target, body, CONCURRENCY, until(plan.seconds)))


@contextlib.contextmanager
def watched(seen: Seen):
    """Skips what comes after a wrong answer of a system, and keeps what was wrong."""
    try:
        yield
    except (Wrong, OSError) as error:
        seen.wrong = seen.wrong or str(error)
