"""Where the gains of a small, quantized, speculating model come from: a full factorial on the dealership's requests.

`python benchmarks/attribution.py [--quick] [--json FILE] [--pair enlarged|shipped|both] [--blocks N]`

Bars stand on the enlarged pair: the shipped models grown to about 500M and 70M weights that compute the same, so that
a token costs what a real model's does while what is drafted is taken as often as it really is. Runs go on where they
were stopped; `--anew` forgets. The same is `trimtab bench attribution`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import results

from trimtab.bench import picture
from trimtab.cli import bench
from trimtab.errors import TrimtabError

PICTURE = Path(__file__).parent / "attribution.svg"
SETTING = (
    "The dealership's reference sessions, replayed move by move through the server, each with its recorded turns "
    "before it; {threads} engine threads; blocks in random order, the same sessions for every setup of a block; "
    "intervals are Student's over blocks, at 95 %. 'Task success': every move of the session right. The enlarged pair "
    "computes what the shipped one does, in real numbers: in bfloat16 a near tie may fall otherwise. The shipped "
    "models are below 30M weights, where the fixed cost of a step hides most."
)


def main() -> int:
    """Measure, print each bar beside what it measured; 1 if one falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    bench.options(parser)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    args.rivals = args.rivals or not args.quick
    try:
        cells, pair = bench.measured(args)
    except TrimtabError as error:
        print(f"attribution: {error}", file=sys.stderr)
        return error.exit_code
    tables = bench.tables(cells, pair)
    for name, rows in tables.items():
        if not rows:
            continue
        heads, lines = list(rows[0]), [[str(cell) for cell in row.values()] for row in rows]
        notes = SETTING.format(threads=args.threads) if name == "bars" else ""
        results.publish(f"Attribution{' (quick)' if args.quick else ''}, {name}", heads, lines, notes)
    (args.picture or PICTURE).write_text(picture.svg(cells, pair), encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps(bench.facts(cells, pair)))
    return int(any(row["verdict"] == "falls short" for row in tables["bars"]))


if __name__ == "__main__":
    sys.exit(main())
