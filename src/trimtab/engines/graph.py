"""The decoder as an OpenVINO graph: stateful, with the names and patterns that the paged-attention conversion knows.

Inputs: input_ids, attention_mask, position_ids [batch, tokens], beam_idx [batch]; logits [batch, tokens, vocab].
Knows neither files nor formats: weights come as numpy arrays by name and go to `trimtab.engines.weights`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trimtab.engines.shape import Rope, Shape
from trimtab.engines.weights import Store, activation_group, uniform
from trimtab.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np

Weights = Callable[[str], "np.ndarray"]
MASKED = -65504.0  # the lowest float16: what the paged conversion expects of a masked place
TO_END = 2**62


def frequencies(rope: Rope, head_dim: int) -> np.ndarray:
    """Radians a position for each of the head_dim / 2 planes.

    llama3 leaves short wave lengths alone, divides long ones by `factor` and blends in between
    (https://arxiv.org/abs/2407.21783, section 3.4.2); linear divides all (https://arxiv.org/abs/2306.15595).
    """
    import numpy as np

    plain = rope.theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    if rope.kind == "linear":
        return plain / rope.factor
    if rope.kind != "llama3":
        return plain
    turns = rope.original_context * plain / (2 * math.pi)
    blend = np.clip((turns - rope.low) / (rope.high - rope.low), 0.0, 1.0)
    return blend * plain + (1 - blend) * plain / rope.factor


def linear_node(name: str) -> str:
    """What the graph calls the product with the weight of the module `name`."""
    return f"__module.{name}/aten::linear/MatMul"


def build(shape: Shape, weight: Weights, precision: str | Store) -> Any:
    """The `openvino.Model` of a decoder; `weight(name)` gives float32 arrays under their Hugging Face names. A Store in
    place of a precision decides for each matrix how it is held."""
    return _Decoder(shape, weight, precision).model()


class _Decoder:
    """Graph nodes under construction; the methods follow the order of the computation."""

    def __init__(self, shape: Shape, weight: Weights, precision: str | Store) -> None:
        try:
            from openvino import opset13 as ops
        except ImportError as error:
            raise MissingExtra("engine", "openvino") from error

        self.ops = ops
        self.shape = shape
        self.weight = weight
        self.store = uniform(precision) if isinstance(precision, str) else precision
        self.sinks: list[Any] = []
        self.ids = self._input("input_ids", 2, "i64")
        self.seen = self._input("attention_mask", 2, "i64")
        self.positions = self._input("position_ids", 2, "i64")
        self.beams = self._input("beam_idx", 1, "i32")
        self.batch = ops.gather(ops.shape_of(self.ids), self.ints([0]), self.ints(0))
        self.cosine, self.sine = self._rotations()
        self.mask: Any = None
        self.length: Any = None

    def model(self) -> Any:
        from openvino import Model

        ops, shape = self.ops, self.shape
        table = self.matrix("model.embed_tokens.weight")
        hidden = ops.gather(table, ops.convert(self.ids, "i32"), self.ints(0))
        for layer in range(shape.layers):
            hidden = self._layer(hidden, f"model.layers.{layer}.", layer)
        hidden = self.norm(hidden, "model.norm.weight")
        if not shape.tied:
            table = self.matrix("lm_head.weight")
        logits = ops.matmul(hidden, table, False, True)
        logits.set_friendly_name("__module.lm_head/aten::linear/MatMul")
        logits.output(0).get_tensor().set_names({"logits"})
        inputs = [self.ids, self.seen, self.positions, self.beams]
        model = Model([ops.result(logits)], self.sinks, inputs, f"trimtab_{shape.kind}")
        group = activation_group(model)
        if group is not None:  # what the runtime reads where whoever compiles the model says nothing else
            model.set_rt_info(str(group), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
        return model

    def _layer(self, hidden: Any, prefix: str, layer: int) -> Any:
        ops, shape = self.ops, self.shape
        given = self.norm(hidden, f"{prefix}input_layernorm.weight")
        queries = self.rotate(self._heads(given, f"{prefix}self_attn.q", shape.heads))
        keys = self.rotate(self._heads(given, f"{prefix}self_attn.k", shape.kv_heads))
        values = self._heads(given, f"{prefix}self_attn.v", shape.kv_heads)
        attended = self._attend(queries, self._remember(keys, layer, "key"), self._remember(values, layer, "value"))
        hidden = ops.add(hidden, self.linear(attended, f"{prefix}self_attn.o_proj"))
        given = self.norm(hidden, f"{prefix}post_attention_layernorm.weight")
        gate = ops.swish(self.linear(given, f"{prefix}mlp.gate_proj"))
        inner = ops.multiply(gate, self.linear(given, f"{prefix}mlp.up_proj"))
        return ops.add(hidden, self.linear(inner, f"{prefix}mlp.down_proj"))

    def _heads(self, given: Any, name: str, count: int) -> Any:
        """[batch, tokens, hidden] -> [batch, heads, tokens, head_dim], normalised per head if the shape says so."""
        ops, shape = self.ops, self.shape
        split = ops.reshape(self.linear(given, f"{name}_proj"), self.ints([0, 0, count, shape.head_dim]), True)
        if shape.query_key_norm and not name.endswith(".v"):
            split = self.norm(split, f"{name}_norm.weight", rank=4)
        return ops.transpose(split, self.ints([0, 2, 1, 3]))

    def _remember(self, fresh: Any, layer: int, role: str) -> Any:
        """All keys (or values) so far: the state's, in the beams' order, then the fresh; the state takes them all."""
        from openvino import PartialShape, Type
        from openvino import opset6 as states
        from openvino.op.util import Variable, VariableInfo

        ops, shape = self.ops, self.shape
        info = VariableInfo()
        info.data_shape = PartialShape([-1, shape.kv_heads, -1, shape.head_dim])
        info.data_type = Type.f32
        info.variable_id = f"past_key_values.{layer}.{role}present.{layer}.{role}"
        variable = Variable(info)
        extent = [self.batch, self.ints([shape.kv_heads]), self.ints([0]), self.ints([shape.head_dim])]
        start = ops.broadcast(self.floats(0.0), ops.concat(extent, 0))
        past = ops.gather(states.read_value(start, variable), self.beams, self.ints(0))
        together = ops.concat([past, fresh], -2)
        self.sinks.append(states.assign(together, variable))
        if self.mask is None:
            self._see(past)
        return together

    def _see(self, past: Any) -> None:
        """The mask: a token sees itself and what is before it, unless attention_mask hides that place."""
        ops = self.ops
        before = ops.gather(ops.shape_of(past), self.ints(2), self.ints(0))
        fresh = ops.gather(ops.shape_of(self.ids), self.ints(1), self.ints(0))
        self.length = ops.add(before, fresh)
        columns = ops.unsqueeze(ops.range(self.ints(0), self.length, self.ints(1), "i64"), self.ints([0, 1, 2]))
        rows = ops.unsqueeze(ops.range(before, self.length, self.ints(1), "i64"), self.ints([0, 1, 3]))
        shown = ops.convert(ops.unsqueeze(self.seen, self.ints([1, 2])), "boolean")
        visible = ops.logical_and(ops.less_equal(columns, rows), shown)
        self.mask = ops.select(visible, self.floats(0.0), self.floats(MASKED))

    def _attend(self, queries: Any, keys: Any, values: Any) -> Any:
        ops, shape = self.ops, self.shape
        scale = self.floats(shape.head_dim**-0.5)
        mixed = ops.scaled_dot_product_attention(
            queries, self._repeat(keys), self._repeat(values), self.mask, scale, causal=False
        )
        together = self.ints([0, 0, shape.heads * shape.head_dim])
        return ops.reshape(ops.transpose(mixed, self.ints([0, 2, 1, 3])), together, True)

    def _repeat(self, heads: Any) -> Any:
        """Grouped-query attention: each key-value head serves heads / kv_heads queries."""
        ops, shape = self.ops, self.shape
        times = shape.heads // shape.kv_heads
        if times == 1:
            return heads
        length = ops.reshape(self.length, self.ints([1]), False)
        extent = [self.batch, self.ints([shape.kv_heads]), self.ints([times]), length, self.ints([shape.head_dim])]
        copies = ops.broadcast(ops.unsqueeze(heads, self.ints(2)), ops.concat(extent, 0), "BIDIRECTIONAL")
        return ops.reshape(copies, self.ints([0, shape.heads, -1, shape.head_dim]), True)

    def _rotations(self) -> tuple[Any, Any]:
        """Cosine and sine [batch, 1, tokens, head_dim] of the positions."""
        ops = self.ops
        rates = frequencies(self.shape.rope, self.shape.head_dim).reshape(1, -1, 1)
        places = ops.convert(ops.unsqueeze(self.positions, self.ints(1)), "f32")
        half = ops.transpose(ops.matmul(self.floats(rates), places, False, False), self.ints([0, 2, 1]))
        angles = ops.concat([half, half], -1)
        return ops.unsqueeze(ops.cos(angles), self.ints(1)), ops.unsqueeze(ops.sin(angles), self.ints(1))

    def rotate(self, heads: Any) -> Any:
        """Rotary embedding; the two halves of a head are the two coordinates (https://arxiv.org/abs/2104.09864)."""
        ops = self.ops
        middle = self.ints([self.shape.head_dim // 2])
        first = ops.slice(heads, self.ints([0]), middle, self.ints([1]), self.ints([3]))
        second = ops.slice(heads, middle, self.ints([TO_END]), self.ints([1]), self.ints([3]))
        turned = ops.concat([ops.multiply(second, self.floats(-1.0)), first], -1)
        return ops.add(ops.multiply(heads, self.cosine), ops.multiply(turned, self.sine))

    def norm(self, given: Any, name: str, rank: int = 3) -> Any:
        """Root-mean-square normalisation over the last axis (https://arxiv.org/abs/1910.07467)."""
        ops = self.ops
        ones = [1] * rank
        square = ops.power(given, self.floats(2.0, ones))
        spread = ops.sqrt(ops.add(ops.reduce_mean(square, self.ints([-1]), True), self.floats(self.shape.eps, ones)))
        scaled = ops.multiply(given, ops.divide(self.floats(1.0, ones), spread))
        return ops.multiply(scaled, self.floats(self.weight(name), [*ones[1:], -1]))

    def linear(self, given: Any, name: str) -> Any:
        """given x weight^T (+ bias); the node carries the module's path, so that adapters trained elsewhere find it."""
        product = self.ops.matmul(given, self.matrix(f"{name}.weight"), False, True)
        product.set_friendly_name(linear_node(name))
        if not self._has_bias(name):
            return product
        return self.ops.add(product, self.floats(self.weight(f"{name}.bias"), [1, 1, -1]))

    def matrix(self, name: str) -> Any:
        return self.store(name, self.weight(name))

    def _has_bias(self, name: str) -> bool:
        if ".mlp." in name:
            return self.shape.mlp_bias
        return self.shape.output_bias if name.endswith(".o_proj") else self.shape.qkv_bias

    def _input(self, name: str, rank: int, kind: str) -> Any:
        import openvino

        node = self.ops.parameter([-1] * rank, getattr(openvino.Type, kind))
        node.set_friendly_name(name)  # without it the paged conversion leaves the input as it is, and requests fail
        node.output(0).get_tensor().set_names({name})
        return node

    def ints(self, values: int | list[int]) -> Any:
        import numpy as np

        return self.ops.constant(np.array(values, dtype=np.int64), shared_memory=False)

    def floats(self, values: float | np.ndarray, form: list[int] | None = None) -> Any:
        import numpy as np

        numbers = np.array(values, dtype=np.float32)
        return self.ops.constant(numbers if form is None else numbers.reshape(form), shared_memory=False)
