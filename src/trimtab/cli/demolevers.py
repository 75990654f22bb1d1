"""`trimtab demo --levers`: a round of each lever, and whether what was saved is the same wherever it was counted."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import shutil
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trimtab import config
from trimtab.cli import storewords
from trimtab.engines import prepared
from trimtab.errors import ConfigError, require
from trimtab.levers import finding
from trimtab.money import Usage, text_of
from trimtab.plan import spending
from trimtab.store.ledger import Ledger
from trimtab.store.traces import TraceReader
from trimtab.ui import demo, gains, proving

FULL = "full"
CHAIN = ("small_model", "quantization", "speculation")
# What a lever is told in this business, where the user says nothing else. The small model goes on from the shipped one,
# since to begin anew takes an hour; whose price it has is a supposition.
USUAL = {
    "small_model.licences": '{engine="own"}',
    "small_model.success": '"success"',
    "small_model.steps": "{sft=30}",
    "small_model.priced": '"gpt-4o-mini"',
    "quantization.model": '"{checkpoint}"',
    "quantization.name": '"small-int8"',
    "quantization.endpoint": '"engine"',
    "speculation.target": '"{checkpoint}"',
    "speculation.served": '"{served}"',
    "speculation.endpoint": '"engine"',
    "speculation.epochs": "3",
}
BASE = "small_model.base", "dealer-student"
TRAINED = {"small_model", "speculation"}
# How many customers come in a stage (at most, in the canary): those of the beginning divided by this.
SHARES = {"shadow": 15, "canary": 0.5, "full": 2}
_HITS = re.compile(r'^trimtab_cache_calls_total\{state="hit"\} (\S+)$', re.MULTILINE)
_CLASSES = ("input", "output", "cache_read", "cache_write", "reasoning")
_TOKENS = r'^trimtab_tokens_total\{{class="{}"[^}}]*\}} (\S+)$'
_PAID = r"^trimtab_cost_usd_total(?:\{[^}]*\})? (\S+)$"


class Shown(NamedTuple):
    """The demo as it runs."""

    options: demo.Options
    up: demo.Service
    console: Console


class Counted(msgspec.Struct, frozen=True):
    """Hits, and nano-dollars saved by them and by other prices, as one of those who count them has them."""

    who: str
    hits: int
    nanodollars: float

    def agrees(self, other: Counted) -> bool:
        """The same number of hits and the same money, but for the sum of floating-point dollars."""
        return self.hits == other.hits and math.isclose(self.nanodollars, other.nanodollars, rel_tol=1e-6, abs_tol=1)


class Told(msgspec.Struct, frozen=True):
    """What the command prints last."""

    levers: dict[str, str]
    rows: tuple[gains.Row, ...]
    counted: tuple[Counted, ...]

    @property
    def agree(self) -> bool:
        return all(each.agrees(self.counted[0]) for each in self.counted)


def check(args: argparse.Namespace) -> None:
    """Before anything starts. ConfigError for a lever that is not there or an option of none that is asked for."""
    require("gate", "numpy")
    if TRAINED & set(args.levers):
        require("tune", "torch", "transformers")
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

    def say(text: str) -> None:
        shown.console.print(f"\n[bold]{escape(text)}[/]")

    first, model = folder / "before.toml", shown.options.model
    sessions = shown.options.sessions
    terms = proving.Terms(
        margin=args.margin,
        shadow=math.ceil(sessions / SHARES["shadow"]),
        canary=math.ceil(sessions / SHARES["canary"]),
        full=math.ceil(sessions / SHARES["full"]),
        options=(*usual(args.option), *args.option),
        criteria=args.criteria,
    )
    with contextlib.ExitStack() as engines:
        house = proving.House(folder, customers, say, shown.up.model, engines, model, model, aside=args.json)
        shutil.copyfile(house.config, first)
        came_to = proving.play(house, args.levers, terms)
        house.type("ledger", "saving", "--store", folder, "--baseline", first)
    before = config.read(first)
    rows = gains.rows(TraceReader(folder).scan(bodies=False), came_to, before.deployment(), before.price_table())
    told = Told(
        {each.lever: each.stage for each in came_to},
        tuple(rows),
        tuple(counted(folder, shown.up.gateway_url.removesuffix("/v1"), before)),
    )
    if args.json:
        storewords.print_json(told)
    else:
        draw(shown.console, told)
    return 0 if told.agree and all(each.stage == FULL for each in came_to) else 1


def usual(given: Sequence[str]) -> list[str]:
    """The options of this business that the user has not given."""
    name, model = BASE
    told = {each.partition("=")[0].strip() for each in given}
    its = {**USUAL, name: f'"{prepared.locate(model)}"'}
    return [f"{name}={value}" for name, value in its.items() if name not in told]


def counted(folder: Path, gateway: str, before: config.Settings) -> list[Counted]:
    """By the audit over the recorded calls, by the ledger's last entry, and by the gateway's own counters."""
    hits, moves = spending.Hits(), spending.Moves(before.deployment(), before.price_table())
    for trace in TraceReader(folder).scan(bodies=False):
        for call in trace.calls:
            hits.add(call)
            moves.add(call)
    audit, noted = hits.saved(), Ledger(folder).entries("saving")[-1].body
    with urllib.request.urlopen(f"{gateway}/metrics", timeout=10) as page:
        text = page.read().decode()
    kept = found[1] if (found := _HITS.search(text)) else "0"
    return [
        Counted("audit", audit.hits, audit.nanodollars + moves.moved().nanodollars),
        Counted("ledger", int(noted["hits"]), int(noted["nanodollars"]) + int(noted["moved"]["nanodollars"])),
        Counted("gateway's counters", int(float(kept)), otherwise(text, before)),
    ]


def otherwise(page: str, before: config.Settings) -> float:
    """Nano-dollars: what all tokens that the gateway counted would have cost at the first endpoint's price, less what
    they did."""
    tokens = {name: sum(map(float, re.findall(_TOKENS.format(name), page, re.MULTILINE))) for name in _CLASSES}
    usage = msgspec.convert({f"{name}_tokens": int(count) for name, count in tokens.items()}, Usage)
    cost = before.price_table().cost(before.deployment().endpoints[0].price_name, usage)
    paid = sum(map(float, re.findall(_PAID, page, re.MULTILINE)))
    return (cost.nanodollars if cost else 0) - paid * 1e9


def draw(console: Console, told: Told) -> None:
    console.print()
    for lever, stage in told.levers.items():
        console.print(f"[bold]{lever}[/]: {stage}")
    console.print(drawn(told.rows))
    console.print("[dim]times are under each stage's own load: after the first, all come as fast as they are served[/]")
    console.print("saved, against the prices at the beginning")
    for each in told.counted:
        kept = f", {each.hits:,} calls answered from what was kept" if each.hits else ""
        console.print(f"  by the {each.who}: {text_of(round(each.nanodollars))}{kept}", highlight=False)
    console.print("they agree" if told.agree else "[bold red]they do not agree[/]")


def drawn(rows: Sequence[gains.Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "calls", "saved", "in full: sessions", "solved", "cost of one", "a call's P50", "P90"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        ms = [f"{row.p50_ms:.0f} ms", f"{row.p90_ms:.0f} ms"]
        full = [f"{row.sessions:,}", f"{row.solved:.1%}", text_of(round(row.cost_nanodollars)), *ms]
        table.add_row(row.lever, f"{row.calls:,}", text_of(row.nanodollars), *(full if row.sessions else [row.stage]))
    return table


def recorded(folder: Path, calls: int, patience_s: float = 5.0) -> None:
    """Wait until the gateway's recorder, which never holds up a call, has written them all."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if TraceReader(folder).count() >= calls:
            return
        time.sleep(0.1)
