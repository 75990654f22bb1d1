"""A BERT encoder as an OpenVINO graph: token ids of one length in, one unit vector a text out.

Every text of a batch has the same number of tokens, so nothing is padded and no vector depends on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.engines.tensors import read_header, read_tensor
from trimtab.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = ("int8", "f32")
SMALLEST = 1e-9  # a row of zeros needs some scale


def build(folder: Path, precision: str) -> Any:
    """The `openvino.Model` of the BERT checkpoint in `folder`: input [texts, tokens] int32, output [texts, hidden].

    The output is the mean over the tokens, at unit length (https://arxiv.org/abs/1908.10084, section 3).
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        facts = {name: int(config[name]) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
        eps = float(config.get("layer_norm_eps", 1e-12))
        known = config.get("model_type") == "bert" and config.get("hidden_act") == "gelu"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}/config.json cannot be read ({error}): name a folder with a BERT encoder") from error
    if not known:
        raise ModelError(f"{folder} holds no BERT encoder: name one, or an embeddings endpoint by its URL")
    header = read_header(folder / "model.safetensors")

    def weight(name: str) -> np.ndarray:
        entry = header.get(name) or header.get(f"bert.{name}")
        if entry is None:
            raise ModelError(f"{folder} lacks tensor {name!r}: name a folder with a whole BERT encoder")
        return read_tensor(name, entry)

    return _Graph(weight, precision, facts["num_attention_heads"], eps).model(facts["num_hidden_layers"])


class _Graph:
    """Nodes under construction; the methods follow the order of the computation."""

    def __init__(self, weight: Callable[[str], np.ndarray], precision: str, heads: int, eps: float) -> None:
        from openvino import opset13

        self.ops = opset13
        self.weight = weight
        self.precision = precision
        self.heads = heads
        self.eps = eps
        self.hidden = 0

    def model(self, layers: int) -> Any:
        import numpy as np
        from openvino import Model, Type

        ops = self.ops
        ids = ops.parameter([-1, -1], Type.i32)
        table = self.weight("embeddings.word_embeddings.weight")
        self.hidden = table.shape[1]
        kinds = self.weight("embeddings.token_type_embeddings.weight")
        places = self.weight("embeddings.position_embeddings.weight") + kinds[0]
        length = ops.gather(ops.shape_of(ids), self.ints([1]), self.ints(0))
        place = ops.slice(self.constant(places), self.ints([0]), length, self.ints([1]), self.ints([0]))
        given = ops.add(ops.gather(self.constant(table), ids, self.ints(0)), place)
        given = self.norm(given, "embeddings.LayerNorm")
        for layer in range(layers):
            given = self._layer(given, f"encoder.layer.{layer}.")
        mean = ops.reduce_mean(given, self.ints([1]), False)
        unit = ops.normalize_l2(mean, self.ints([1]), float(np.finfo(np.float32).tiny), "max")
        return Model([ops.result(unit)], [ids], "bert_encoder")

    def _layer(self, given: Any, prefix: str) -> Any:
        ops = self.ops
        mixed = self._attend(given, f"{prefix}attention.self.")
        mixed = self.linear(mixed, f"{prefix}attention.output.dense")
        given = self.norm(ops.add(given, mixed), f"{prefix}attention.output.LayerNorm")
        inner = ops.gelu(self.linear(given, f"{prefix}intermediate.dense"), "erf")
        return self.norm(ops.add(given, self.linear(inner, f"{prefix}output.dense")), f"{prefix}output.LayerNorm")

    def _attend(self, given: Any, prefix: str) -> Any:
        """Queries, keys and values in one product, which is quicker than three for so few tokens."""
        ops = self.ops
        together = self.linear(given, *(f"{prefix}{role}" for role in ("query", "key", "value")))
        form = self.ints([0, 0, 3 * self.heads, self.hidden // self.heads])
        split = ops.transpose(ops.reshape(together, form, True), self.ints([0, 2, 1, 3]))
        queries, keys, values = ops.split(split, self.ints(1), 3).outputs()
        mixed = ops.scaled_dot_product_attention(queries, keys, values, causal=False)
        return ops.reshape(ops.transpose(mixed, self.ints([0, 2, 1, 3])), self.ints([0, 0, self.hidden]), True)

    def linear(self, given: Any, *names: str) -> Any:
        import numpy as np

        values = np.concatenate([self.weight(f"{name}.weight") for name in names])
        bias = np.concatenate([self.weight(f"{name}.bias") for name in names])
        product = self.ops.matmul(given, self._matrix(values), False, True)
        return self.ops.add(product, self.constant(bias.reshape(1, 1, -1)))

    def _matrix(self, values: np.ndarray) -> Any:
        """INT8: symmetric, one scale an output row; the graph compiler quantises what it is multiplied with."""
        import numpy as np

        if self.precision == "f32":
            return self.constant(values)
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, SMALLEST).astype(np.float32)
        codes = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
        return self.ops.multiply(self.ops.convert(self.constant(codes), "f32"), self.constant(scales))

    def norm(self, given: Any, name: str) -> Any:
        """Layer normalisation over the last axis (https://arxiv.org/abs/1607.06450)."""
        ops = self.ops
        scaled = ops.mvn(given, self.ints([-1]), True, self.eps, "inside_sqrt")
        scaled = ops.multiply(scaled, self.constant(self.weight(f"{name}.weight").reshape(1, 1, -1)))
        return ops.add(scaled, self.constant(self.weight(f"{name}.bias").reshape(1, 1, -1)))

    def ints(self, values: int | list[int]) -> Any:
        import numpy as np

        return self.constant(np.array(values, dtype=np.int64))

    def constant(self, values: np.ndarray) -> Any:
        return self.ops.constant(values, shared_memory=False)
