"""A drafter: the small model, or the look-up in the prompt, that proposes tokens which the model then checks.

Y. Leviathan, M. Kalman, Y. Matias (2023), "Fast inference from transformers via speculative decoding", arXiv
2211.17192.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from trimtab.engines.governor import LOOKUP_LADDER, MODEL_LADDER, Ladder, checked, read_ladder
from trimtab.engines.prepared import PreparedModel, prepare
from trimtab.engines.shape import read_json
from trimtab.errors import ConfigError, ModelError

LOOKUP = "lookup"
NGRAM = 3  # the longest run of tokens that is looked up
CARD = "speculation.json"  # beside or in place of a drafter's weights: what the speculation lever chose


class Card(msgspec.Struct, frozen=True):
    """What CARD holds that serving needs: `drafter` is "model" or "lookup", `lengths` a ladder as text."""

    drafter: str
    lengths: str


class Drafter(msgspec.Struct, frozen=True):
    """`folder` None: look-up."""

    folder: Path | None
    ladder: Ladder


def drafter(told: str, lengths: str, target: PreparedModel, cache: Path | None) -> Drafter:
    """What `--draft` names: `lookup`, a shipped model, a checkpoint, or a folder that the speculation lever built.

    Errors: ModelError where it does not fit `target`, ConfigError for wrong lengths.
    """
    card = _card(Path(told)) if told != LOOKUP else Card(LOOKUP, "")
    chosen = lengths or (card.lengths if card else "")
    if card is not None and card.drafter == LOOKUP:
        return Drafter(None, checked(read_ladder(chosen) if chosen else LOOKUP_LADDER))
    # A drafter is bound by the fixed cost of a step: smaller formats buy nothing, and cost acceptance.
    small = prepare(told, "f32" if target.precision == "f32" else "bf16", cache)
    _fits(small, target)
    return Drafter(small.folder, checked(read_ladder(chosen) if chosen else MODEL_LADDER))


def _card(folder: Path) -> Card | None:
    path = folder.expanduser() / CARD
    if not path.exists():
        return None
    try:
        return msgspec.convert(read_json(path), Card)
    except msgspec.ValidationError as error:
        raise ModelError(
            f"{path} is no drafter's card ({error}): build it again with trimtab build speculation"
        ) from error


def _fits(small: PreparedModel, target: PreparedModel) -> None:
    """ModelError unless both mean the same by every token."""
    if "gguf" in (small.precision, target.precision):
        raise ModelError(
            "a .gguf can neither draft nor be drafted for: name checkpoint or IR folders, or --draft lookup"
        )
    if small.vocab != target.vocab:
        raise ModelError(
            f"drafter {small.name} has a vocabulary of {small.vocab} tokens, {target.name} one of {target.vocab}: "
            "use a drafter made for this model, or --draft lookup"
        )
    if _words(small) != _words(target):
        raise ModelError(
            f"drafter {small.name} has another tokenizer than {target.name}: its tokens would mean other words; "
            "use a drafter made for this model, or --draft lookup"
        )


def _words(model: PreparedModel) -> Any:
    """Every token's text by number, and how texts are cut: what must be the same; None without a tokenizer."""
    if model.tokenizer_json is None:
        return None
    told = json.loads(model.tokenizer_json.read_bytes())
    parts = told.get("model") or {}
    added = {entry["content"]: entry["id"] for entry in told.get("added_tokens") or []}
    return parts.get("vocab"), parts.get("merges"), added


def refuse_lengths(draft: str, lengths: str) -> None:
    """ConfigError for lengths without a drafter, or wrong ones."""
    if lengths and not draft:
        raise ConfigError("draft lengths need a drafter: name one with --draft, or --draft lookup")
    if lengths:
        read_ladder(lengths)
