"""Fewer bits on the dealership: the gate's word on INT8 and INT4, calibration sets, the collapse map.

`python benchmarks/quantization.py [--quick] [--json FILE] [--part NAME ...]`; with `--folder`, a gate that was broken
off goes on where it was. FP8 and BF16 on a GPU: not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trimtab.arena.tuning import recorded
from trimtab.engines.checkpoint import Checkpoint
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.engines.weights import TABLES, Format, group_of
from trimtab.gate import offline, sides, sources
from trimtab.gate.criteria import Criteria
from trimtab.levers import splitting
from trimtab.levers.quantization import lab, layers, measure, options, samples
from trimtab.trace import Trace
from trimtab.verdict import Decision, Verdict

sys.path.insert(0, str(Path(__file__).parent))
import results

MODEL = "dealer-student"
MARGIN = 0.01
HEADS = ("case", "must be", "measured", "beside it", "verdict")
PARTS = ("calibration", "collapse", "int8", "int4")
Row = tuple[str, str, str, str, str]


def gated(options_: dict, traces: list[Trace], folder: Path, sessions: int) -> Verdict:
    """The gate's verdict on the model in fewer bits against BF16, on `sessions` of the test split at most."""
    lever = lab.make(options_ | {"model": MODEL})
    artifact = lever.build(traces, folder)
    print(json.dumps(artifact.manifest), file=sys.stderr)
    with EmbeddedEngine([MODEL, str(artifact.folder)]) as engine:
        served = options.read(lever.options).served_name
        plan = offline.Plan(
            baseline=sides.named(f"{engine.url}#{MODEL}"),
            candidate=sides.named(f"{engine.url}#{served}"),
            source=sources.named(f"arena:test:{sessions}:0"),
            criteria=Criteria(margin=MARGIN, flips=0.02, cap=sessions, length=()),
            folder=folder / f"gate-{served}",
            concurrency=6,
            again=sessions // 4,
        )
        return offline.run(plan, lambda progress: _told(served, progress))


def _told(name: str, progress: offline.Progress) -> None:
    if progress.n % 25 == 0:
        print(f"{name}: {progress.n} of {progress.cap}, wealth {progress.wealth:.3g}", file=sys.stderr)


def verdict_row(name: str, found: Verdict, bar: bool) -> Row:
    """Promoted or rejected is an answer; INT8's bar is that it is one."""
    quality = found.findings[0]
    measured = (
        f"{found.decision}: {100 * quality.difference:+.2f} points "
        f"[{100 * quality.low:+.2f}, {100 * quality.high:+.2f}]"
    )
    beside = f"{found.n} sessions in pairs, M = {100 * MARGIN:g}"
    proven = found.decision in (Decision.PROMOTE, Decision.REJECT)
    must = "non-inferior at M = 1 point, or shown not to be" if bar else ""
    return name, must, measured, beside, ("holds" if proven else "falls short") if bar else ""


def calibration(checkpoint: Checkpoint, own: list, public: list, check: list) -> tuple[list[Row], list[dict]]:
    """The same rounding to INT4 by each calibration set; the bar is on prompts of 256 tokens and more."""
    count = min(len(own), len(public))
    mixed = [*own[: count - count // 5], *public[: count // 5]]
    sets = {"none": [], "public": public[:count], "own": own[:count], "mixed": mixed}
    found = measure.compared(checkpoint, sets, check, lambda columns: Format(4, group_of(columns) or 0))
    rows: list[Row] = []
    for each in found:
        case = f"INT4 by {each.calibration} texts, prompts of {each.length} tokens"
        beside = f"clipped {each.clipped:.2e} of activations; {each.unchanged} of {each.answers} answers unchanged"
        rows.append((case, "", f"KL {each.kl:.2e}", beside, ""))
    error = {name: long_error(found, name) for name in sets}
    better = error["own"] < error["public"]
    beside = f"none {error['none']:.2e}, mixed {error['mixed']:.2e}"
    case = "INT4, error on long prompts (256 tokens and more): own ÷ public"
    rows.append((case, "< 1", f"{error['own'] / error['public']:.2f}", beside, "holds" if better else "falls short"))
    return rows, [{name: getattr(each, name) for name in each.__struct_fields__} for each in found]


def long_error(found: list[measure.Compared], name: str) -> float:
    """Mean KL over the answers to prompts of 256 tokens and more."""
    held = [each for each in found if each.calibration == name and int(each.length.rstrip("+").split("-")[0]) >= 256]
    return sum(each.kl * each.answers for each in held) / sum(each.answers for each in held)


def collapse(checkpoint: Checkpoint, own: list, check: list) -> Iterator[Row]:
    """How many answers keep every token, down the bit widths."""
    found = layers.moments(layers.Tapped(checkpoint), own)
    for row in measure.collapse(checkpoint, check, found, TABLES):
        classes = ", ".join(f"{kind} {row[kind]}" for kind in samples.CLASSES)
        yield f"{row['bits']} bits: answers unchanged", "", str(row["all"]), f"{classes}; KL {row['KL, mean']}", ""


def main() -> int:
    """Measure, print, append to RESULTS.md; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples and sessions; no verdict is to be expected")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS), help="only these parts")
    parser.add_argument("--public", type=Path, help="public texts (default: TRIMTAB_DATA's rag_docs)")
    parser.add_argument("--folder", type=Path, help="where gates are kept, to go on with")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="trimtab-quantization-"))
    traces = list(recorded.traces("train", 60 if args.quick else 300, 5, MODEL))
    rows, figures = looked(args, traces) if {"calibration", "collapse"} & set(args.part) else ([], {})
    sessions = 40 if args.quick else 900
    cases = {"int8": [("INT8, calibrated", {"scheme": "int8"}, True)], "int4": [("INT4", {"scheme": "int4"}, False)]}
    cases["int4"].append(("INT4, a quarter in INT8", {"scheme": "int4", "mixed": 0.25, "name": "student-mixed"}, False))
    for part, held in cases.items():
        for name, given, bar in held if part in args.part else []:
            rows.append(verdict_row(f"{name} against BF16, task success", gated(given, traces, folder, sessions), bar))
    notes = (
        f"{MODEL}; teacher-forced error on recorded answers of sessions held out; FP8 and BF16 on a GPU: not measured"
    )
    results.publish("quantization", HEADS, rows, notes=notes)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, **figures}, indent=1))
    return int(any(row[4] == "falls short" for row in rows))


def looked(args: argparse.Namespace, traces: list[Trace]) -> tuple[list[Row], dict]:
    """What needs no server."""
    its = options.read({"model": MODEL})
    checkpoint = lab.opened(its)
    reader = samples.Reader(checkpoint)
    fit = samples.chosen(reader.calls(splitting.fit(traces)), 24 if args.quick else 128, 0)
    check = samples.chosen(reader.calls(splitting.held_out(traces)), 24 if args.quick else 160, 1)
    rows: list[Row] = []
    figures: dict = {}
    if "calibration" in args.part:
        path = args.public or sources_folder() / "rag_docs" / "docs.json"
        public = samples.public_samples(reader, options.read({"model": MODEL, "public": str(path)}))
        rows, figures["calibration"] = calibration(checkpoint, fit, public, check)
    if "collapse" in args.part:
        rows += collapse(checkpoint, fit, check)
    return rows, figures


def sources_folder() -> Path:
    import os

    return Path(os.environ.get("TRIMTAB_DATA") or Path(__file__).parents[2] / "shared" / "data")


if __name__ == "__main__":
    sys.exit(main())
