"""The cache's vetoes on opposites and paraphrases of our own making, and what they cost on real questions.

`python benchmarks/cache_guards.py [--json FILE] [--publish]`

An opposite counts as served where no veto speaks and, beside it, where the cosine alone is above a threshold; the
verifier behind the vetoes is not asked here, so that the guard stands by itself. Real questions are looked for in
TRIMTAB_DATA (default ../shared/data): same intent, three nearest, cosine 0.7 and more.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cache_swaps
import numpy as np
import results

from trimtab.levers import encoder
from trimtab.levers.cache import vetoes
from trimtab.stats.intervals import clopper_pearson

DATA = Path(os.environ.get("TRIMTAB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SERVED, KEPT = 0.01, 0.80
COSINES = (0.80, 0.90, 0.95)
REAL = 4_000
HEADS = (
    "pairs",
    "n",
    "must be",
    "vetoes alone [95 %]",
    "and cosine ≥ 0.90",
    "fixed cosine 0.80 / 0.90 / 0.95",
    "verdict",
)


def shown(count: int, n: int) -> str:
    low, high = clopper_pearson(count, n)
    return f"{100 * count / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def row(name: str, passed: np.ndarray, cosines: np.ndarray, limit: float | None, opposite: bool) -> list[str]:
    """One line: how many of the pairs pass the vetoes, and how many a fixed cosine would serve."""
    must = verdict = ""
    if limit is not None:
        must = f"{'≤' if opposite else '≥'} {100 * limit:g} % {'served' if opposite else 'kept'}"
        share = float(passed.mean())
        verdict = "holds" if (share <= limit if opposite else share >= limit) else "falls short"
    beside = " / ".join(f"{100 * float((cosines >= least).mean()):.0f} %" for least in COSINES)
    both = f"{100 * float((passed & (cosines >= 0.9)).mean()):.1f} %"
    return [name, f"{len(passed):,}", must, shown(int(passed.sum()), len(passed)), both, beside, verdict]


def made(embed: encoder.Encoder) -> Iterator[list[str]]:
    """Our own pairs, by family, and by kind in the family that was held out."""
    pairs = cache_swaps.pairs()
    passed = np.array([vetoes.veto(pair.asked, pair.held) is None for pair in pairs])
    vectors = [embed.embed([getattr(pair, side) for pair in pairs]) for side in ("asked", "held")]
    cosines = (vectors[0] * vectors[1]).sum(axis=1)
    for opposite, limit in ((True, SERVED), (False, KEPT)):
        what = "opposites" if opposite else "paraphrases"
        for family in cache_swaps.FAMILIES:
            here = np.array([pair.family == family and pair.opposite == opposite for pair in pairs])
            bar = None if family == "strange" else limit
            yield row(f"{what}, family {family}", passed[here], cosines[here], bar, opposite)
            for kind in sorted({pair.kind for pair in pairs}) if family != "seen" else ():
                some = here & np.array([pair.kind == kind for pair in pairs])
                if some.any():
                    yield row(f"· {kind}", passed[some], cosines[some], None, opposite)


def real(embed: encoder.Encoder) -> Iterator[list[str]]:
    """Neighbours of real streams that share an intent, which is coarser than an answer: some vetoes are right."""
    for name, read in (("Banking77", banking), ("CLINC150", clinc)):
        if not (DATA / name.lower()).is_dir():
            yield [f"same intent, {name}", "", "", "not measured", "", "", ""]
            continue
        texts, intents = read()
        order = np.random.default_rng(0).permutation(len(texts))[:REAL]
        texts, intents = [texts[each] for each in order], np.array(intents)[order]
        vectors = embed.embed(texts)
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -1)
        near = np.argpartition(-cosines, 3, axis=1)[:, :3]
        pairs = [(i, int(j)) for i in range(len(texts)) for j in near[i] if cosines[i, j] >= 0.7]
        for same, what in ((True, "same intent"), (False, "other intent")):
            some = [pair for pair in pairs if (intents[pair[0]] == intents[pair[1]]) == same]
            passed = np.array([vetoes.veto(texts[i], texts[j]) is None for i, j in some])
            beside = np.array([cosines[pair] for pair in some])
            yield row(f"{what}, {name}, three nearest", passed, beside, None, not same)


def banking() -> tuple[list[str], Sequence[str]]:
    rows: list[list[str]] = []
    for part in ("train", "test"):
        with (DATA / "banking77" / f"{part}.csv").open(newline="", encoding="utf-8") as file:
            rows += list(csv.reader(file))[1:]
    return [text for text, _ in rows], [intent for _, intent in rows]


def clinc() -> tuple[list[str], Sequence[str]]:
    parts = json.loads((DATA / "clinc150" / "data_full.json").read_text("utf-8"))
    rows = [pair for part in ("train", "val", "test") for pair in parts[part]]
    return [text for text, _ in rows], [intent for _, intent in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--publish", action="store_true", help="append the table to RESULTS.md")
    args = parser.parse_args()
    embed = encoder.load()
    rows = [*made(embed), *real(embed)]
    if args.json:
        args.json.write_text(
            json.dumps([dict(zip(HEADS, each, strict=True)) for each in rows], indent=1, ensure_ascii=False)
        )
    notes = (
        "Opposites: one number, id, date, unit, currency, name, quote or identifier swapped, a denial, an antonym, two"
        " parts exchanged. The rules were written against the family `seen`; `held` has other meanings, phrasings and"
        " fillings; `strange` is on no list. Same intent is coarser than same answer: of the vetoes on real"
        " questions many are right (two dates, two cities)."
    )
    if args.publish:
        results.publish("cache, guards", HEADS, rows, notes)
    else:
        print("\n".join(" | ".join(each) for each in (HEADS, *rows)))
    return int(any(each[-1] == "falls short" for each in rows))


if __name__ == "__main__":
    sys.exit(main())
