"""The index against a sort of all cosines, through any order of additions and removals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.levers.cache.index import Index

DIMS = 12


def vectors(count, seed=0):
    found = np.random.default_rng(seed).standard_normal((count, DIMS)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 150)), max_size=300), st.integers(0, 30))
def test_the_scan_finds_what_a_sort_finds(changes, k):
    index, held, some = Index(DIMS), {}, vectors(len(changes) + 1)
    for place, (adds, entry) in enumerate(changes):
        if adds:
            index.add(entry, some[place])
            held[entry] = some[place]
        else:
            index.remove(entry)
            held.pop(entry, None)
    assert len(index) == len(held)
    found = index.search(some[-1], k)
    wanted = sorted((-float(vector @ some[-1]), entry) for entry, vector in held.items())[:k]
    assert [entry for entry, _ in found] == [entry for _, entry in wanted]
    assert [cosine for _, cosine in found] == pytest.approx([-cosine for cosine, _ in wanted], abs=1e-5)


def test_of_many_the_rough_search_finds_what_the_exact_one_finds():
    pytest.importorskip("numkong")
    rng = np.random.default_rng(3)
    some = rng.standard_normal((6_000, 384)).astype(np.float32)
    some[::7] *= 0.01  # a vector's own scale
    some[100:160] = some[100] + 0.05 * some[100:160]  # near each other
    some[200:220] = some[200]  # the very same
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    index = Index(384)
    index.extend(range(3_000), some[:3_000])
    index.extend(range(3_000, 6_000), some[3_000:])
    for entry in range(0, 6_000, 5):
        index.remove(entry)
    index.add(5, some[5])
    left = [entry for entry in range(6_000) if entry % 5 or entry == 5]
    for query in [*some[:300:3], *some[100:110], some[201]]:
        cosines = some[left] @ query
        wanted = [left[place] for place in np.lexsort((left, -cosines))[:20]]
        found = index.search(query, 20)
        assert {entry for entry, _ in found} == set(wanted)
        assert [cosine for _, cosine in found] == pytest.approx(sorted(cosines)[::-1][:20], abs=1e-5)


def test_beyond_its_limit_the_graph_takes_over_with_additions_and_removals():
    pytest.importorskip("usearch")
    index, some = Index(DIMS, exact=200), vectors(1_000)
    index.extend(range(200), some[:200])
    assert not index.is_graph
    index.extend(range(200, 900), some[200:900])
    assert index.is_graph
    for entry in range(900, 1_000):
        index.add(entry, some[entry])
    index.add(5, some[5])
    for entry in range(0, 1_000, 2):
        index.remove(entry)
    index.remove(10**6)
    assert len(index) == 500
    hits = 0
    for query in vectors(50, 1):
        cosines = some @ query
        best = [entry for entry in np.argsort(-cosines) if entry % 2][:10]
        found = index.search(query, 10)
        assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
        assert all(entry % 2 and cosine == pytest.approx(cosines[entry], abs=5e-3) for entry, cosine in found)
        hits += len({entry for entry, _ in found} & set(best))
    assert hits >= 0.98 * 500


def test_a_saved_graph_is_the_same_graph(tmp_path):
    pytest.importorskip("usearch")
    index, some = Index(DIMS, exact=10), vectors(300)
    index.extend(range(300), some)
    index.save(tmp_path / "graph")
    again = Index.load(tmp_path / "graph", DIMS)
    assert again.search(some[7], 10) == index.search(some[7], 10)
    again.add(1_000, some[7])
    assert {entry for entry, _ in again.search(some[7], 2)} == {7, 1_000}
    with pytest.raises(ValueError, match="not 13"):
        Index.load(tmp_path / "graph", DIMS + 1)
    with pytest.raises(RuntimeError):
        Index(DIMS).save(tmp_path / "scan")


def test_an_empty_index_finds_nothing():
    assert Index(DIMS).search(vectors(1)[0], 5) == []
