"""The shipped models on the dealership's test split, by the embedded engine. Bar: the teacher solves >= 95 %.

`python benchmarks/models.py [--quick] [--json FILE] [--cards]`; `--cards` rewrites the models' README files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import msgspec

from trimtab.arena import outcome
from trimtab.arena.client import Target
from trimtab.arena.dealership import tasks
from trimtab.arena.run import Pace, Run
from trimtab.arena.tuning.card import card
from trimtab.arena.tuning.train import MODELS
from trimtab.config import shipped_prices
from trimtab.engines.embedded import EmbeddedEngine

sys.path.insert(0, str(Path(__file__).parent))
import results

BAR = 0.95
# A third of a draw are a few recurring goals, so that one draw, however long, says little about the split.
DRAWS = 10
NAMES = ("dealer-teacher", "dealer-student")


def main() -> int:
    """Measure, print, append to RESULTS.md; 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 sessions a model instead of 500")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--cards", action="store_true", help="rewrite the models' README files")
    parser.add_argument("--precision", default="bf16")
    args = parser.parse_args()
    count = 100 if args.quick else 500
    rows, figures = [], {}
    for name in NAMES:
        result = measure(name, count, args.precision)
        figures[name] = msgspec.to_builtins(result)
        share = result.success
        verdict = "" if name != NAMES[0] else "holds" if share.value >= BAR else "falls short"
        bar = "success ≥ 95 %" if name == NAMES[0] else "none: its honest figure"
        interval = f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {share.n}"
        rows.append((name, bar, interval, f"{result.handoffs.value:.1%}", f"{result.output_tokens:,}", verdict))
        if args.cards:
            write_card(name, result, args.precision)
    heads = ("model", "bar", "task success, test split [95 %]", "hand-offs", "tokens out", "verdict")
    notes = f"greedy, precision {args.precision}, concurrency 8, {DRAWS} draws (task seeds 0 to {DRAWS - 1})"
    results.publish("models", heads, rows, notes=notes)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    return int(figures[NAMES[0]]["success"]["good"] < BAR * count)


def measure(name: str, count: int, precision: str) -> outcome.Outcome:
    """Play `count` test tasks, an equal part of each draw, with one model on its own engine."""
    todo = [task for seed in range(DRAWS) for task in tasks.draw("test", count // DRAWS, seed)]
    with EmbeddedEngine([name], precision=precision, max_seqs=8) as engine:
        run = Run(Target(engine.url, name), todo, Pace(8))
        asyncio.run(run.play())
    return outcome.of(run.sessions, run.seconds, shipped_prices(), name)


def write_card(name: str, result: outcome.Outcome, precision: str) -> None:
    """The model's README, from its own files and the measured outcome."""
    folder = MODELS / name
    config = json.loads((folder / "config.json").read_text())
    record = json.loads((folder / "training.json").read_text())
    megabytes = (folder / "model.safetensors").stat().st_size / 1e6
    (folder / "README.md").write_text(card(name, config, record, megabytes, result, precision))


if __name__ == "__main__":
    sys.exit(main())
