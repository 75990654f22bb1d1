"""The graph: what the engine needs of it, and rotary frequencies by hand. (Numbers are held in test_golden.)"""

import math

import numpy as np
import pytest

from tests.engines import tiny
from trimtab.engines.checkpoint import open_checkpoint
from trimtab.engines.graph import build, frequencies
from trimtab.engines.prepared import prepare
from trimtab.engines.reference import reference_logits
from trimtab.engines.shape import Rope

pytestmark = pytest.mark.engine


def test_frequencies_of_each_kind():
    plain = frequencies(Rope(theta=100.0), 4)
    assert plain.tolist() == pytest.approx([1.0, 0.1])
    assert frequencies(Rope(theta=100.0, kind="linear", factor=4.0), 4).tolist() == pytest.approx([0.25, 0.025])
    # 2 pi x 32 positions: the first plane turns 32 times (left alone), the second 3.2 (blended: 1 to 4).
    scaled = Rope(theta=100.0, kind="llama3", factor=8.0, low=1.0, high=4.0, original_context=round(2 * math.pi * 32))
    turns = scaled.original_context * 0.1 / (2 * math.pi)
    blend = (turns - 1) / 3
    assert frequencies(scaled, 4).tolist() == pytest.approx([1.0, 0.1 * blend + 0.1 / 8 * (1 - blend)])


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_the_graph_has_the_names_and_states_the_engine_looks_for(tmp_path, kind):
    tiny.write_checkpoint(tmp_path, kind)
    checkpoint = open_checkpoint(tmp_path)
    model = build(checkpoint.shape, checkpoint.weight, "int8")
    assert [port.get_any_name() for port in model.inputs] == ["input_ids", "attention_mask", "position_ids", "beam_idx"]
    assert [node.get_friendly_name() for node in model.get_parameters()] == [
        "input_ids",
        "attention_mask",
        "position_ids",
        "beam_idx",
    ]
    assert model.outputs[0].get_any_name() == "logits"
    assert len(model.get_sinks()) == 2 * tiny.SIZES["num_hidden_layers"]
    names = {node.get_friendly_name() for node in model.get_ordered_ops()}
    assert "__module.model.layers.1.mlp.down_proj/aten::linear/MatMul" in names  # where an adapter is put


def test_the_graph_says_in_what_groups_its_activations_are_coded(tmp_path):
    tiny.write_checkpoint(tmp_path, "llama")
    checkpoint = open_checkpoint(tmp_path)
    told = ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"]
    coded, plain = (build(checkpoint.shape, checkpoint.weight, precision) for precision in ("int8", "bf16"))
    assert int(coded.get_rt_info(told).value) in (32, 64, 128)
    assert not plain.has_rt_info(told)


def test_the_state_carries_on_where_the_last_call_ended(tmp_path):
    import openvino

    tiny.write_checkpoint(tmp_path / "model", "qwen3")
    prepared = prepare(str(tmp_path / "model"), "f32", tmp_path / "cache")
    ids = list(range(10, 40))
    whole = reference_logits(prepared, ids)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    compiled = openvino.Core().compile_model(str(prepared.folder / "openvino_model.xml"), "CPU", exact)
    request = compiled.create_infer_request()
    for begin, end in ((0, 7), (7, 8), (8, 30)):
        feed = {"input_ids": np.array([ids[begin:end]]), "attention_mask": np.ones((1, end), dtype=np.int64)}
        feed |= {"position_ids": np.arange(begin, end)[None], "beam_idx": np.zeros(1, dtype=np.int32)}
        request.infer(feed)
        part = request.get_tensor("logits").data[0]
        assert np.abs(part - whole[begin:end]).max() < 1e-4


def test_a_batch_padded_on_the_left_gives_each_row_its_own_logits(tmp_path):
    import openvino

    tiny.write_checkpoint(tmp_path / "model", "llama")
    prepared = prepare(str(tmp_path / "model"), "f32", tmp_path / "cache")
    long, short = list(range(10, 30)), list(range(40, 48))
    pad = len(long) - len(short)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    compiled = openvino.Core().compile_model(str(prepared.folder / "openvino_model.xml"), "CPU", exact)
    feed = {
        "input_ids": np.array([long, [0] * pad + short]),
        "attention_mask": np.array([[1] * len(long), [0] * pad + [1] * len(short)]),
        "position_ids": np.array([range(len(long)), [0] * pad + list(range(len(short)))]),
        "beam_idx": np.arange(2, dtype=np.int32),
    }
    found = compiled(feed)["logits"]
    assert np.abs(found[0] - reference_logits(prepared, long)).max() < 1e-4
    assert np.abs(found[1, pad:] - reference_logits(prepared, short)).max() < 1e-4
