"""A checkpoint folder: everything that can be wrong with it is one clear line."""

import json

import numpy as np
import pytest

from tests.engines.tiny import config, write_checkpoint, write_safetensors
from trimtab.engines.checkpoint import open_checkpoint
from trimtab.engines.shape import read_shape
from trimtab.errors import ModelError


def shape_of(folder, settings):
    (folder / "config.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return read_shape(folder / "config.json")


def test_a_good_folder_gives_its_weights(tmp_path):
    weights = write_checkpoint(tmp_path, "qwen3", head_dim=64, tie_word_embeddings=True)
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.entries) == set(weights)
    assert all(np.array_equal(checkpoint.weight(name), values) for name, values in weights.items())
    assert checkpoint.files == (tmp_path / "model.safetensors",)
    assert (checkpoint.shape.head_dim, checkpoint.shape.kv_heads, checkpoint.shape.tied) == (64, 2, True)


@pytest.mark.parametrize(
    ("kind", "changes", "qkv", "output", "mlp"),
    [
        ("llama", {}, False, False, False),
        ("llama", {"attention_bias": True, "mlp_bias": True}, True, True, True),
        ("qwen2", {}, True, False, False),
        ("qwen3", {}, False, False, False),
        ("qwen3", {"attention_bias": True}, True, True, False),
    ],
)
def test_each_shape_has_its_biases(tmp_path, kind, changes, qkv, output, mlp):
    shape = shape_of(tmp_path, config(kind, **changes))
    assert (shape.qkv_bias, shape.output_bias, shape.mlp_bias) == (qkv, output, mlp)
    assert shape.query_key_norm == (kind == "qwen3")


def test_both_rope_layouts_are_read(tmp_path):
    old = shape_of(tmp_path, config(rope_theta=5e5, rope_scaling={"type": "linear", "factor": 4.0}))
    new = {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0}
    assert shape_of(tmp_path, config(rope_parameters=new)).rope == old.rope
    assert (old.rope.theta, old.rope.kind, old.rope.factor) == (5e5, "linear", 4.0)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        (config("mamba"), "'mamba' is unknown; known are llama, qwen2, qwen3"),
        (config(hidden_act="gelu"), "activation 'gelu'"),
        (config(hidden_size=None), "'hidden_size' is None"),
        (config(max_position_embeddings=None), "'max_position_embeddings' is None"),
        (config(hidden_size="128"), "'hidden_size' is '128'"),
        (config(num_hidden_layers=0), "'num_hidden_layers' is 0"),
        (config(vocab_size=2**70), "'vocab_size'"),
        (config(num_key_value_heads=3), "do not fit 3 key-value heads"),
        (config(rms_norm_eps="small"), "'rms_norm_eps' is 'small'"),
        (config(rope_parameters={"rope_type": "yarn"}), "rope type 'yarn' is not supported"),
        (config(rope_parameters={"rope_type": "llama3", "low_freq_factor": 4.0}), "not below high_freq_factor"),
        (config(rope_parameters=[1]), "rope settings"),
        (config(partial_rotary_factor=0.5), "partial_rotary_factor 0.5"),
        (config(use_sliding_window=True, sliding_window=64), "sliding-window"),
        (config(quantization_config={"bits": 4}), "already quantised"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(tmp_path, settings, word):
    with pytest.raises(ModelError, match=word) as caught:
        shape_of(tmp_path, settings)
    assert str(tmp_path / "config.json") in str(caught.value)


def test_a_folder_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config()))
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        open_checkpoint(tmp_path)


def test_a_missing_or_misshapen_tensor_is_named(tmp_path):
    weights = write_checkpoint(tmp_path)
    lost = "model.layers.1.self_attn.k_proj.bias"
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {name: values for name, values in weights.items() if name != lost})
    with pytest.raises(ModelError, match=f"'{lost}' is missing"):
        open_checkpoint(tmp_path)
    write_safetensors(path, weights | {"model.norm.weight": np.ones(64)})
    with pytest.raises(ModelError, match=r"'model\.norm\.weight' has shape \[64\], config\.json asks for \[128\]"):
        open_checkpoint(tmp_path)
    write_safetensors(path, {name: values for name, values in weights.items() if name != "lm_head.weight"})
    with pytest.raises(ModelError, match="set tie_word_embeddings"):
        open_checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cut short"):
        open_checkpoint(tmp_path)


def test_tensors_that_are_not_needed_do_no_harm(tmp_path):
    weights = write_checkpoint(tmp_path, tie_word_embeddings=True)
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(16), "lm_head.weight": np.ones((4, 4))}
    write_safetensors(tmp_path / "model.safetensors", weights | extra)
    assert set(open_checkpoint(tmp_path).entries) == set(weights)


@pytest.fixture
def sharded(tmp_path):
    """A folder of two shards and their index."""
    weights = write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for place in set(places.values()):
        write_safetensors(tmp_path / place, {name: weights[name] for name in weights if places[name] == place})
    index(tmp_path, places)
    return tmp_path, weights, places


def index(folder, places):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_shards_are_read_by_their_index(sharded):
    folder, weights, _ = sharded
    checkpoint = open_checkpoint(folder)
    assert all(np.array_equal(checkpoint.weight(name), values) for name, values in weights.items())
    assert [path.name for path in checkpoint.files] == ["part-0.safetensors", "part-1.safetensors"]


def test_a_broken_set_of_shards_is_refused(sharded):
    folder, _, places = sharded
    index(folder, places | {"model.norm.weight": "../part-0.safetensors"})
    with pytest.raises(ModelError, match="points outside"):
        open_checkpoint(folder)
    index(folder, places | {"model.norm.weight": 3})
    with pytest.raises(ModelError, match="no usable weight_map"):
        open_checkpoint(folder)
    index(folder, places)
    write_safetensors(folder / "part-1.safetensors", {})
    with pytest.raises(ModelError, match="lacks tensor"):
        open_checkpoint(folder)
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks .part-1\.safetensors. that the index lists"):
        open_checkpoint(folder)
