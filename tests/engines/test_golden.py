"""The engine held against transformers in float32, for each shape and each precision.

Measured on 200 random tokens, six shapes; the limits leave a factor of about 1.3 to 5:
             largest logit difference   relative RMS error   mean KL (nats)
    f32      1.6e-5
    bf16     0.08                       0.010                0.00007
    int8     0.26                       0.038                0.0010
    int4     2.6                        0.45                 0.13
A random network of width 128 magnifies rounding (about eightfold here): trained models lose far less. That the loss is
rounding alone is what `test_only_the_weights_are_rounded` shows: with the same rounded weights the two agree to 2e-5.
"""

import numpy as np
import pytest

from tests.engines import tiny
from trimtab.engines import weights
from trimtab.engines.prepared import prepare
from trimtab.engines.reference import reference_logits

pytestmark = [pytest.mark.golden, pytest.mark.engine]
EXACT = 1e-4
LIMITS = {"bf16": (0.02, 0.0002), "int8": (0.06, 0.002), "int4": (0.6, 0.25)}
LENGTH = 24


def logits_of(model, ids):
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def greedy_of(model, ids):
    import torch

    with torch.no_grad():
        whole = model.generate(torch.tensor([ids]), max_new_tokens=LENGTH, do_sample=False, eos_token_id=None)
    return whole[0, len(ids) :].tolist()


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.fixture(scope="module", params=tiny.SHAPES)
def golden(request, tmp_path_factory):
    """One shape: its folder, the transformers model, a prompt of 200 tokens and the true logits after each."""
    folder = tmp_path_factory.mktemp("golden") / request.param
    model = tiny.save_model(request.param, folder)
    tiny.save_tokenizer(folder)
    ids = np.random.default_rng(3).integers(len(tiny.SPECIAL), tiny.VOCAB, 200).tolist()
    return folder, model, ids, logits_of(model, ids)


def test_float32_logits_and_greedy_tokens_are_those_of_transformers(golden, tmp_path):
    folder, model, ids, truth = golden
    prepared = prepare(str(folder), "f32", tmp_path)
    assert np.abs(reference_logits(prepared, ids) - truth).max() <= EXACT
    # The third prompt opens with the whole of the second: the prefix cache must not change its tokens.
    prompts = [ids[:5], ids[:70], ids[:130]]
    expected = [greedy_of(model, prompt) for prompt in prompts]
    assert tiny.greedy(prepared.folder, prompts, LENGTH) == expected
    assert len({tuple(tokens) for tokens in expected}) == 3


@pytest.mark.parametrize("precision", LIMITS)
def test_each_precision_stays_within_its_tolerance(golden, precision, tmp_path):
    folder, _, ids, truth = golden
    prepared = prepare(str(folder), precision, tmp_path)
    found = reference_logits(prepared, ids)
    error = np.sqrt(((found - truth) ** 2).mean()) / truth.std()
    true, ours = log_softmax(truth), log_softmax(found)
    divergence = (np.exp(true) * (true - ours)).sum(-1).mean()
    largest_error, largest_divergence = LIMITS[precision]
    assert 0 < error <= largest_error
    assert divergence <= largest_divergence
    # The engine's own batched, paged run of the same files follows the plain runtime token by token.
    (tokens,) = tiny.greedy(prepared.folder, [ids[:70]], LENGTH)
    follow = reference_logits(prepared, ids[:70] + tokens[:-1])[69:].argmax(-1)
    assert tokens == follow.tolist()


def rounded(name, values, precision):
    """What a weight becomes once stored in `precision`, computed with numpy."""
    if precision == "bf16":
        return (weights.bf16_codes(values).astype(np.uint32) << 16).view(np.float32)
    small = precision == "int4" and "embed" not in name and "lm_head" not in name
    return weights.encode(values, weights.Format(4, 128) if small else weights.Format(8)).values


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("shape", ["llama-tied", "qwen3"])
def test_only_the_weights_are_rounded(shape, precision, tmp_path):
    import torch

    model = tiny.save_model(shape, tmp_path / shape)
    prepared = prepare(str(tmp_path / shape), precision, tmp_path / "cache")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.copy_(torch.from_numpy(rounded(name, weight.numpy(), precision)))
    ids = list(range(10, 110))
    assert np.abs(reference_logits(prepared, ids) - logits_of(model, ids)).max() <= EXACT


def test_the_older_rope_layout_means_the_same(tmp_path):
    import json

    model = tiny.save_model("llama-untied", tmp_path / "new")
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    (tmp_path / "new" / "config.json").write_text(json.dumps(config))
    ids = list(range(10, 110))
    found = reference_logits(prepare(str(tmp_path / "new"), "f32", tmp_path / "cache"), ids)
    assert np.abs(found - logits_of(model, ids)).max() <= EXACT


def test_shards_saved_by_transformers_are_read(tmp_path):
    model = tiny.save_model("qwen2", tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    ids = list(range(10, 60))
    found = reference_logits(prepare(str(tmp_path / "shards"), "f32", tmp_path / "cache"), ids)
    assert np.abs(found - logits_of(model, ids)).max() <= EXACT


def test_bfloat16_checkpoints_are_read(tmp_path):
    import torch

    model = tiny.save_model("qwen3-tied", tmp_path / "f32").to(torch.bfloat16)
    model.save_pretrained(tmp_path / "bf16")
    ids = list(range(10, 60))
    found = reference_logits(prepare(str(tmp_path / "bf16"), "f32", tmp_path / "cache"), ids)
    exact = type(model).from_pretrained(tmp_path / "bf16", dtype=torch.float32)
    assert np.abs(found - logits_of(exact, ids)).max() <= EXACT
