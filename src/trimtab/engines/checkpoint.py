"""A Hugging Face checkpoint folder: its shape, and each weight by name, checked against that shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trimtab.engines.shape import Shape, read_json, read_shape
from trimtab.engines.tensors import Entry, read_header, read_tensor
from trimtab.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Checkpoint(msgspec.Struct, frozen=True):
    """An opened folder: no weight is in memory until `weight` reads it."""

    folder: Path
    shape: Shape
    entries: dict[str, Entry]

    @property
    def files(self) -> tuple[Path, ...]:
        """The weight files in use, in order of name."""
        return tuple(sorted({entry.file for entry in self.entries.values()}))

    def weight(self, name: str) -> np.ndarray:
        """The weight `name` as float32. Errors: ModelError if it cannot be read as numbers."""
        return read_tensor(name, self.entries[name])


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open `folder` and check that every weight its shape needs is there in the right form.

    Errors: ModelError naming the first thing that is missing or wrong.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} does not exist or is no folder: check the path")
    shape = read_shape(folder / "config.json")
    found = _entries(folder)
    if not shape.tied and "lm_head.weight" not in found:
        raise ModelError(
            f"{folder}: lm_head.weight is missing: set tie_word_embeddings in config.json if they are tied"
        )
    # Some files keep a copy of tied embeddings, or buffers such as rotary frequencies: only what is needed is kept.
    entries = {}
    for name, form in expected(shape):
        entry = found.get(name)
        if entry is None:
            raise ModelError(f"{folder}: tensor '{name}' is missing: the checkpoint is incomplete; copy it again")
        if entry.shape != form:
            raise ModelError(
                f"{folder}: tensor '{name}' has shape {list(entry.shape)}, config.json asks for {list(form)}: "
                "the two do not belong together"
            )
        entries[name] = entry
    return Checkpoint(folder, shape, entries)


def expected(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every weight a decoder of this shape has: name and form (rows = outputs)."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "model.embed_tokens.weight", (shape.vocab, shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        linears = (
            ("self_attn.q_proj", queries, shape.hidden, shape.qkv_bias),
            ("self_attn.k_proj", keys, shape.hidden, shape.qkv_bias),
            ("self_attn.v_proj", keys, shape.hidden, shape.qkv_bias),
            ("self_attn.o_proj", shape.hidden, queries, shape.output_bias),
            ("mlp.gate_proj", shape.intermediate, shape.hidden, shape.mlp_bias),
            ("mlp.up_proj", shape.intermediate, shape.hidden, shape.mlp_bias),
            ("mlp.down_proj", shape.hidden, shape.intermediate, shape.mlp_bias),
        )
        for name, rows, columns, bias in linears:
            yield f"{prefix}{name}.weight", (rows, columns)
            if bias:
                yield f"{prefix}{name}.bias", (rows,)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{norm}.weight", (shape.hidden,)
        if shape.query_key_norm:
            yield f"{prefix}self_attn.q_norm.weight", (shape.head_dim,)
            yield f"{prefix}self_attn.k_norm.weight", (shape.head_dim,)
    yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.vocab, shape.hidden)


def _entries(folder: Path) -> dict[str, Entry]:
    """All tensors of the folder: by its index when there is one, else of its single file."""
    index = folder / INDEX
    if not index.exists():
        if not (folder / SINGLE).exists():
            raise ModelError(f"{folder} holds no {SINGLE} and no {INDEX}: save the model in safetensors form")
        return read_header(folder / SINGLE)
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise ModelError(f"{index} has no usable weight_map: copy the file again")
    headers = {}
    for place in sorted(set(places.values())):
        if Path(place).name != place:
            raise ModelError(f"{index} points outside its folder ({place!r}): correct it")
        if not (folder / place).is_file():
            raise ModelError(f"{folder} lacks {place!r} that the index lists: copy that shard too")
        headers[place] = read_header(folder / place)
    lost = next((name for name, place in places.items() if name not in headers[place]), None)
    if lost is not None:
        raise ModelError(f"{folder / places[lost]} lacks tensor {lost!r} that the index lists: copy that shard again")
    return {name: headers[place][name] for name, place in places.items()}
