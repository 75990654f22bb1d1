"""Function-preserving growth: a checkpoint made wider and deeper that computes what the small one computes.

The residual stream of the small model, h numbers wide, lies in a random h-dimensional subspace of the large one's H, so
that every matrix is dense and costs what a real one of its size costs. Added layers, heads and inner units compute on
it, and nothing of them is written back. Equal in real numbers; in bfloat16 the weights are rounded anew, and so a near
tie may fall otherwise. After T. Chen, I. Goodfellow, J. Shlens (2016), "Net2Net", arXiv 1511.05641.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trimtab.engines import build_cache, tokenizer_ir
from trimtab.engines.checkpoint import SINGLE, Checkpoint, expected, open_checkpoint
from trimtab.engines.shape import Shape, read_json
from trimtab.engines.tensors import write_tensors
from trimtab.errors import ConfigError, require

if TYPE_CHECKING:
    import numpy as np

BESIDE = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    *tokenizer_ir.NAMES,
)


class Size(msgspec.Struct, frozen=True):
    """What is grown; the size of a head stays, and so does the vocabulary."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int


# About 500M and 70M weights, 7 : 1, from the shipped teacher and student.
SIZES = {"500m": Size(1536, 18, 24, 8, 4608), "70m": Size(768, 11, 12, 3, 2048)}


def enlarge(source: Path, target: Path, size: Size, *, exact: bool = False, seed: int = 0) -> Path:
    """Write the grown checkpoint of `source` as the folder `target`, unless it is there already.

    `exact`: weights in float32, else in bfloat16. Errors: ModelError for a broken source, ConfigError for a size it
    does not fit into, DiskFull.
    """
    require("engine", "numpy")
    checkpoint = open_checkpoint(source)
    grown = _shape(checkpoint.shape, size)
    width = 4 if exact else 2
    needed = width * sum(_count(form) for _, form in expected(grown))

    def fill(fresh: Path) -> None:
        _Growing(checkpoint, grown, seed).write(fresh / SINGLE, exact=exact)
        (fresh / "config.json").write_text(json.dumps(_config(checkpoint, grown, exact=exact), indent=2))
        for name in BESIDE:
            if (source / name).exists():
                shutil.copyfile(source / name, fresh / name)

    return build_cache.keep(target, needed, fill)


def _count(form: tuple[int, ...]) -> int:
    return form[0] * (form[1] if len(form) > 1 else 1)


def _shape(small: Shape, size: Size) -> Shape:
    """The large shape. ConfigError where the small one does not fit into it."""
    fits = (
        size.hidden >= small.hidden
        and size.layers >= small.layers
        and size.intermediate >= small.intermediate
        and size.kv_heads >= small.kv_heads
        and size.heads % size.kv_heads == 0
        and size.heads // size.kv_heads >= small.heads // small.kv_heads
    )
    if not fits:
        raise ConfigError(
            f"a decoder of {small.hidden} x {small.layers}, {small.heads}/{small.kv_heads} heads and "
            f"{small.intermediate} inner units does not fit into {size}: choose no number smaller, and no fewer heads "
            "for a key-value head"
        )
    return msgspec.structs.replace(
        small,
        **msgspec.structs.asdict(size),
        tied=False,
        eps=small.eps * small.hidden / size.hidden,
    )


def _config(checkpoint: Checkpoint, grown: Shape, *, exact: bool) -> dict[str, object]:
    config = read_json(checkpoint.folder / "config.json")
    config.pop("layer_types", None)
    return config | {
        "hidden_size": grown.hidden,
        "intermediate_size": grown.intermediate,
        "num_hidden_layers": grown.layers,
        "num_attention_heads": grown.heads,
        "num_key_value_heads": grown.kv_heads,
        "head_dim": grown.head_dim,
        "rms_norm_eps": grown.eps,
        "tie_word_embeddings": False,
        "dtype": "float32" if exact else "bfloat16",
    }


