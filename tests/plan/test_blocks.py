from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan.blocks import Stack

requests = st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=40)


def lru(traffic, room):
    """Hits of a real cache."""
    held, hits = OrderedDict(), 0
    for ids in traffic:
        for each in ids:
            hits += each in held
            held[each] = True
            held.move_to_end(each)
            if len(held) > room:
                held.popitem(last=False)
    return hits


@given(requests)
def test_one_pass_says_what_a_cache_of_each_size_would_have_held(traffic):
    stack = Stack()
    for ids in traffic:
        stack.add(ids)
    measured = stack.measured(512)
    total = sum(map(len, traffic))
    if not total:
        assert measured is None
        return
    assert measured.blocks == total
    assert measured.distinct == len({each for ids in traffic for each in ids})
    assert measured.reused.value == pytest.approx((total - measured.distinct) / total)
    for point in measured.curve:
        assert point.share == pytest.approx(lru(traffic, point.blocks) / total)


def test_a_long_trace_is_numbered_anew_without_loss():
    traffic = [[each % 700, each % 13] for each in range(5_000)]
    stack = Stack()
    for ids in traffic:
        stack.add(ids)
    for point in stack.measured(512).curve:
        assert point.share == pytest.approx(lru(traffic, point.blocks) / 10_000)


def test_more_blocks_than_are_followed_are_sampled_and_scaled():
    traffic = [[each * 17 % 6_000, each * each % 9_000] for each in range(20_000)]
    whole, sampled = Stack(), Stack(most=2_000)
    for ids in traffic:
        whole.add(ids)
        sampled.add(ids)
    full, some = whole.measured(512), sampled.measured(512)
    assert some.sampled < 1 == full.sampled
    assert some.distinct == pytest.approx(full.distinct, rel=0.1)
    assert some.reused.value == pytest.approx(full.reused.value, abs=0.05)
    shares = {point.blocks: point.share for point in full.curve}
    for point in some.curve:
        if point.blocks in shares and point.blocks >= 100:
            assert point.share == pytest.approx(shares[point.blocks], abs=0.1)
