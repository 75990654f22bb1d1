"""Whether the audit's first estimates of two levers hold: the cache's forecast, and the encoder that is enough.

`python benchmarks/audit_levers.py [--streams N] [--vectors FOLDER] [--json FILE] [--quick]`

The forecast is made from the first calls of a stream, by a pilot that sees nothing else; the replay of the whole stream
by the policy that serves, with other draws of chance, then measures the calls after them. The constants of the forecast
were set on other orders (seeds 5000 on), so these are new to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from cache_streams import stream
from results import publish

from trimtab.levers import encoder, labels
from trimtab.levers.cache import forecast, replay
from trimtab.levers.cache.policy import Policy, Setting
from trimtab.levers.examples import Example
from trimtab.trace import Call, EndState

PILOTS = (1500, 3000, 6000)  # calls that a forecast is made from; the audit's own is between the first two
COVER, ACCURATE = 0.9, 0.9
READ = 6000  # calls of banking77 that the head gets, as in an audit
OTHER = 10_000  # added to the seed of the replay's draws


def played(given: replay.Stream, seed: int) -> Any:
    """Which calls of the stream were hits."""
    policy = Policy(Setting(alpha=0.01, explore=0.02), seed, given.vectors.shape[1])
    hits = np.zeros(len(given.answers), dtype=bool)
    hits[replay.replay(given, policy).served] = True
    return hits


def covered(name: str, whole: replay.Stream, seeds: range) -> list[dict[str, Any]]:
    """For each stream and each length of pilot: the forecast beside what was measured."""
    rows = []
    for seed in seeds:
        given = replay.shuffled(whole, seed)
        truth = played(given, seed + OTHER)
        for n in PILOTS:
            first = replay.taken(given, np.arange(n))
            repeats = float(
                np.mean([answer in first.answers[:at] for at, answer in enumerate(first.answers)][n // 2 :])
            )
            seen = played(first, seed)
            told = forecast.forecast(seen.tolist(), len(truth) - n, (1 + repeats) / 2)
            measured = float(truth[n:].mean())
            rows.append({"stream": name, "seed": seed, "pilot": n, "rate": told.rate, "low": told.low})
            rows[-1] |= {"high": told.high, "measured": measured, "holds": bool(told.low <= measured <= told.high)}
        print(f"  {name} {seed}: {rows[-2]}", file=sys.stderr, flush=True)
    return rows


def head(whole: replay.Stream) -> tuple[labels.Judged, labels.Judged]:
    """The encoder's head and TF-IDF on so many calls of banking77; the stream's own vectors stand for the encoder."""
    given = replay.shuffled(whole, 0)
    at = {text: place for place, text in enumerate(given.questions)}
    examples = [
        Example(call=_call(place), head="", turns=(given.questions[place],), answer=f"intent {given.answers[place]}")
        for place in range(min(READ, len(given.answers)))
    ]
    closed = labels.closed_set(map(labels.label, examples))
    assert closed is not None, "77 intents are a closed set"
    parts = labels.parted(examples, closed)
    encoded = labels.by_encoder(parts, closed, lambda texts: given.vectors[[at[text] for text in texts]])
    return encoded, labels.by_terms(parts, closed)


def _call(place: int) -> Call:
    name = f"{place:032x}"
    return Call(id=name, trace_id=name, span_id=name[:16], started_ns=place, duration_ms=1.0, end=EndState.COMPLETE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=20, help="seeded orders of clinc150 (20)")
    parser.add_argument("--vectors", type=Path, default=Path("/tmp/trimtab-vectors"), help="where vectors are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--quick", action="store_true", help="two streams, nothing published")
    args = parser.parse_args()
    begun = time.process_time()
    rows = covered("clinc150", stream("clinc150", args.vectors), range(2 if args.quick else args.streams))
    encoded, terms = head(stream("banking77", args.vectors))
    table, good = [], True
    for n in PILOTS:
        mine = [row for row in rows if row["pilot"] == n]
        share = sum(row["holds"] for row in mine) / len(mine)
        width = sum(row["high"] - row["low"] for row in mine) / len(mine)
        off = sum(row["rate"] - row["measured"] for row in mine) / len(mine)
        good &= share >= COVER
        shown = f"{share:.0%} of {len(mine)}; mean width {width:.2f}, forecast − measured {off:+.3f}"
        table.append(
            [f"clinc150: intervals that cover, pilot of {n:,}", f"≥ {COVER:.0%}", shown, _said(share >= COVER)]
        )
    agreed, cut = encoded.agreement, encoded.cutoff
    good &= agreed.share >= ACCURATE
    shown = f"{agreed.share:.1%} [{agreed.low:.1%}, {agreed.high:.1%}] of {agreed.n:,}, fitted to {encoded.fitted:,}"
    table.append(["banking77: encoder + linear head", f"≥ {ACCURATE:.0%}", shown, _said(agreed.share >= ACCURATE)])
    shown = f"{terms.agreement.share:.1%} [{terms.agreement.low:.1%}, {terms.agreement.high:.1%}]"
    table.append(["banking77: TF-IDF + logistic regression", "", shown, ""])
    shown = f"answers {cut.answered:.1%}, wrong {cut.wrong:.1%} of these, at most {cut.wrong_high:.1%}"
    table.append(["banking77: head with its cut-off at 5 %", "", shown, ""])
    heads = ("case", "must be", "measured", "verdict")
    note = f"Streams are seeded orders of 23,700 questions; {time.process_time() - begun:.0f} CPU s."
    if args.quick:
        print("\n".join(" | ".join(cells) for cells in (list(heads), *table)))
    else:
        publish("The audit's first estimates", heads, table, f"{note} Encoder {encoder.WHEEL}.")
    if args.json:
        args.json.write_text(json.dumps({"forecasts": rows, "table": table}, indent=1), encoding="utf-8")
    return 0 if good else 1


def _said(holds: bool) -> str:
    return "holds" if holds else "falls short"


if __name__ == "__main__":
    raise SystemExit(main())