class _Growing:
    """The large weights, one at a time."""

    def __init__(self, checkpoint: Checkpoint, grown: Shape, seed: int) -> None:
        import numpy as np

        self.small, self.grown, self.weight = checkpoint.shape, grown, checkpoint.weight
        self.chance = np.random.default_rng(seed)
        square = self.chance.standard_normal((grown.hidden, self.small.hidden)).astype(np.float32)
        self.basis: np.ndarray = np.linalg.qr(square)[0]  # [H, h], orthonormal columns
        # A root mean square over H numbers of which h count is √(h/H) of that over h.
        self.spread = float(np.sqrt(self.small.hidden / grown.hidden))
        last, count = grown.layers - 1, self.small.layers - 1
        places = [round(at * last / count) if count else 0 for at in range(self.small.layers)]
        self.layers = {place: at for at, place in enumerate(places)}

    def write(self, path: Path, *, exact: bool) -> None:
        write_tensors(path, dict(expected(self.grown)), self._all(), "F32" if exact else "BF16")

    def _all(self) -> Iterator[np.ndarray]:
        for name, form in expected(self.grown):
            yield self._made(name, form)

    def _made(self, name: str, form: tuple[int, ...]) -> np.ndarray:
        import numpy as np

        if name == "model.embed_tokens.weight":
            return self._written(self.weight(name).T).T
        if name == "lm_head.weight":
            table = self.weight("model.embed_tokens.weight" if self.small.tied else name)
            return self._read(table, "model.norm.weight")
        if not name.startswith("model.layers."):
            return np.ones(form, np.float32)
        number, part = name.removeprefix("model.layers.").split(".", 1)
        return self._of_layer(self.layers.get(int(number)), part, form)

    def _of_layer(self, layer: int | None, part: str, form: tuple[int, ...]) -> np.ndarray:
        import numpy as np

        if part.endswith("layernorm.weight"):
            return np.ones(form, np.float32)
        prefix = f"model.layers.{layer}."
        if part.endswith("norm.weight"):
            return self.weight(prefix + part) if layer is not None else np.ones(form, np.float32)
        kind = part.split(".")[1]
        back = kind in ("o_proj", "down_proj")
        full = np.zeros(form, np.float32)
        if not part.endswith("bias") and not back:  # what is added looks at everything, and is heard by nobody
            full[:] = self.chance.standard_normal(form, np.float32) / np.sqrt(form[1])
        if layer is None:
            return full
        own = self.weight(prefix + part)
        if part.endswith("bias"):
            if back:
                return self._written(own)
            full[self._places(kind)] = own
        elif back:
            full[:, self._places(kind)] = self._written(own)
        else:
            norm = "input_layernorm" if ".self_attn." in f".{part}" else "post_attention_layernorm"
            full[self._places(kind)] = self._read(own, f"{prefix}{norm}.weight")
        return full

    def _read(self, own: np.ndarray, norm: str) -> np.ndarray:
        """[rows, h] of a matrix that reads the normed stream -> [rows, H], the norm's weights inside."""
        made: np.ndarray = (own * self.weight(norm)) @ self.basis.T * self.spread
        return made

    def _written(self, own: np.ndarray) -> np.ndarray:
        """[h, ...] that is added to the stream -> [H, ...]."""
        made: np.ndarray = self.basis @ own
        return made

    def _places(self, kind: str) -> np.ndarray:
        """Where the small model's rows (heads' numbers, inner units) stand among the large one's."""
        import numpy as np

        small, grown = self.small, self.grown
        if kind in ("gate_proj", "up_proj", "down_proj"):
            return np.arange(small.intermediate)
        if kind in ("k_proj", "v_proj"):
            return np.arange(small.kv_heads * small.head_dim)
        shared, wide = small.heads // small.kv_heads, grown.heads // grown.kv_heads
        heads = np.array([at // shared * wide + at % shared for at in range(small.heads)])
        return (heads[:, None] * small.head_dim + np.arange(small.head_dim)).reshape(-1)
