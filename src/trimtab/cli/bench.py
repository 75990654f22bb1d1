"""`trimtab bench`: where the gains of a small, quantized, speculating model come from, measured on this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import ConfigError, require

if TYPE_CHECKING:
    from trimtab.bench.cells import Cell


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab bench attribution`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    table = verbs.add_parser("attribution", help="size, quantization, speculation, batching and reuse, told apart")
    options(table)
    table.add_argument("--json", action="store_true", help="print JSON instead of text")
    table.set_defaults(run=run)


def options(parser: argparse.ArgumentParser) -> None:
    """What `benchmarks/attribution.py` has as well."""
    parser.add_argument("--quick", action="store_true", help="a fraction of the cells, ten minutes on two cores")
    parser.add_argument("--pair", choices=["shipped", "enlarged", "both"], default="both", help="which models")
    parser.add_argument("--blocks", type=int, default=4, help="of the full run (default %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: every core")
    parser.add_argument("--home", type=Path, default=Path(".trimtab/attribution"), help="where what is built is kept")
    parser.add_argument("--anew", action="store_true", help="forget the cells of a stopped run")
    parser.add_argument("--rivals", action="store_true", help="the same by llama.cpp and transformers as well")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the picture there, as SVG")


def run(args: argparse.Namespace) -> int:
    """1 where a bar falls short."""
    from trimtab.bench import picture, report

    cells, pair = measured(args)
    bars = report.bars(cells, pair)
    if args.picture:
        args.picture.write_text(picture.svg(cells, pair), encoding="utf-8")
    if args.json:
        print(json.dumps(facts(cells, pair)))
    else:
        from trimtab.cli.leverwords import draw

        for name, rows in tables(cells, pair).items():
            draw(name, rows)
    return int(any(bar.holds is False for bar in bars))


def measured(args: argparse.Namespace) -> tuple[list[Cell], str]:
    """All cells, and the pair that the bars are about."""
    if args.blocks < 1 or args.threads < 1:
        raise ConfigError("no block or no thread measures nothing: ask for one or more")
    require("engine", "openvino_genai", "tokenizers", "jinja2", "starlette")
    from trimtab.bench import attribution, pairs

    wanted = pairs.PAIRS if args.pair == "both" else (args.pair,)
    if args.quick and args.pair == "both":
        wanted = ("enlarged",)
    journal = args.home / ("quick.jsonl" if args.quick else "full.jsonl")
    if args.anew:
        journal.unlink(missing_ok=True)
    held = attribution.Journal(journal)
    found = pairs.models(wanted, args.home, _say, args.quick)
    for pair in wanted:
        quick = attribution.quick(pair, args.threads)
        plan = quick if args.quick else attribution.full(pair, args.blocks, args.threads)
        attribution.run(plan, found, held, _say)
    if args.rivals:
        from trimtab.bench import rivals

        for line in rivals.run(plan, found, held, _say):
            _say(line)
    return [cell for cell in held.cells if cell.setup.pair.startswith(wanted)], wanted[-1]


def tables(cells: list[Cell], pair: str) -> dict[str, list[dict[str, Any]]]:
    """By title: bars, effects with what they need, interactions, cells."""
    from trimtab.bench import report

    verdicts = {True: "holds", False: "falls short", None: "inconclusive"}
    bars = [
        {"bar": bar.name, "must be": bar.bar, "measured": bar.measured, "beside": bar.beside,
         "verdict": verdicts[bar.holds]} for bar in report.bars(cells, pair)
    ]  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = {"bars": bars}
    for each in sorted({cell.setup.pair for cell in cells if " by " not in cell.setup.pair}):
        gains = [
            {"effect on requests/s": effect.name, "factor [95 %]": report.told(effect), "what this gain needs": needs}
            for effect, needs in report.effects(cells, each)
        ]
        both = [{"two changes": effect.name, "factor [95 %]": report.told(effect)}
                for effect in report.interactions(cells, each)]  # fmt: skip
        found |= {f"main effects, {each} pair": gains, f"interactions (1: they do not touch), {each} pair": both}
    return found | {"cells": report.table(cells)}


def facts(cells: list[Cell], pair: str) -> dict[str, Any]:
    """Everything, as JSON can hold it."""
    import msgspec

    return {**tables(cells, pair), "raw": msgspec.to_builtins(cells)}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
