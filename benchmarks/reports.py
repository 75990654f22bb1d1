"""The audit of public data: three HTML reports into `reports/`, by the command a user would type.

    python benchmarks/reports.py [--out FOLDER] [NAME ...]

Data come from TRIMTAB_DATA (default ../shared/data beside the checkout). Banking77 is written as requests whose
answer is the intent, as a service that asks a large model for one label would log them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.cli.main import main as trimtab

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("TRIMTAB_DATA", ROOT.parent / "shared" / "data"))
SYSTEM = "You sort questions to a bank by what the customer wants. Answer with one label, nothing else."


@contextmanager
def as_it_is(path: Path) -> Iterator[Path]:
    yield path


@contextmanager
def as_requests(path: Path) -> Iterator[Path]:
    """Banking77's questions in a seeded order, three seconds apart, each a call of gpt-4o-mini."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(0).shuffle(rows)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "banking77.jsonl"
        made.write_text("".join(f"{json.dumps(request(at, row))}\n" for at, row in enumerate(rows)), encoding="utf-8")
        yield made


def request(at: int, row: dict[str, str]) -> dict[str, object]:
    """One logged call; four characters count as a token."""
    asked = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["text"]}]
    tokens, made = sum(len(one["content"]) for one in asked) // 4, max(1, len(row["category"]) // 4)
    answer = {"index": 0, "message": {"role": "assistant", "content": row["category"]}, "finish_reason": "stop"}
    usage = {"prompt_tokens": tokens, "completion_tokens": made, "total_tokens": tokens + made}
    return {
        "timestamp": 1_700_000_000 + 3 * at,
        "workflow": "bank",
        "agent": "intents",
        "request": {"model": "gpt-4o-mini", "messages": asked},
        "response": {
            "id": f"banking77-{at}",
            "object": "chat.completion",
            "model": "gpt-4o-mini",
            "choices": [answer],
            "usage": usage,
        },
    }


REPORTS = {
    "tau_bench": ("tau_bench/gpt-4o-airline.json", as_it_is),
    "banking77": ("banking77/train.csv", as_requests),
    "mooncake": ("mooncake/conversation_trace.jsonl", as_it_is),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(REPORTS)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="the folder to write to")
    args = parser.parse_args()
    if not DATA.is_dir():
        print(f"no data at {DATA}: set TRIMTAB_DATA to the folder that holds them", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in args.names or REPORTS:
        path, made = REPORTS[name]
        page, began = args.out / f"{name}.html", time.perf_counter()
        with made(DATA / path) as logs:
            failed |= trimtab(["audit", str(logs), "--html", str(page)])
        print(f"{name}: {page} in {time.perf_counter() - began:.1f} s\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
