"""A recipe's model before its first step: a Qwen3 of the recipe's shape, started so that it copies early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.arena.tuning.recipe import Recipe
from trimtab.arena.tuning.text import END, STOP

if TYPE_CHECKING:
    from tokenizers import Tokenizer

EMBEDDING_STD = 0.2
FINAL_GAIN = 0.1


def build(recipe: Recipe, tokenizer: Tokenizer) -> Any:
    """A freshly initialised Qwen3-shaped model of the recipe's size, from torch's global random state."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    stop = tokenizer.token_to_id(STOP)
    config = Qwen3Config(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_dim,
        intermediate_size=recipe.intermediate,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=stop,
        pad_token_id=tokenizer.token_to_id(END),
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = stop
    _start_as_copier(model, recipe)
    return model


def _start_as_copier(model: Any, recipe: Recipe) -> None:
    """Most of what the agents write stands in what they read, so the model starts as one that copies.

    Embeddings are large against one step of AdamW: the softmax, tied to them, pushes every rare word's the same way at
    each step, and from the usual 0.02 the days of the week had a cosine of 0.83 to one another after 600 steps. The
    last norm's gain keeps the first logits small all the same. Each head's output matrix is the transpose of its value
    matrix, so that a head raises the token it looks at before it has learnt anything; the MLPs start silent.
    """
    import torch

    size, shared = recipe.head_dim, recipe.heads // recipe.kv_heads
    with torch.no_grad():
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
        model.model.norm.weight.fill_(FINAL_GAIN)
        for layer in model.model.layers:
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
            values = layer.self_attn.v_proj.weight.view(recipe.kv_heads, size, recipe.hidden)
            outputs = values.repeat_interleave(shared, dim=0).reshape(recipe.heads * size, recipe.hidden)
            layer.self_attn.o_proj.weight.copy_(outputs.T)
