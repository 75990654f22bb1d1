"""What the store's tests share: a way to make records, and the real data where it is."""

import os
from pathlib import Path

import pytest

from tests.store.samples import make_record


@pytest.fixture
def record():
    return make_record


@pytest.fixture
def tau_bench_file():
    root = Path(__file__).resolve().parents[2]
    data = Path(os.environ.get("TRIMTAB_DATA", root.parent / "shared" / "data"))
    path = data / "tau_bench" / "gpt-4o-airline.json"
    if not path.is_file():
        pytest.skip(f"the real data is not there ({path}): set TRIMTAB_DATA to its folder")
    return path
