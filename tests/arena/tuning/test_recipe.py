import pytest

from trimtab.arena.tuning import train
from trimtab.arena.tuning.recipe import RECIPES
from trimtab.arena.tuning.text import encode

SIZES = {"dealer-teacher": (10e6, 30e6), "dealer-student": (0, 3e6)}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_makes_a_model_of_the_size_it_may_have(recipe, tokenizer):
    """With as large a vocabulary as it allows; the shipped ones are weighed in tests/arena/test_models.py."""
    import torch

    with torch.device("meta"):
        model = train.build(recipe, tokenizer)
    fewer = recipe.vocabulary - model.config.vocab_size  # the tokenizer here is smaller than the recipe's
    least, most = SIZES[recipe.name]
    assert least <= sum(p.numel() for p in model.parameters()) + fewer * recipe.hidden <= most


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_rows_width_and_the_context_hold_whole_examples(recipe, examples, tokenizer):
    """Lengths by the smaller tokenizer here, which needs more tokens than the recipe's."""
    lengths = [len(encode(tokenizer, example.text)[0]) for example in examples]
    assert sum(length <= recipe.width for length in lengths) > 0.95 * len(lengths)
    assert max(lengths) < recipe.context


def test_the_recipes_are_of_the_models_that_are_shipped():
    assert set(RECIPES) == set(SIZES)
    for recipe in RECIPES.values():
        assert 0 < recipe.decay < 1
        assert recipe.warmup < recipe.steps * (1 - recipe.decay)
        assert 0 < recipe.rare[0] < recipe.rare[1] < 1
