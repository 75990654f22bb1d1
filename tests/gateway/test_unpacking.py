"""Packed answers come unpacked, however they are cut, and never in pieces without a bound."""

import asyncio
import contextlib
import gzip
import itertools
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.gateway.unpacking import PackedWrongly, Unpacked, Unpacker, is_packed

PACKERS = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b" Deflate": lambda data: zlib.compress(data)[2:-4],  # as some send it: without the frame
    b"x-gzip": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
}


def read(coding, pieces):
    async def run():
        left = iter([*pieces, b""])

        async def next_piece():
            return next(left)

        unpacked, whole = Unpacked(next_piece, coding), []
        while piece := await unpacked.read():
            whole.append(piece)
        return whole

    return asyncio.run(run())


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=400), st.lists(st.integers(0, 500), max_size=6))
def test_any_cuts_give_the_same(coding, data, cuts):
    packed = PACKERS[coding](data)
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    pieces = [piece for start, end in itertools.pairwise(edges) if (piece := packed[start:end])]
    assert b"".join(read(coding, pieces)) == data


def test_a_bomb_comes_in_small_pieces():
    pieces = Unpacker(b"gzip").feed(gzip.compress(b" " * 50_000_000))
    assert max(map(len, pieces)) <= 256 * 1024


@pytest.mark.parametrize("cut", [1, 8, 30])
def test_what_is_not_whole_is_an_error(cut):
    with pytest.raises(PackedWrongly):
        read(b"gzip", [gzip.compress(b"Hello, how are you? " * 9)[:-cut]])


@settings(max_examples=80, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_unpacked_or_refused(data):
    for coding in (b"gzip", b"deflate"):
        with contextlib.suppress(PackedWrongly):
            read(coding, [data])


def test_only_what_is_known_is_read():
    with pytest.raises(PackedWrongly, match="'br'"):
        Unpacker(b"br")
    assert not is_packed(b"")
    assert not is_packed(b" Identity ")
