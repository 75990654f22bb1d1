import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.config import shipped_prices
from trimtab.money import Cost, Price, PriceTable, Usage, nanodollars, text_of, usage_of

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


def test_a_write_for_an_hour_and_the_batch_rate_are_priced_apart():
    usage = Usage(input_tokens=100, output_tokens=10, cache_write_tokens=60, cache_write_1h_tokens=20)
    price = Price(input=2, output=4, cache_write=2.5, cache_write_1h=4, batch=0.5)
    # 40 fresh × 2,000 + 40 × 2,500 + 20 × 4,000 + 10 × 4,000
    assert nanodollars(price, usage) == 300_000
    batch = Usage(input_tokens=100, output_tokens=10, cache_write_tokens=60, cache_write_1h_tokens=20, batch=True)
    assert nanodollars(price, batch) == 150_000
    assert nanodollars(Price(input=2, output=4, cache_write=2.5), usage) == 80_000 + 60 * 2_500 + 40_000
    assert nanodollars(Price(input=2, output=4), batch) == 200_000 + 40_000


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


counts = st.integers(0, 10**7)


@st.composite
def spent(draw):
    """The tokens of one call as they really were: fresh, read, written for 5 min, for 1 h, plain output, reasoning."""
    return tuple(draw(counts) for _ in range(6))


def openai(fresh, read, for_5m, for_1h, plain, reasoning):
    """As OpenAI's chat completions tell it (and OpenRouter's, which adds what a cache wrote)."""
    given, output = fresh + read + for_5m + for_1h, plain + reasoning
    return {
        "prompt_tokens": given,
        "completion_tokens": output,
        "total_tokens": given + output,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": for_5m + for_1h, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def responses(*parts):
    """As OpenAI's responses tell it."""
    names = {"prompt": "input", "completion": "output"}
    told = {}
    for name, value in openai(*parts).items():
        first, _, rest = name.partition("_")
        told[f"{names.get(first, first)}_{rest}"] = value
    return told


def anthropic(fresh, read, for_5m, for_1h, plain, reasoning):
    """As Anthropic's messages tell it: the input without what the cache read and wrote."""
    return {
        "input_tokens": fresh,
        "output_tokens": plain + reasoning,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": for_5m + for_1h,
        "cache_creation": {"ephemeral_5m_input_tokens": for_5m, "ephemeral_1h_input_tokens": for_1h},
        "output_tokens_details": {"thinking_tokens": reasoning},
        "service_tier": "standard",
    }


@given(spent())
def test_every_convention_tells_the_same_tokens(parts):
    fresh, read, for_5m, for_1h, plain, reasoning = parts
    whole = Usage(fresh + read + for_5m + for_1h, plain + reasoning, read, for_5m + for_1h, reasoning)
    assert whole.fresh_tokens == fresh
    assert usage_of(openai(*parts)) == usage_of(responses(*parts)) == whole
    told = usage_of(anthropic(*parts))
    assert (told.input_tokens, told.output_tokens, told.cache_read_tokens, told.reasoning_tokens) == (
        whole.input_tokens,
        whole.output_tokens,
        read,
        reasoning,
    )
    assert (told.cache_write_tokens, told.cache_write_1h_tokens, told.fresh_tokens) == (for_5m + for_1h, for_1h, fresh)


@given(spent())
def test_reasoning_beside_the_output_is_added_to_it(parts):
    fresh, read, *_, plain, reasoning = parts
    raw = {"prompt_tokens": fresh + read, "completion_tokens": plain, "total_tokens": fresh + read + plain + reasoning}
    raw["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    told = usage_of(raw)
    assert (told.output_tokens, told.reasoning_tokens) == (plain + reasoning, reasoning)


NAMES = st.sampled_from(
    sorted(
        {*openai(*[1] * 6), *responses(*[1] * 6), *anthropic(*[1] * 6), "prompt_cache_hit_tokens", "reasoning_tokens"}
        | {
            "thinking_tokens",
            "cached_tokens",
            "ephemeral_5m_input_tokens",
            "ephemeral_1h_input_tokens",
            "cache_write_tokens",
        }
    )
)
SCALARS = st.none() | st.booleans() | st.integers(-5, 2**41) | st.floats() | st.text(max_size=3) | st.integers(0, 50)
NESTED = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(NAMES, NESTED, max_size=8) | NESTED)
def test_whatever_comes_the_classes_fit_into_each_other(raw):
    usage = usage_of(raw)
    if usage is None:
        return
    assert usage.cache_read_tokens + usage.cache_write_tokens + usage.fresh_tokens == usage.input_tokens
    assert 0 <= usage.cache_write_1h_tokens <= usage.cache_write_tokens
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens < 2**42
    assert nanodollars(PRICE, usage) >= 0


@pytest.mark.parametrize(
    "raw",
    [
        *(None, {}, [], "x", 3, {"total_tokens": 5}),
        {"prompt_tokens": "ten", "completion_tokens": 4},
        {"prompt_tokens": 10, "completion_tokens": -4},
        {"prompt_tokens": 10**30},
        {"prompt_tokens": True, "completion_tokens": None},
    ],
)
def test_a_usage_that_cannot_be_read_is_unknown_and_not_zero(raw):
    assert usage_of(raw) is None


def test_particular_shapes():
    assert usage_of({"prompt_tokens": 9}) == Usage(input_tokens=9)  # embeddings have no output
    assert usage_of({"prompt_tokens": 0, "completion_tokens": 0}) == Usage()
    # Bedrock and LiteLLM write Anthropic's names beside an input that includes them.
    mixed = {"prompt_tokens": 100, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}
    assert usage_of(mixed) == Usage(input_tokens=100, cache_read_tokens=60, cache_write_tokens=30)
    deepseek = {"prompt_tokens": 100, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}
    assert usage_of(deepseek).fresh_tokens == 36
    outside = {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 600}}
    assert usage_of(outside) == Usage(input_tokens=610, cache_read_tokens=600)
    assert usage_of({"input_tokens": 1, "output_tokens": 1, "service_tier": "batch"}).batch
