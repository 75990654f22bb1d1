"""Packing: many parts of sessions behind one shared beginning.

So an agent's constant prompt is computed once a row.
A row is the agent's head followed by tails; a tail attends to the head and to itself, and its positions continue the
head's, so that every tail sees exactly what it would see alone. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from trimtab.arena.tuning.corpus import Example
from trimtab.arena.tuning.text import encode

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer


class Row(msgspec.Struct):
    """Token ids, positions, labels (-100 = not counted), and the part each token belongs to (0 = head)."""

    ids: list[int]
    positions: list[int]
    parts: list[int]
    labels: list[int]


class Part(msgspec.Struct):
    """Part of a session as tokens: its first `head` are the same for all of `agent`'s."""

    agent: str
    head: int
    ids: list[int]
    labels: list[int]


def rows(examples: Iterable[Example], tokenizer: Tokenizer, width: int) -> Iterator[Row]:
    """Rows of at most `width` tokens, in the order in which they fill up; a longer example has a row of its own."""
    return filled(_parts(examples, tokenizer), width)


def _parts(examples: Iterable[Example], tokenizer: Tokenizer) -> Iterator[Part]:
    heads: dict[str, int] = {}
    for example in examples:
        ids, mask = encode(tokenizer, example.text)
        if example.agent not in heads:
            heads[example.agent] = len(tokenizer.encode(example.head, add_special_tokens=False).ids)
        labels = [token if counted else -100 for token, counted in zip(ids, mask, strict=True)]
        yield Part(example.agent, heads[example.agent], ids, labels)


def filled(parts: Iterable[Part], width: int) -> Iterator[Row]:
    """The same for parts of any origin."""
    open_rows: dict[str, Row] = {}
    for part in parts:
        head, row = part.head, open_rows.get(part.agent)
        if row is None or len(row.ids) + len(part.ids) - head > width:
            if row is not None:
                yield row
            row = Row(part.ids[:head], list(range(head)), [0] * head, [-100] * head)
            open_rows[part.agent] = row
        row.parts += [row.parts[-1] + 1 if row.parts else 1] * (len(part.ids) - head)
        row.ids += part.ids[head:]
        row.positions += range(head, len(part.ids))
        row.labels += part.labels[head:]
    yield from open_rows.values()


def batch(chosen: list[Row], padding: int) -> dict[str, torch.Tensor]:
    """Tensors [B, T] of ids, positions and labels, and the boolean mask [B, 1, T, T] of who may look at whom."""
    import torch

    width = max(len(row.ids) for row in chosen)

    def stack(values: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([value + [fill] * (width - len(value)) for value in values])

    parts = stack([row.parts for row in chosen], -1)
    same = parts[:, :, None] == parts[:, None, :]
    head = parts[:, None, :] == 0
    earlier = torch.ones(width, width, dtype=torch.bool).tril()
    return {
        "input_ids": stack([row.ids for row in chosen], padding),
        "position_ids": stack([row.positions for row in chosen], 0),
        "labels": stack([row.labels for row in chosen], -100),
        "attention_mask": ((same | head) & earlier)[:, None],
    }
