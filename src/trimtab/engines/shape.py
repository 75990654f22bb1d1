"""The shape of a decoder: what config.json says, as one checked value. Knows no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import ModelError

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


class Rope(msgspec.Struct, frozen=True):
    """Rotary position embedding: `kind` is default, linear or llama3; the rest is used by the scaled kinds only."""

    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original_context: int = 8192


class Shape(msgspec.Struct, frozen=True):
    """Sizes and switches of a Llama-, Qwen2- or Qwen3-shaped decoder; `context` in tokens."""

    kind: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    eps: float
    tied: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    rope: Rope

    @property
    def query_key_norm(self) -> bool:
        """Qwen3 normalises queries and keys per head."""
        return self.kind == "qwen3"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder. Errors: ModelError if it is missing or broken."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is missing: name a Hugging Face checkpoint folder, an IR folder or a .gguf"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}): copy the file again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object: copy the file again")
    return value


def read_shape(path: Path) -> Shape:
    """The shape config.json describes. Errors: ModelError for an unknown architecture or a setting not supported."""
    config = read_json(path)
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(
            f"{path}: architecture {kind!r} is unknown; known are {known} (others: as GGUF or OpenVINO IR)"
        )
    _refuse(path, config)
    hidden, heads = _size(path, config, "hidden_size"), _size(path, config, "num_attention_heads")
    kv_heads = _size(path, config, "num_key_value_heads", heads)
    head_dim = _size(path, config, "head_dim", hidden // heads or 1)
    if heads % kv_heads or head_dim % 2:
        raise ModelError(
            f"{path}: {heads} heads of {head_dim} do not fit {kv_heads} key-value heads: correct the config"
        )
    bias = bool(config.get("attention_bias", False))
    return Shape(
        kind=str(kind),
        hidden=hidden,
        intermediate=_size(path, config, "intermediate_size"),
        layers=_size(path, config, "num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=_size(path, config, "vocab_size"),
        context=_size(path, config, "max_position_embeddings"),
        eps=_number(path, config, "rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=kind == "qwen2" or bias,
        output_bias=kind != "qwen2" and bias,
        mlp_bias=kind == "llama" and bool(config.get("mlp_bias", False)),
        rope=_rope(path, config),
    )


def _refuse(path: Path, config: dict[str, Any]) -> None:
    """Settings that would change the arithmetic in a way the graph does not follow."""
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise ModelError(f"{path}: activation {config['hidden_act']!r} is not supported: only silu is")
    if config.get("use_sliding_window") and config.get("sliding_window"):
        raise ModelError(
            f"{path}: sliding-window attention is not supported: set use_sliding_window to false if unused"
        )
    if config.get("quantization_config"):
        raise ModelError(
            f"{path}: the weights are already quantised: name the original checkpoint (--precision does it)"
        )


def _size(path: Path, config: dict[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 0 < value < 2**31:
        raise ModelError(f"{path}: '{key}' is {value!r}, not a positive whole number: correct the config")
    return value


def _number(path: Path, config: dict[str, Any], key: str, default: float) -> float:
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ModelError(f"{path}: '{key}' is {value!r}, not a positive number: correct the config")
    return float(value)


def _rope(path: Path, config: dict[str, Any]) -> Rope:
    """Both layouts: transformers 5 `rope_parameters`, and the older `rope_theta` beside `rope_scaling`."""
    fields = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: the rope settings are no JSON object: correct the config")
    kind = fields.get("rope_type") or fields.get("type") or "default"
    if kind not in ("default", "linear", "llama3"):
        raise ModelError(f"{path}: rope type {kind!r} is not supported: default, linear and llama3 are")
    partial = fields.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    if partial not in (None, 1, 1.0):
        raise ModelError(f"{path}: partial_rotary_factor {partial!r} is not supported: only 1.0 is")
    theta = _number(path, config, "rope_theta", 10000.0)
    context = _size(path, config, "max_position_embeddings")
    rope = Rope(
        theta=_number(path, fields, "rope_theta", theta),
        kind=str(kind),
        factor=_number(path, fields, "factor", 1.0),
        low=_number(path, fields, "low_freq_factor", 1.0),
        high=_number(path, fields, "high_freq_factor", 4.0),
        original_context=_size(path, fields, "original_max_position_embeddings", context),
    )
    if rope.low >= rope.high:
        raise ModelError(f"{path}: low_freq_factor {rope.low} is not below high_freq_factor {rope.high}: correct it")
    return rope
