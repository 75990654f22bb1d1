"""Bodies as they lie in the store: what one packer wrote, any reader reads."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.store import rows
from trimtab.trace import Payload

BODIES = st.dictionaries(st.text(max_size=8), st.text(max_size=3000) | st.integers(-(2**53), 2**53), max_size=6)


@pytest.fixture(params=["isal", "zlib"])
def packer(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setattr(rows, "_compress", None)
    elif rows._compress is None:
        pytest.skip("no wheel of isal for this machine")
    return request.param


@pytest.mark.parametrize("size", [10, 767, 768, 4096, 5000, 16_384, 20_000, 300_000])
def test_a_body_of_any_size_comes_back(packer, size):
    body = {"text": random.Random(size).randbytes(size // 2).hex(), "more": "x" * size}
    kept = rows.payload_row(Payload("c", body, body))
    assert rows.payload_of(*kept) == Payload("c", body, body)
    if size >= 768:
        assert len(kept[1]) < size * 1.2 and zlib.decompress(kept[1])


@given(request=BODIES, response=st.none() | BODIES)
def test_any_body_comes_back(request, response):
    assert rows.payload_of(*rows.payload_row(Payload("c", request, response))) == Payload("c", request, response)
