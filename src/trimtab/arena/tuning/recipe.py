"""The recipes of the two shipped models: shape, data, optimiser. Values only."""

from __future__ import annotations

import msgspec


class Recipe(msgspec.Struct, frozen=True):
    """A Qwen3-shaped model and how it is trained.

    A step takes `rows` rows of `width` tokens. The learning rate warms up for `warmup` steps, stays, and falls linearly
    to 0 over the last `decay` share of `steps`. Between the two shares `rare` of the steps, sessions with a rare move
    come several times as often as in the traffic. From the share `distil` of the steps on, the student also learns the
    logits of the model `teacher`.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    steps: int
    rows: int = 6
    width: int = 768
    vocabulary: int = 2048
    context: int = 2048
    learning_rate: float = 2e-3
    warmup: int = 40
    decay: float = 0.4
    rare: tuple[float, float] = (0.64, 0.86)
    seed: int = 1
    teacher: str = ""
    distil: float = 0.7


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="dealer-teacher",
            hidden=384,
            layers=6,
            heads=6,
            kv_heads=2,
            head_dim=64,
            intermediate=1024,
            steps=2200,
        ),
        Recipe(
            name="dealer-student",
            hidden=256,
            layers=4,
            heads=4,
            kv_heads=1,
            head_dim=64,
            intermediate=512,
            steps=2700,
            teacher="dealer-teacher",
        ),
    )
}
