"""Label agents: where all outputs are one of a few, a sentence encoder with a linear head says which, or abstains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.gateway.serving import share_of
from trimtab.levers import encoder, labels, slots
from trimtab.levers.examples import Example
from trimtab.levers.small_model.options import Options

HEADS = "heads"
LEAST = 20


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's head with what it was judged at, and the plainest rival beside it."""

    agent: str
    labels: int
    calls: int
    encoder: dict[str, Any]
    terms: dict[str, Any]
    threshold: float


class Kept(msgspec.Struct, frozen=True):
    """What a Step needs: the cut-off, the encoder it was fitted with, and the message that each label stands for."""

    agent: str
    threshold: float
    encoder: str
    answers: dict[str, dict[str, Any]]


def of(examples: Sequence[Example], its: Options) -> labels.LabelSet | None:
    """The closed set of outputs, where they are one."""
    return labels.closed_set(labels.label(each) for each in examples)


def build(agent: str, examples: Sequence[Example], known: labels.LabelSet, its: Options, folder: Path) -> Built:
    """Fit, judge and keep one head. FormatError where a part is too small; MissingExtra or ModelError for an encoder
    that is not there."""
    parts = _parts(examples, known)
    with_encoder = encoder.load(its.encoder)
    told = labels.by_encoder(parts, known, with_encoder.embed, with_encoder.version, its.alpha)
    rival = labels.by_terms(parts, known, its.alpha)
    head = told.head
    if head is None:
        raise FormatError(f"no head could be fitted for agent '{agent}': record more of its calls")
    place = folder / HEADS
    place.mkdir(parents=True, exist_ok=True)
    name = f"{len(list(place.glob('*.npz')))}"
    (place / f"{name}.npz").write_bytes(head.packed())
    # JSON has no infinity: above 1 no chance is ever enough.
    threshold = min(told.cutoff.threshold, 2.0)
    kept = Kept(agent, threshold, its.encoder, _answers(examples, known))
    (place / f"{name}.json").write_bytes(msgspec.json.encode(kept))
    return Built(
        agent=agent,
        labels=len(known.labels),
        calls=len(examples),
        encoder=_figures(told),
        terms=_figures(rival),
        threshold=threshold,
    )


def _figures(told: labels.Judged) -> dict[str, Any]:
    cut = told.cutoff
    return {
        "agreement": round(told.agreement.share, 4),
        "low": round(told.agreement.low, 4),
        "answered": round(cut.answered, 4),
        "wrong of answered": round(cut.wrong, 4),
        "commonest label": round(told.agreement.commonest, 4),
    }


def _parts(examples: Sequence[Example], known: labels.LabelSet) -> labels.Parts:
    """70 % of the sessions to fit, half of the others to set the cut-off, half to judge: all within what may be
    learned from."""
    import numpy as np

    at = {name: place for place, name in enumerate(known.labels)}
    texts: tuple[list[str], ...] = ([], [], [])
    places: tuple[list[int], ...] = ([], [], [])
    clusters: tuple[list[str], ...] = ([], [], [])
    for each in examples:
        share = share_of(f"label head {each.cluster}")
        side = 0 if share < 0.7 else 1 if share < 0.85 else 2
        place = at.get(labels.label(each), -1)
        if place >= 0 or side:
            texts[side].append(each.asked)
            places[side].append(place)
            clusters[side].append(each.cluster)
    if min(map(len, texts)) < LEAST:
        sizes = ", ".join(str(len(part)) for part in texts)
        raise FormatError(f"too few calls to fit a head, set its cut-off and judge it ({sizes}): {LEAST} each at least")
    slot = slots.slot(texts[0])
    shown = [[slot.of(text) for text in part] for part in texts]
    held = [np.array(part, np.int64) for part in places]
    return labels.Parts(
        (shown[0], shown[1], shown[2]), (held[0], held[1], held[2]), (clusters[0], clusters[1], clusters[2]), slot
    )


def _answers(examples: Sequence[Example], known: labels.LabelSet) -> dict[str, dict[str, Any]]:
    """The message of each label: words, and tool calls where the label is one."""
    answers: dict[str, dict[str, Any]] = {}
    for each in examples:
        name = labels.label(each)
        if name not in answers and name in known.labels:
            calls = [{"name": tool, "arguments": given} for tool, given in each.calls]
            answers[name] = {"content": each.answer, **({"calls": calls} if calls else {})}
    return answers
