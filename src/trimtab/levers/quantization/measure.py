"""How far a rounded model is from the unrounded one on recorded answers, by agent, class and length of prompt.

Teacher-forced: both see the recorded prompt and answer, and are compared at each token of the answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.engines import weights
from trimtab.engines.checkpoint import Checkpoint
from trimtab.engines.graph import build
from trimtab.engines.reference import Reference
from trimtab.engines.weights import Codes, Format
from trimtab.levers.quantization import embedded, layers, rounding
from trimtab.levers.quantization.layers import Moments, Tapped
from trimtab.levers.quantization.samples import CLASSES, Sample
from trimtab.stats.intervals import wilson

if TYPE_CHECKING:
    import numpy as np

LENGTHS = (128, 256, 512, 1024)
BITS = (8, 6, 5, 4, 3, 2)


class Distance(msgspec.Struct, frozen=True):
    """Of one answer: mean KL divergence in nats over its tokens, and whether the likeliest token is the same at each.
    `layers`: how far the linear layers' inputs moved on the whole prompt, relative, mean over them."""

    sample: str
    agent: str
    kind: str
    length: int
    kl: float
    same: bool


def bucket(length: int) -> str:
    """Prompt tokens in words, as in '256-511'."""
    for low, high in zip((0, *LENGTHS), LENGTHS, strict=False):
        if length < high:
            return f"{low}-{high - 1}"
    return f"{LENGTHS[-1]}+"


def plain(checkpoint: Checkpoint) -> Reference:
    return Reference(build(checkpoint.shape, checkpoint.weight, "f32"), layers.BLOCK)


def of_codes(checkpoint: Checkpoint, made: dict[str, Codes]) -> Reference:
    """The model with these codes in place of their matrices, in float32 arithmetic."""

    def weight(name: str) -> np.ndarray:
        return made[name].values if name in made else checkpoint.weight(name)

    return Reference(build(checkpoint.shape, weight, "f32"), layers.BLOCK)


def distances(one: Reference, other: Reference, samples: Iterable[Sample]) -> list[Distance]:
    """Of `other` from `one`; samples without an answer are passed over."""
    import numpy as np

    found = []
    for each in samples:
        if each.start >= len(each.ids):
            continue
        places = slice(each.start - 1, len(each.ids) - 1)
        p, q = _log(one.logits(each.ids)[places]), _log(other.logits(each.ids)[places])
        kl = float((np.exp(p) * (p - q)).sum(axis=1).mean())
        same = bool((p.argmax(1) == q.argmax(1)).all())
        found.append(Distance(each.id, each.agent, each.kind, each.length, max(kl, 0.0), same))
    return found


def _log(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities in float64."""
    import numpy as np

    held = logits.astype(np.float64)
    held -= held.max(axis=1, keepdims=True)
    found: np.ndarray = held - np.log(np.exp(held).sum(axis=1, keepdims=True))
    return found


def table(found: Sequence[Distance], name: str, by: Callable[[Distance], str]) -> list[dict[str, Any]]:
    """A row for each value of `by`: answers, those unchanged with Wilson's interval, mean KL."""
    groups: dict[str, list[Distance]] = defaultdict(list)
    for each in found:
        groups[by(each)].append(each)
    rows = []
    for key in sorted(groups, key=lambda held: (len(held), held) if held[:1].isdigit() else (0, held)):
        held = groups[key]
        same = sum(each.same for each in held)
        interval = wilson(same, len(held))
        rows.append(
            {
                name: key,
                "answers": len(held),
                "unchanged": f"{same / len(held):.1%} [{interval.low:.1%}, {interval.high:.1%}]",
                "KL, mean": f"{sum(each.kl for each in held) / len(held):.2e}",
            }
        )
    return rows


def collapse(
    checkpoint: Checkpoint, samples: Sequence[Sample], found: Moments | None, keep: Sequence[str]
) -> list[dict[str, Any]]:
    """The map down the bit widths: for each, the share of answers of each class whose every token stays the likeliest.

    Groups as at 4 bits; what is in `keep` is left alone.
    """
    before, rows = plain(checkpoint), []
    for bits in BITS:
        made = {}
        for name, (_, columns) in embedded.matrices(checkpoint).items():
            if name not in keep:
                form = Format(bits, weights.group_of(columns) or 0)
                made[name] = rounding.compensated(checkpoint.weight(name), embedded.second_of(name, found), form)
        got = distances(before, of_codes(checkpoint, made), samples)
        row: dict[str, Any] = {"bits": bits}
        for kind in CLASSES:
            held = [each.same for each in got if each.kind == kind]
            row[kind] = f"{sum(held) / len(held):.1%} of {len(held)}" if held else "none"
        row["all"] = f"{sum(each.same for each in got) / max(len(got), 1):.1%} of {len(got)}"
        row["KL, mean"] = f"{sum(each.kl for each in got) / max(len(got), 1):.2e}"
        rows.append(row)
    return rows


class Compared(msgspec.Struct, frozen=True):
    """A calibration set beside others: on prompts of a `length`, the share of activations `clipped` by its static
    ranges, and the mean `kl` of the model rounded by it."""

    calibration: str
    length: str
    answers: int
    clipped: float
    kl: float
    unchanged: int


def compared(
    checkpoint: Checkpoint, sets: dict[str, Sequence[Sample]], check: Sequence[Sample], form: Callable[[int], Format]
) -> list[Compared]:
    """Round by each of `sets` alone and measure on `check`, which is in none; `form` gives a matrix's format by its
    columns. An empty set is rounding to nearest."""
    tapped, before, rows = Tapped(checkpoint), plain(checkpoint), []
    for name, held in sets.items():
        found = layers.moments(tapped, held) if held else None
        made = {
            each: rounding.compensated(checkpoint.weight(each), embedded.second_of(each, found), form(columns))
            for each, (_, columns) in embedded.matrices(checkpoint).items()
            if each not in weights.TABLES
        }
        after = of_codes(checkpoint, made)
        groups: dict[str, list[Sample]] = defaultdict(list)
        for sample in check:
            groups[bucket(sample.length)].append(sample)
        for length in sorted(groups, key=lambda key: int(key.rstrip("+").partition("-")[0])):
            got = distances(before, after, groups[length])
            shares = [layers.clipped(tapped.run(each.ids), found.largest) for each in groups[length]] if found else []
            rows.append(
                Compared(
                    calibration=name,
                    length=length,
                    answers=len(got),
                    clipped=sum(shares) / len(shares) if shares else 0.0,
                    kl=sum(each.kl for each in got) / max(len(got), 1),
                    unchanged=sum(each.same for each in got),
                )
            )
    return rows
