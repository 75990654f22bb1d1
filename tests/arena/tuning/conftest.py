import itertools

import pytest

from trimtab.arena.tuning import corpus, text
from trimtab.arena.tuning.recipe import Recipe


@pytest.fixture(scope="session")
def segments():
    return list(corpus.segments("train", 40, 3))


@pytest.fixture(scope="session")
def examples():
    return list(corpus.examples("train", 40, 3))


@pytest.fixture(scope="session")
def tokenizer(examples):
    return text.train_tokenizer((e.text for e in itertools.islice(examples, 60)), 900)


@pytest.fixture(scope="session")
def tiny():
    return Recipe(
        name="tiny", hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate=64, steps=30, rows=1,
        width=704, vocabulary=900, learning_rate=2e-2, warmup=3,
    )  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Such small matrices cost more to share out than to compute."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
