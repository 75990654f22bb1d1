import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shape import tree
from trimtab.errors import ConfigError
from trimtab.evals import suite as suites
from trimtab.evals.suite import Item
from trimtab.gate import criteria, forecast
from trimtab.gate.criteria import Criteria, Latency, Saving


def test_every_key_is_read(tmp_path):
    path = tmp_path / "criteria.toml"
    path.write_text(
        """margin = 0.03
alpha = 0.01
harm = 0.0
flips = 0.2
cap = 500
slice_minimum = 30
safety = 0.01
length = []
missing = 0.02
uses = 3
[slices]
refund = 0.05
[latency]
ttft_s = 0.5
missed = 0.1
[cost]
share = 0.3
cap_usd = 0.01
"""
    )
    held = criteria.read(path)
    assert held.latency == Latency(ttft_s=0.5, missed=0.1)
    assert held.cost == Saving(share=0.3, cap_usd=0.01)
    assert (held.margin_of("refund"), held.margin_of("other")) == (0.05, 0.03)
    assert (held.harm, held.length, held.uses) == (0.0, (), 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("margin = 0", "margin of 0"),
        ("margin = -0.02", "margin of -0.02"),
        ("alpha = 1.0", "alpha"),
        ("safety = 0", "margin of 0"),
        ("harm = -0.5", "outside ±margin"),
        ("length = [0.9]", "two bounds"),
        ("length = [1.1, 0.9]", "two bounds"),
        ("[latency]\nmissed = 0.1", "no bound"),
        ("[cost]\nshare = 1.0", "share"),
        ("[slices]\nrefund = 2.0", "margin of 2"),
        ("uses = 0", "uses"),
        ("margins = 0.1", "margins"),
        ("alpha = 1e-300", "has no use"),
        ("alpha = 0.5", "has no use"),
        ("margin = 1e-300", "more clusters than anyone has"),
        ("margin = ", "not valid TOML"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, text, told):
    path = tmp_path / "criteria.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        criteria.read(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="--criteria"):
        criteria.read(tmp_path / "none.toml")


def built(count, tagged):
    return suites.of(
        [Item(str(n), str(n), {"messages": [{}]}, "x", ("rare",) if n < tagged else ()) for n in range(count)], name="s"
    )


def test_the_forecast_says_what_a_suite_can_certify():
    small = forecast.of(built(200, 10), Criteria(slices={"rare": 0.1}))
    whole, rare = small.tested
    assert whole.needed == pytest.approx(2137, rel=0.02)  # (z_.95 + z_.90)² .1/.02²
    assert 0.05 < whole.smallest < 0.06 and rare.smallest > 0.2
    assert small.short == {"rare": 10}
    assert not small.enough
    text = " ".join(forecast.lines(small))
    assert "too few clusters for the margin" in text and "'rare' has 10 clusters" in text
    large = forecast.of(built(5000, 0), Criteria())
    assert large.enough and large.cap < 5000
    assert "too few" not in " ".join(forecast.lines(large))


def test_a_noisy_judge_needs_a_larger_suite():
    sure, noisy = (forecast.of(built(3000, 0), Criteria(), scale).tested[0] for scale in ({}, {"": 0.6}))
    assert noisy.needed > 2.5 * sure.needed
    assert noisy.smallest > 1.5 * sure.smallest


def test_every_key_is_documented():
    page = (tree.ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    block = page.partition("```toml\n")[2].partition("```")[0]
    held = msgspec.toml.decode(block)
    for kind, table in ((Criteria, held), (Latency, held["latency"]), (Saving, held["cost"])):
        assert set(table) == {field.name for field in msgspec.structs.fields(kind)}
    assert msgspec.convert(held, Criteria).margin == 0.02


KEYS = ("margin", "alpha", "harm", "flips", "cap", "slices", "latency", "cost", "length", "missing", "uses", "other")
VALUES = (
    "0.1",
    "-1",
    "0",
    "nan",
    "inf",
    "1e400",
    "[]",
    "[0.9, 1.1]",
    "{ a = 0.1 }",
    "{ share = 0.1 }",
    "true",
    "''",
    "99999999999",
)


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=4))
def test_whatever_a_file_says_is_read_or_refused(tmp_path_factory, said):
    path = tmp_path_factory.mktemp("criteria") / "c.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in said))
    try:
        held = criteria.read(path)
    except ConfigError as error:
        assert str(path) in str(error)
        return
    assert 0 < held.margin < 1 and 0 < held.alpha < 0.5
    assert forecast.of(built(50, 5), msgspec.structs.replace(held, slices={})).cap >= 1
