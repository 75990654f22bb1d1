"""The gate's error rates, its samples and its delays, by simulation of the shipped code and on real results.

`python benchmarks/gate.py [--quick] [--json FILE] [--only WORD]`

Every cell has its own seed. Beside ours, on the same scores: the naive rule (candidate >= baseline - 1 point) and
Wald's non-inferiority test, both looked at after each item from 100 on; and, on work of its own, a Mann-Whitney canary
at the fixed n. Real data is looked for in TRIMTAB_DATA (default ../shared/data); without it its bars are not measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import gate_real
import results
from gate_cells import CELLS, Row, far_beyond

RUNS, QUICK_RUNS = 4000, 2000
DATA = Path(os.environ.get("TRIMTAB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
REAL = (
    ("GSM8K, the bars of random routing", DATA / "routellm" / "gsm8k_responses.csv", gate_real.routed),
    ("tau-bench, the agent against itself", DATA / "tau_bench" / "gpt-4o-airline.json", gate_real.trials),
)
HEADS = ("case", "must be", "measured ± Monte-Carlo error", "beside it", "verdict")


def number(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}{unit}" if unit else f"{value:.3g}"


def cells(row: Row) -> list[str]:
    """One line of the table."""
    verdict = {True: "holds", False: "falls short", None: ""}[row.holds]
    must = ""
    if math.isnan(row.value):
        verdict = "not measured"
    elif not math.isnan(row.limit):
        must = f"{'≥' if row.at_least else '≤'} {number(row.limit, row.unit)}"
    measured = number(row.value, row.unit)
    if not math.isnan(row.error):
        measured += f" ± {100 * row.error:.2f}" if row.unit == "%" else f" ± {row.error:.2g}"
    beside = ", ".join(f"{name} {value}" for name, value in row.beside.items())
    return [row.case, must, measured, beside, verdict]


def measured(runs: int, only: str) -> Iterator[Row]:
    for cell in CELLS:
        if only in cell.__name__ and (cell is not far_beyond or runs == RUNS):
            yield from told(cell(runs), cell.__name__)
    for case, file, cell in REAL:
        if only in cell.__name__:
            yield from told(cell(file, runs) if file.is_file() else iter([Row(f"{case}: no {file}", math.nan)]), case)


def told(rows: Iterator[Row], name: str) -> Iterator[Row]:
    """The rows, with a word on the way for who waits."""
    begun = time.process_time()
    for row in rows:
        print(f"  {' | '.join(cells(row))}", file=sys.stderr, flush=True)
        yield row
    print(f"{name}: {time.process_time() - begun:.0f} CPU s", file=sys.stderr, flush=True)


def main() -> int:
    """Simulate, print each bar beside what was measured; 1 if one falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    quick = f"{QUICK_RUNS:,} runs a cell in place of {RUNS:,}, no cell beyond the cap, nothing appended to RESULTS.md"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--only", default="", metavar="WORD", help="only the groups that have this in their name")
    args = parser.parse_args()
    runs, begun = QUICK_RUNS if args.quick else RUNS, time.process_time()
    rows = list(measured(runs, args.only))
    setting = (
        f"{runs:,} seeded runs a cell, one thread, {time.process_time() - begun:.0f} CPU s. False promotion is counted "
        "at any look, as if no run were ever stopped for harm. D, M in points; flips = share of items that change."
    )
    lines = [cells(row) for row in rows]
    if args.quick or args.only:
        print("\n".join(" | ".join(line) for line in (list(HEADS), *lines)))
        print(setting)
    else:
        results.publish("Gate", HEADS, lines, setting)
    if args.json:
        figures = [asdict(row) | {"holds": row.holds} for row in rows]
        # JSON has no NaN: what was not measured is null.
        plain = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in one.items()} for one in figures]
        args.json.write_text(json.dumps({"rows": plain, "setting": setting, "runs": runs}, indent=1))
    return 1 if any(row.holds is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
