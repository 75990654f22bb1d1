"""Growth leaves every output as it was: logits within rounding, greedy tokens the same."""

import json

import numpy as np
import pytest

from tests.engines import tiny
from trimtab.engines.checkpoint import SINGLE, open_checkpoint
from trimtab.engines.enlarge import SIZES, Size, enlarge
from trimtab.engines.prepared import prepare, shipped
from trimtab.engines.reference import reference_logits
from trimtab.errors import ConfigError, DiskFull, ModelError

pytestmark = pytest.mark.engine
GROWN = Size(hidden=320, layers=5, heads=12, kv_heads=4, intermediate=448)
IDS = [40, 3, 77, 200, 9, 131, 12, 12, 260, 31]
KINDS = {
    "llama": {"tie_word_embeddings": True},
    "llama-biased": {"attention_bias": True, "mlp_bias": True},
    "qwen2": {},
    "qwen3": {"head_dim": 32, "tie_word_embeddings": True},
    "one layer": {"num_hidden_layers": 1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_greedy_tokens_stay(kind, tmp_path):
    family = "llama" if kind == "one layer" else kind.split("-")[0]
    tiny.write_checkpoint(tmp_path / "small", family, **KINDS[kind])
    tiny.save_tokenizer(tmp_path / "small")
    grown = enlarge(tmp_path / "small", tmp_path / "grown", GROWN, exact=True)
    assert open_checkpoint(grown).shape.hidden == 320
    both = [prepare(str(folder), "f32", tmp_path / "cache") for folder in (tmp_path / "small", grown)]
    small, large = (reference_logits(model, IDS) for model in both)
    assert np.abs(large - small).max() < 2e-3 * np.abs(small).max()
    said = [tiny.greedy(model.folder, [IDS, IDS[:4]], 24) for model in both]
    assert said[0] == said[1]


def test_nothing_is_hollow(tmp_path):
    """Every matrix that reads is dense, so that it costs what one of its size costs."""
    tiny.write_checkpoint(tmp_path / "small", "qwen3", head_dim=32)
    grown = open_checkpoint(enlarge(tmp_path / "small", tmp_path / "grown", GROWN))
    for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.3.mlp.up_proj.weight", "lm_head.weight"):
        assert (grown.weight(name) != 0).mean() > 0.99


def test_the_shipped_pair_grows_to_seven_to_one():
    def weights(size):
        each = 2 * size.hidden * 64 * (size.heads + size.kv_heads) + 3 * size.hidden * size.intermediate
        return size.layers * each + 2 * 1728 * size.hidden

    large, small = weights(SIZES["500m"]), weights(SIZES["70m"])
    assert 450e6 < large < 550e6
    assert 63e6 < small < 77e6
    assert 6.5 < large / small < 7.5
    for name, size in (("dealer-teacher", "500m"), ("dealer-student", "70m")):
        if name in shipped():
            shape = open_checkpoint(shipped()[name]).shape
            assert SIZES[size].heads // SIZES[size].kv_heads >= shape.heads // shape.kv_heads


@pytest.mark.parametrize("change", [{"hidden": 64}, {"layers": 1}, {"heads": 4, "kv_heads": 4}, {"intermediate": 9}])
def test_a_size_that_does_not_hold_the_model_is_refused(tmp_path, change):
    import msgspec

    tiny.write_checkpoint(tmp_path / "small", "qwen2")
    with pytest.raises(ConfigError, match="does not fit"):
        enlarge(tmp_path / "small", tmp_path / "grown", msgspec.structs.replace(GROWN, **change))
    assert not (tmp_path / "grown").exists()


def test_broken_sources_and_a_full_disk_leave_nothing(tmp_path):
    tiny.write_checkpoint(tmp_path / "small", "qwen2")
    with pytest.raises(DiskFull):
        enlarge(tmp_path / "small", tmp_path / "grown", Size(2**16, 500, 2**10, 2**9, 2**18))
    (tmp_path / "small" / SINGLE).write_bytes(b"short")
    with pytest.raises(ModelError):
        enlarge(tmp_path / "small", tmp_path / "grown", GROWN)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_what_is_there_is_not_made_again(tmp_path):
    tiny.write_checkpoint(tmp_path / "small", "qwen2")
    first = enlarge(tmp_path / "small", tmp_path / "grown", GROWN)
    stamp = (first / SINGLE).stat().st_mtime_ns
    assert (enlarge(tmp_path / "small", tmp_path / "grown", GROWN) / SINGLE).stat().st_mtime_ns == stamp
    assert json.loads((first / "config.json").read_text())["dtype"] == "bfloat16"
