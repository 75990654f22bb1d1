"""Reads and audits one million calls of 2 kB, and says how fast and in how much memory: `python benchmarks/audit.py`.

The log is OpenAI-style JSON Lines, written to a temporary folder (2 GB; --quick: 0.1 GB). Reading and auditing run in a
process of their own on one core; its CPU time and the most memory it held are what is compared with the bars.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import publish

CALLS, QUICK = 1_000_000, 50_000
BYTES = 2_000
RATE, MEMORY = 20_000, 1e9
WORDS = [f"{a}{b}" for a in ("order", "car", "pay", "ship", "loan", "tyre", "seat") for b in "abcdefghijklmn"]
SYSTEM = "You are the {} of a dealership. Answer in one sentence, and look a car up before you name its price. "
AGENTS = ("triage", "sales", "service")


def write(path: Path, calls: int) -> None:
    """Sessions of four calls, each call of about BYTES bytes; one call in fifty is sent again, one in eighty fails."""
    draw = random.Random(7)
    last = None
    with path.open("w") as file:
        for number in range(calls):
            session, agent = number // 4, AGENTS[number % 3]
            system = SYSTEM.format(agent) * 4
            words = " ".join(draw.choices(WORDS, k=150))
            if last is not None and number % 50 == 0:
                words = last
            last = words
            messages = [{"role": "system", "content": system}, {"role": "user", "content": words}]
            answer = {"role": "assistant", "content": " ".join(draw.choices(WORDS, k=30))}
            reason = "length" if number % 70 == 0 else "stop"
            usage = {"prompt_tokens": 420, "completion_tokens": 40, "total_tokens": 460}
            response = {"id": f"chatcmpl-{number:012d}", "object": "chat.completion", "model": "gpt-4o-2024-08-06"}
            response |= {"choices": [{"index": 0, "message": answer, "finish_reason": reason}], "usage": usage}
            line = {"request": {"model": "gpt-4o", "messages": messages}, "response": response}
            line |= {"session": f"s{session}", "trace_id": f"t{session}", "agent": agent, "workflow": "dealership"}
            line["timestamp"] = 1_760_000_000 + number * 0.05
            file.write(json.dumps({**line, "response": None if number % 80 == 79 else response}) + "\n")


def measured(path: Path) -> dict[str, float]:
    """In this process: seconds of CPU to read and add, and to make the findings; the most memory held."""
    from trimtab.config import shipped_prices
    from trimtab.plan.survey import Surveyor, Wanted

    prices, began = shipped_prices(), time.process_time()
    surveyor = Surveyor(prices, Wanted(), is_one=True)
    surveyor.read(path)
    read = time.process_time()
    audit = surveyor.found().audit
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"calls": audit.totals.calls, "sampled": audit.sampled.calls, "share": audit.sampled.share}
    return {**found, "read_s": read - began, "result_s": ended - read, "peak": peak}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} calls, not {CALLS:,}")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measured(args.child)))
        return 0
    calls = QUICK if args.quick else CALLS
    with tempfile.TemporaryDirectory(prefix="trimtab-audit-") as folder:
        path = Path(folder) / "calls.jsonl"
        write(path, calls)
        size = path.stat().st_size
        told = subprocess.run([sys.executable, __file__, "--child", str(path)], check=True, capture_output=True)
    figures = json.loads(told.stdout)
    rate = figures["calls"] / (figures["read_s"] + figures["result_s"])
    holds = {"rate": rate >= RATE, "memory": figures["peak"] <= MEMORY, "all": figures["calls"] == calls}
    rows = [
        ["calls audited", f"{figures['calls']:,.0f} of {size / calls:,.0f} bytes", f"{calls:,}", _said(holds["all"])],
        ["calls a second and core", f"{rate:,.0f}", f">= {RATE:,}", _said(holds["rate"])],
        ["most memory", f"{figures['peak'] / 1e6:,.0f} MB", f"<= {MEMORY / 1e6:,.0f} MB", _said(holds["memory"])],
        ["CPU to read and count", f"{figures['read_s']:.1f} s", "-", ""],
        ["CPU to find", f"{figures['result_s']:.1f} s, {figures['sampled']:,.0f} calls with bodies", "-", ""],
    ]
    publish("The audit's speed and memory", ["what", "measured", "bar", ""], rows)
    if args.json:
        args.json.write_text(json.dumps({**figures, "calls_a_second": rate, "holds": holds}, indent=2))
    return 0 if all(holds.values()) else 1


def _said(holds: bool) -> str:
    return "holds" if holds else "falls short"


if __name__ == "__main__":
    raise SystemExit(main())
