import pytest

from tests.levers.small_model import shop
from trimtab.levers.small_model import options, prepare


@pytest.fixture(scope="session")
def tiny():
    """Options under which a stage takes a second."""
    return {
        "licences": {"*": "own"},
        "kind": "generate",
        "steps": {"sft": 4, "dpo": 1, "distil": 1, "onpolicy": 1, "cpt": 1},
        "tokens": 256,
        "shape": {"hidden": 32, "layers": 2, "heads": 1, "head_dim": 32, "intermediate": 64, "vocabulary": 400},
        "acts": ["book"],
    }


@pytest.fixture(scope="session")
def data(tiny):
    return prepare.prepared(shop.traces(), options.read({**tiny, "stages": ["sft", "dpo"]}))
