"""`trimtab demo --levers`: a round of each lever, and whether what was saved is the same wherever it was counted."""

from __future__ import annotations

import argparse
import math
import re
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console

from trimtab.cli import storewords
from trimtab.errors import ConfigError, require
from trimtab.levers import finding
from trimtab.money import text_of
from trimtab.plan import spending
from trimtab.store.ledger import Ledger
from trimtab.store.traces import TraceReader
from trimtab.ui import demo, proving

FULL = "full"
# How many customers come in a stage (at most, in the canary): those of the beginning divided by this.
SHARES = {"shadow": 15, "canary": 0.5, "full": 2}
_HITS = re.compile(r'^trimtab_cache_calls_total\{state="hit"\} (\S+)$', re.MULTILINE)
_SAVED = re.compile(r"^trimtab_cache_saved_usd_total (\S+)$", re.MULTILINE)


class Shown(NamedTuple):
    """The demo as it runs."""

    options: demo.Options
    up: demo.Service
    console: Console


class Counted(msgspec.Struct, frozen=True):
    """Hits, and nano-dollars saved, as one of those who count them has them."""

    who: str
    hits: int
    nanodollars: float

    def agrees(self, other: Counted) -> bool:
        """The same number of hits and the same money, but for the sum of floating-point dollars."""
        return self.hits == other.hits and math.isclose(self.nanodollars, other.nanodollars, rel_tol=1e-6, abs_tol=1)


class Told(msgspec.Struct, frozen=True):
    """What the command prints last."""

    levers: dict[str, str]
    counted: tuple[Counted, ...]

    @property
    def agree(self) -> bool:
        return all(each.agrees(self.counted[0]) for each in self.counted)


def check(args: argparse.Namespace) -> None:
    """Before anything starts. ConfigError for a lever that is not there or an option of none that is asked for."""
    require("gate", "numpy")
    for name in args.levers:
        finding.lever(name, {})
    for each in args.option:
        if each.partition(".")[0] not in args.levers or "=" not in each:
            raise ConfigError(f"--option {each} is of no lever that is asked for: write LEVER.NAME=VALUE")


def run(args: argparse.Namespace, shown: Shown) -> int:
    """The rounds; 0 where each lever serves in full and everyone has counted the same."""
    folder, came = shown.options.store, shown.options.sessions

    def customers(more: int) -> None:
        nonlocal came
        options = msgspec.structs.replace(shown.options, sessions=more, speed=0.0)
        before = TraceReader(folder).count()
        played = demo.play(options, shown.up, shown.console, came)
        came += more
        recorded(folder, before + sum(session.calls for session in played.sessions))

    house = proving.House(folder, customers, lambda text: shown.console.print(f"\n[bold]{text}[/]"), aside=args.json)
    sessions = shown.options.sessions
    terms = proving.Terms(
        margin=args.margin,
        shadow=math.ceil(sessions / SHARES["shadow"]),
        canary=math.ceil(sessions / SHARES["canary"]),
        full=math.ceil(sessions / SHARES["full"]),
        options=tuple(args.option),
        criteria=args.criteria,
    )
    came_to = proving.play(house, args.levers, terms)
    house.type("ledger", "saving", "--store", folder)
    told = Told(came_to, tuple(counted(folder, shown.up.gateway_url.removesuffix("/v1"))))
    if args.json:
        storewords.print_json(told)
    else:
        draw(shown.console, told)
    return 0 if told.agree and all(stage == FULL for stage in came_to.values()) else 1


def counted(folder: Path, gateway: str) -> list[Counted]:
    """By the audit over the recorded calls, by the ledger's last entry, and by the gateway's own counters."""
    traces = TraceReader(folder).scan(bodies=False)
    audit = spending.saved(call for trace in traces for call in trace.calls)
    noted = Ledger(folder).entries("saving")[-1].body
    with urllib.request.urlopen(f"{gateway}/metrics", timeout=10) as page:
        text = page.read().decode()
    hits, saved = (float(found[1]) if (found := each.search(text)) else 0.0 for each in (_HITS, _SAVED))
    return [
        Counted("audit", audit.hits, audit.nanodollars),
        Counted("ledger", int(noted["hits"]), int(noted["nanodollars"])),
        Counted("gateway's counters", int(hits), saved * 1e9),
    ]


def draw(console: Console, told: Told) -> None:
    console.print()
    for lever, stage in told.levers.items():
        console.print(f"[bold]{lever}[/]: {stage}")
    console.print("calls answered from what was kept")
    for each in told.counted:
        console.print(f"  by the {each.who}: {each.hits:,}, {text_of(round(each.nanodollars))} saved", highlight=False)
    console.print("they agree" if told.agree else "[bold red]they do not agree[/]")


def recorded(folder: Path, calls: int, patience_s: float = 5.0) -> None:
    """Wait until the gateway's recorder, which never holds up a call, has written them all."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if TraceReader(folder).count() >= calls:
            return
        time.sleep(0.1)
