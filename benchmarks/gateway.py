"""Speed and size of the gateway, with keys, limits and record on, beside its peers and a bare floor in the same run.

`python benchmarks/gateway.py [--quick] [--only NAME,..] [--peers DIR] [--realtime] [--json FILE]`

Each system is one process tree on the first core; the fake upstream and the load are on the second. Rounds are
interleaved, and ratios are taken within a round. Exit code 1 where a bar falls short.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import peers
import results
import rounds
from load import Target
from rounds import Plan, Seen
from systems import Absent, Recipe, System, script, served

CONFIG = """
endpoints = [
  {{ name = "bench", url = "{url}", model = "bench" }},
  {{ name = "paced", url = "{url}", model = "paced" }},
]
[gateway]
keys = "required"
admin_port = -1
[store]
folder = "store"
[prices.models]
"bench" = {{ input = 1.0, output = 2.0 }}
"paced" = {{ input = 1.0, output = 2.0 }}
"""
# High enough to refuse nothing: what is measured is that they are checked.
LIMITS = ("--requests", "100000000", "--tokens", "1000000000000", "--day", "100000", "--month", "100000")
# MB that 100,000 requests may add: a page here and there, not a leak.
FLAT_MB = 5.0
HEADS = (
    "system",
    "CPU ms, plain",
    "CPU ms, streamed",
    "CPU ms, paced",
    "added p50 ms",
    "added p99 ms",
    "stream, added p50 ms",
    "max req/s, p99 ≤ 10 ms",
    "streams without a stall",
    "RSS MB (after requests)",
    "cold start s",
)


def trimtab(upstream: str, work: Path) -> Recipe:
    """One worker that asks for keys, holds limits and records all."""
    (work / "trimtab.toml").write_text(CONFIG.format(url=upstream))
    command = [sys.executable, "-m", "trimtab"]
    made = subprocess.run(
        [*command, "keys", "create", "bench", *LIMITS, "--json"], cwd=work, capture_output=True, text=True
    )
    if made.returncode:
        raise Absent(f"no key could be made: {made.stderr.strip()}")
    port = str(peers.free_port())
    return Recipe(
        [*command, "serve", "--config", "trimtab.toml", "--port", port, "--attached"],
        url=f"http://127.0.0.1:{port}/v1",
        headers={"Authorization": f"Bearer {json.loads(made.stdout)['key']}"},
    )


def found(names: list[str], folder: Path) -> tuple[list[System], dict[str, str]]:
    """The systems of that name that are here, and why others are not."""
    systems, absent = [], {}
    for name in names:
        try:
            if name in peers.PEERS:
                systems.append(peers.system(name, folder))
            else:
                systems.append(System(name, {"trimtab": trimtab, "floor": peers.floor}[name]))
        except Absent as error:
            absent[name] = str(error)
            say(f"{name} is absent: {error}")
    return systems, absent


def started(systems: list[System], upstream: str, plan: Plan, core: int | None) -> tuple[list[System], dict, dict]:
    """Start each a few times, one after the other; those that run in the end, their cold starts, why others do not."""
    cold: dict[str, list[float]] = {}
    absent: dict[str, str] = {}
    for number in range(plan.cold_starts):
        for system in systems:
            if system.name in absent or (cold.get(system.name, [0])[-1] > 5 and number < plan.cold_starts - 1):
                continue
            system.stop()
            try:
                system.start(upstream, core)
            except Absent as error:
                absent[system.name] = str(error)
                say(f"{system.name} is absent: {error}")
                continue
            cold.setdefault(system.name, []).append(system.cold_s)
            system.freeze()
    return [system for system in systems if system.name not in absent], cold, absent


@dataclasses.dataclass(frozen=True)
class Bar:
    """One thing that must hold: what, the most or the least, and how it is found (NaN where it was not measured)."""

    name: str
    limit: float
    value: float
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if math.isnan(self.value):
            return "not measured"
        return "holds" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "falls short"

    @property
    def row(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        return [
            self.name,
            f"{sign} {self.limit:g}",
            "–" if math.isnan(self.value) else f"{self.value:.3g}",
            self.verdict,
        ]


def middle(values: list[float]) -> float:
    return statistics.median(values) if values else math.nan


def over(seen: dict[str, Seen], name: str, by: str, what: Callable[[float, float], float]) -> list[float]:
    """`what` of trimtab's and `by`'s values, round by round."""
    own, others = (seen[one].values.get(name, []) if one in seen else [] for one in ("trimtab", by))
    return [what(mine, other) for mine, other in zip(own, others, strict=False)]


def added(seen: dict[str, Seen], system: str, name: str) -> list[float]:
    pairs = zip(seen[system].values.get(name, []), seen["direct"].values.get(name, []), strict=False)
    return [value - direct for value, direct in pairs]


def bars(seen: dict[str, Seen], cold: dict[str, list[float]]) -> list[Bar]:
    own = seen["trimtab"]

    def ratio(kind: str, by: str) -> float:
        return middle(over(seen, f"cpu_{kind}_ms", by, lambda mine, other: mine / other))

    rss = [mb for _, mb in own.rss_mb]
    return [
        Bar("CPU per plain request / TensorZero's", 0.5, ratio("plain", "tensorzero")),
        Bar("CPU per plain request / LiteLLM's", 1 / 40, ratio("plain", "litellm")),
        Bar("CPU per streamed request / TensorZero's", 1.0, ratio("brisk", "tensorzero")),
        Bar("CPU per streamed request / LiteLLM's", 1 / 40, ratio("brisk", "litellm")),
        Bar("CPU per paced request / TensorZero's", 1.0, ratio("streamed", "tensorzero")),
        Bar("CPU ms per paced request", 2.0, middle(own.values.get("cpu_streamed_ms", []))),
        Bar("added p99 at concurrency 1, ms", 1.0, middle(added(seen, "trimtab", "p99_ms"))),
        Bar("paced streams without a stall", 300, own.streams if own.values else math.nan, at_least=True),
        Bar("RSS MB, the most in the soak", 120, max(rss, default=math.nan)),
        Bar("RSS MB more per 100,000 requests", FLAT_MB, rounds.growth(own.rss_mb)),
        Bar("cold start, s", 1.0, middle(cold.get("trimtab", []))),
    ]


def cell(values: list[float], digits: int = 2) -> str:
    """Median and, in brackets, least and most."""
    if not values:
        return "–"
    low, mid, high = (f"{value:.{digits}f}" for value in (min(values), middle(values), max(values)))
    return mid if low == high else f"{mid} ({low}–{high})"


def row(name: str, seen: dict[str, Seen], cold: dict[str, list[float]], plan: Plan) -> list[str]:
    own = seen[name]
    rate = cell(own.values.get("rate", []), 0)
    if own.values.get("rate") and not middle(own.values["rate"]):
        rate = f"none ({cell(own.values['rate_any'], 0)} at any p99)"
    requests, mb = own.rss_mb[-1] if own.rss_mb else (0, 0.0)
    return [
        name,
        cell(own.values.get("cpu_plain_ms", []), 3),
        cell(own.values.get("cpu_brisk_ms", []), 3),
        cell(own.values.get("cpu_streamed_ms", [])),
        cell(added(seen, name, "p50_ms")),
        cell(added(seen, name, "p99_ms")),
        cell(added(seen, name, "stream_p50_ms"), 1),
        rate,
        f"{'≥ ' if own.streams == plan.streams[-1] else ''}{own.streams}",
        f"{mb:.0f} ({requests:,})" if own.rss_mb else "–",
        cell(cold.get(name, [])),
    ]


def setting(plan: Plan, seen: dict[str, Seen], versions: str, absent: dict[str, str]) -> str:
    """What was measured how, in a few sentences."""
    direct = seen["direct"]
    alone = ", ".join(f"{name[:3]} {cell(direct.values.get(name, []), 3)}" for name in ("p50_ms", "p99_ms"))
    rest = " All of it runs at real-time priority, above what else this machine does." if is_realtime() else ""
    lines = [
        "Each system is one process tree on one core, alone on it (the others are frozen); fake upstream and load are "
        f"on the other. Median (least–most) of {plan.rounds} interleaved rounds. Trimtab: one worker, full record, a "
        "key with requests and tokens a minute and dollars a day and a month. Peers: no record, no keys in a database."
        + rest,
        f"CPU is user and system time of all threads at concurrency {rounds.CONCURRENCY}, {plan.seconds:g} s a round; "
        "a streamed request is 14 events, each sent as soon as it can be, a paced one 32 events 2 ms apart (without a "
        f"bar: {cell(over(seen, 'cpu_streamed_ms', 'litellm', lambda mine, other: mine / other), 4)} of LiteLLM's). "
        "'Added' is at concurrency 1, over the upstream asked directly "
        f"({alone} ms). Rates are closed loops of {plan.clients[0]} to {plan.clients[-1]} clients. A stream is paced: "
        f"64 events 20 ms apart; a stall is an event more than {rounds.STALL_MS:g} ms late, and a number of streams "
        "counts where two tries of three had none "
        f"(tried: {', '.join(map(str, plan.streams))}; directly {direct.streams}). Soak: plain, one in ten streamed.",
        f"Versions: {versions}.",
        *(f"**Absent: {name}**: {why}" for name, why in absent.items()),
    ]
    return "\n\n".join(lines)


def cores() -> tuple[int | None, int | None]:
    """For the systems and for the load; none where there is but one."""
    held = sorted(os.sched_getaffinity(0))
    return (held[0], held[1]) if len(held) > 1 else (None, None)


def is_realtime() -> bool:
    return os.sched_getscheduler(0) == os.SCHED_RR


def table(heads, rows) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def main() -> int:
    names = ["trimtab", "floor", *peers.PEERS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: ten minutes at most")
    parser.add_argument("--only", metavar="NAME,..", help=f"of {','.join(names)}; nothing goes to RESULTS.md then")
    parser.add_argument("--peers", type=Path, default=peers.FOLDER, metavar="DIR", help="where peers are installed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was measured here")
    parser.add_argument("--realtime", action="store_true", help="above all else this machine does; needs root")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else names
    if not set(wanted) <= set(names):
        parser.error(f"--only takes names of {','.join(names)}")
    plan = rounds.QUICK if args.quick else rounds.FULL
    systems, absent = found(wanted, args.peers)
    core, own_core = cores()
    if own_core is not None:
        os.sched_setaffinity(0, {own_core})
    if args.realtime:
        # What is started from here inherits it.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(served(script("fake.py")))
        for system in systems:
            stack.callback(system.stop)
        say("cold starts")
        systems, cold, dead = started(systems, upstream, plan, core)
        seen = rounds.measure(systems, Target(upstream), plan, say)
    absent |= dead | {name: f"gave up: {one.wrong}" for name, one in seen.items() if one.wrong}
    return tell(args, plan, seen, (cold, absent, systems))


def tell(args, plan: Plan, seen: dict[str, Seen], rest: tuple) -> int:
    """Print the table and the bars, keep them, and give the exit code."""
    cold, absent, systems = rest
    rows = [row(name, seen, cold, plan) for name in seen if name != "direct"]
    held = bars(seen, cold) if "trimtab" in seen else []
    versions = ", ".join(f"{system.name} {system.version}" for system in systems if system.version)
    judged = table(("bar", "", "measured", "verdict"), [bar.row for bar in held])
    notes = f"{setting(plan, seen, versions, absent)}\n\n{judged}"
    if args.only:
        print(table(HEADS, rows))
    else:
        results.publish("Gateway" + (" (quick)" if args.quick else ""), HEADS, rows, notes)
    print(f"\n{notes}")
    if args.json:
        kept = {"seen": {name: dataclasses.asdict(one) for name, one in seen.items()}, "cold_s": cold, "absent": absent}
        told = [{**dataclasses.asdict(bar), "verdict": bar.verdict} for bar in held]
        args.json.write_text(json.dumps({**kept, "bars": told}, indent=1))
    # A bar that could not be measured is not shown to hold, unless its peer was left out on purpose.
    bad = ("falls short",) if args.only else ("falls short", "not measured")
    return int("trimtab" in absent or any(bar.verdict in bad for bar in held))


def say(text: str) -> None:
    print(f"[{text}]", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
