import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.config import shipped_prices
from trimtab.money import Cost, Price, PriceTable, Usage, nanodollars, text_of

PRICE = Price(input=2.5, output=10, cache_read=1.25, cache_write=3.75, reasoning=12)
TABLE = PriceTable(
    "v1",
    {
        "gpt-4o": Price(2.5, 10),
        "gpt-4o-mini*": Price(0.15, 0.6),
        "gpt-*": Price(1, 1),
    },
)

amounts = st.floats(0, 1000, allow_nan=False)
prices = st.builds(
    Price,
    input=amounts,
    output=amounts,
    cache_read=st.none() | amounts,
    cache_write=st.none() | amounts,
    reasoning=st.none() | amounts,
)


@st.composite
def usages(draw):
    read, write, fresh, reasoning, plain = (draw(st.integers(0, 10**6)) for _ in range(5))
    return Usage(read + write + fresh, reasoning + plain, read, write, reasoning)


def together(one, two):
    return Usage(*(getattr(one, name) + getattr(two, name) for name in Usage.__struct_fields__[:5]))


def test_each_class_pays_its_own_price():
    usage = Usage(
        input_tokens=1000, output_tokens=100, cache_read_tokens=600, cache_write_tokens=100, reasoning_tokens=40
    )
    assert usage.fresh_tokens == 300
    # 300 × 2,500 + 600 × 1,250 + 100 × 3,750 + 60 × 10,000 + 40 × 12,000 nano-dollars
    assert nanodollars(PRICE, usage) == 2_955_000


def test_a_class_without_a_price_pays_the_class_above_it():
    usage = Usage(input_tokens=10, output_tokens=4, cache_read_tokens=5, cache_write_tokens=5, reasoning_tokens=4)
    assert nanodollars(Price(input=2, output=3), usage) == 10 * 2000 + 4 * 3000


def test_a_cached_token_is_not_paid_twice():
    assert nanodollars(PRICE, Usage(input_tokens=100, cache_read_tokens=100)) == 125_000


def test_a_free_cache_read_is_free_not_unknown():
    assert nanodollars(Price(input=1, output=1, cache_read=0), Usage(input_tokens=9, cache_read_tokens=9)) == 0


def test_more_cached_than_read_never_makes_a_negative_cost():
    assert Usage(input_tokens=10, cache_read_tokens=12).fresh_tokens == 0
    assert nanodollars(PRICE, Usage(output_tokens=1, reasoning_tokens=3)) >= 0


@given(prices, usages(), usages())
def test_the_cost_of_a_sum_is_the_sum_of_the_costs(price, one, two):
    """Each amount is rounded to a whole nano-dollar, so up to 1.5 apart; large ones add float error of 1e-15 or so."""
    apart = nanodollars(price, together(one, two)) - nanodollars(price, one) - nanodollars(price, two)
    assert abs(apart) <= 2 + 1e-12 * nanodollars(price, together(one, two))


@given(prices, usages())
def test_no_cost_is_negative(price, usage):
    assert nanodollars(price, usage) >= 0


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4o", TABLE.prices["gpt-4o"]),
        ("gpt-4o-mini-2024-07-18", TABLE.prices["gpt-4o-mini*"]),
        ("gpt-4o-mini", TABLE.prices["gpt-4o-mini*"]),
        ("gpt-5", TABLE.prices["gpt-*"]),
        ("llama", None),
        ("", None),
    ],
)
def test_exact_name_then_longest_prefix_then_unknown(model, price):
    assert TABLE.find(model) == price


def test_an_unknown_price_is_none_and_a_known_one_names_its_table():
    usage = Usage(input_tokens=1_000_000)
    assert TABLE.cost("llama", usage) is None
    assert TABLE.cost("gpt-4o", usage) == Cost(2_500_000_000, "v1")
    assert Cost(2_500_000_000, "v1").usd == 2.5


def test_the_shipped_prices_parse_and_are_plausible():
    table = shipped_prices()
    assert table.version
    for model in ("dealer-teacher", "dealer-student", "gpt-4o-mini-2024-07-18"):
        assert table.find(model) is not None
    for model, price in table.prices.items():
        assert 0 < price.input <= price.output, model
        assert price.cache_read is None or 0 < price.cache_read <= price.input, model


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "unknown"),
        (0, "$0.000000"),
        (1_234_000, "$0.001234"),
        (1_500_000_000, "$1.5000"),
        (10**14, "$100,000.00"),
    ],
)
def test_amounts_for_people(nano, text):
    assert text_of(nano) == text
