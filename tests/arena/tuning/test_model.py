import msgspec
import pytest

from trimtab.arena.tuning.model import build


@pytest.fixture(scope="module")
def wide(tiny):
    """Wide enough that two random embeddings are far apart."""
    return msgspec.structs.replace(tiny, hidden=128, heads=4, kv_heads=2, head_dim=32)


def test_it_has_the_recipes_shape_and_one_matrix_for_embedding_and_output(wide, tokenizer):
    model = build(wide, tokenizer)
    attention = model.model.layers[1].self_attn
    assert len(model.model.layers) == 2
    assert tuple(attention.q_proj.weight.shape) == (4 * 32, 128)
    assert tuple(attention.v_proj.weight.shape) == (2 * 32, 128)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.config.vocab_size % 64 == 0


def test_before_its_first_step_it_favours_the_words_that_it_has_read(wide, tokenizer):
    import torch

    torch.manual_seed(0)
    model = build(wide, tokenizer)
    read = torch.stack([torch.randperm(tokenizer.get_vocab_size())[:16] for _ in range(64)])
    with torch.no_grad():
        logits = model(input_ids=read).logits[:, -1]
    earlier = logits.gather(1, read[:, :-1])  # the last one stands in the residual stream anyway
    assert earlier.mean() > logits.mean() + 5 * logits.std() / earlier.numel() ** 0.5


def test_its_first_guesses_are_near_even(wide, tokenizer):
    import torch

    torch.manual_seed(0)
    model = build(wide, tokenizer)
    ids = torch.randint(tokenizer.get_vocab_size(), (4, 64))
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert float(loss) == pytest.approx(float(torch.tensor(float(model.config.vocab_size)).log()), abs=0.3)
