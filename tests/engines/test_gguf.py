"""GGUF files: run exactly as the same weights from a checkpoint do, or refused in one line."""

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.engines import tiny
from trimtab.engines.gguf import open_gguf
from trimtab.engines.prepared import prepare
from trimtab.errors import ModelError

pytestmark = pytest.mark.engine
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A good F16 file."""
    folder = tmp_path_factory.mktemp("gguf")
    weights = tiny.write_checkpoint(folder / "model", "qwen2")
    tiny.write_gguf(folder / "small.gguf", "qwen2", weights)
    return folder / "small.gguf"


def stored(weights, quantisation):
    """The weights as the file's format keeps them, by the reference library."""
    form = gguf.GGMLQuantizationType[quantisation]
    return {
        name: gguf.dequantize(gguf.quantize(array, form), form).astype(np.float32) if array.ndim == 2 else array
        for name, array in weights.items()
    }


@pytest.mark.parametrize("quantisation", ["F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_greedy_tokens_are_those_of_the_same_weights(tmp_path, kind, quantisation):
    weights = tiny.write_checkpoint(tmp_path / "model", kind)
    tiny.write_gguf(tmp_path / "small.gguf", kind, weights, quantisation)
    tiny.write_safetensors(tmp_path / "model" / "model.safetensors", stored(weights, quantisation))
    checkpoint = prepare(str(tmp_path / "model"), "f32", tmp_path / "cache")
    file = prepare(str(tmp_path / "small.gguf"), cache=tmp_path / "cache")
    prompts = [list(range(10, 60)), list(range(100, 140))]
    assert tiny.greedy(file.folder, prompts, 16) == tiny.greedy(checkpoint.folder, prompts, 16)
    sizes = ("context", "vocab", "layers", "kv_heads", "head_dim", "eos_token_ids")
    assert [getattr(file, size) for size in sizes] == [getattr(checkpoint, size) for size in sizes]
    assert (file.name, file.precision, file.chat_template, file.grammar) == ("small", "gguf", tiny.TEMPLATE, True)


def test_its_tokenizer_is_written_out(small, tmp_path):
    prepared = prepare(str(small), cache=tmp_path)
    found, truth = Tokenizer.from_file(str(prepared.tokenizer_json)), tiny.make_tokenizer()
    for text in [*tiny.TEXTS, "<|im_start|>user\nhi<|im_end|>"]:
        assert found.encode(text).ids == truth.encode(text).ids
        assert found.decode(truth.encode(text).ids) == truth.decode(truth.encode(text).ids)


def test_a_tokenizer_of_another_kind_is_taken_from_beside_it(small, tmp_path):
    content = small.read_bytes()
    assert content.count(b"gpt2") == 1
    (tmp_path / "other.gguf").write_bytes(content.replace(b"gpt2", b"sent"))
    assert prepare(str(tmp_path / "other.gguf"), cache=tmp_path / "cache").tokenizer_json is None
    tiny.make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    found = prepare(str(tmp_path / "other.gguf"), cache=tmp_path / "cache")
    assert found.tokenizer_json == tmp_path / "tokenizer.json"


@pytest.mark.parametrize("quantisation", ["F32", "BF16", "Q5_0"])
def test_a_type_the_engine_cannot_run_is_refused(tmp_path, quantisation):
    weights = tiny.write_checkpoint(tmp_path / "model", "qwen2")
    tiny.write_gguf(tmp_path / "small.gguf", "qwen2", weights, quantisation)
    with pytest.raises(ModelError, match=f"is {quantisation}, which the engine cannot run; F16, Q4_0"):
        prepare(str(tmp_path / "small.gguf"), cache=tmp_path)


def test_an_unknown_architecture_is_refused(tmp_path):
    weights = tiny.write_checkpoint(tmp_path / "model", "qwen2")
    tiny.write_gguf(tmp_path / "small.gguf", "mamba", weights)
    with pytest.raises(ModelError, match="'mamba' is unknown as GGUF; known are llama, qwen2, qwen3"):
        open_gguf(tmp_path / "small.gguf")


def test_a_cut_file_is_refused(small, tmp_path):
    content = small.read_bytes()
    for size in (0, 3, 20, 100, len(content) // 2, len(content) - 4):
        (tmp_path / "cut.gguf").write_bytes(content[:size])
        with pytest.raises(ModelError):
            open_gguf(tmp_path / "cut.gguf")


@QUICK
@given(edits=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=8))
def test_an_altered_header_is_a_model_or_a_model_error(small, tmp_path, edits):
    content = bytearray(small.read_bytes())
    for place, byte in edits:
        content[place] = byte
    (tmp_path / "altered.gguf").write_bytes(content)
    try:
        open_gguf(tmp_path / "altered.gguf").tokenizer()
    except ModelError as error:
        assert "\n" not in str(error)


@QUICK
@given(tail=st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_a_model_error(tmp_path, tail):
    (tmp_path / "random.gguf").write_bytes(b"GGUF\x03\0\0\0" + tail)
    with pytest.raises(ModelError):
        open_gguf(tmp_path / "random.gguf")
