from trimtab.stats.quantiles import quantile


def test_quantiles_interpolate():
    assert quantile([], 0.5) is None
    assert [quantile([3, 1, 2], q) for q in (0, 0.5, 1)] == [1, 2, 3]
    assert quantile([0, 10], 0.9) == 9
