"""How a model does on held-out conversations: loss, and the share of answers it gives word for word, class by class.

An answer counts where each of its tokens, the end of turn included, is the model's first choice: just then greedy
decoding gives it exactly. Pooled figures mislead: whoever never calls a tool is right wherever none is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trimtab.arena.tuning.distil import logits_of
from trimtab.levers.small_model.tokens import Line
from trimtab.stats.intervals import wilson

AT_ONCE = 8


class Exact(msgspec.Struct, frozen=True):
    """`right` of `n` answers, with Wilson's 95 % interval."""

    right: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.right / self.n if self.n else 0.0


class HeldOut(msgspec.Struct, frozen=True):
    """`loss` in nats a token; `exact` by class."""

    loss: float
    exact: dict[str, Exact]

    def line(self) -> str:
        told = ", ".join(f"{name} {each.share:.1%} of {each.n}" for name, each in self.exact.items())
        return f"held-out loss {self.loss:.4f}; exact: {told}"


def measure(model: Any, lines: Sequence[Line], padding: int) -> HeldOut:
    """Of no lines: a loss of 0 and no classes."""
    import torch
    from torch.nn.functional import cross_entropy

    total, counted = 0.0, 0
    right: dict[str, list[bool]] = {}
    was = model.training
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for at in range(0, len(lines), AT_ONCE):
            some = sorted(lines[at : at + AT_ONCE], key=lambda line: len(line.ids))
            inputs, labels = padded([line.ids for line in some], [line.labels for line in some], padding)
            wanted = labels[:, 1:]
            logits = logits_of(model, inputs, wanted >= 0).float()
            total += float(cross_entropy(logits, wanted[wanted >= 0], reduction="sum"))
            counted += len(logits)
            hits = (logits.argmax(-1) == wanted[wanted >= 0]).tolist()
            place = 0
            for line in some:
                for start, end, kind in line.turns:
                    right.setdefault(kind, []).append(all(hits[place : place + end - start]))
                    place += end - start
    model.train(was)
    exact = {}
    for kind, found in sorted(right.items()):
        interval = wilson(sum(found), len(found))
        exact[kind] = Exact(sum(found), len(found), interval.low, interval.high)
    return HeldOut(total / counted if counted else 0.0, exact)


def padded(ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], padding: int) -> tuple[dict[str, Any], Any]:
    """({input_ids, attention_mask}, labels), each [B, T], padded at the right."""
    import torch

    width = max(map(len, ids))

    def stack(values: Sequence[Sequence[int]], fill: int) -> Any:
        return torch.tensor([[*value, *([fill] * (width - len(value)))] for value in values])

    held = [[1] * len(value) for value in ids]
    return {"input_ids": stack(ids, padding), "attention_mask": stack(held, 0)}, stack(labels, -100)
