"""What a call costs: Usage × Price = Cost, and a provider's own usage object as a Usage. Knows no models and no files.

Amounts are whole nano-dollars (10⁻⁹ USD), so that sums are exact. An unknown price is None, never 0.
"""

from __future__ import annotations

from typing import Any

import msgspec

# More tokens than any call can have: a number beyond it is nonsense, and would not fit the store.
_MAX_COUNT = 2**40
_MAIN = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one call, in OpenTelemetry's convention: `input_tokens` includes cached tokens.

    `cache_write_tokens` holds every token that a cache stored, `cache_write_1h_tokens` those among them stored for an
    hour and not for five minutes; `reasoning_tokens` are among `output_tokens`. `batch` marks a call made at the batch
    rate. `estimated` marks counts that the provider did not give (a cut stream, say).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cache_write_1h_tokens: int = 0
    batch: bool = False

    @property
    def fresh_tokens(self) -> int:
        """Input tokens that no cache served or stored."""
        return max(0, self.input_tokens - self.cache_read_tokens - self.cache_write_tokens)


class Price(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """US dollars per million tokens, per usage class. A class without its own price pays the class above it:
    cache read and cache write pay `input`, a cache write for an hour pays `cache_write`, reasoning pays `output`.

    `batch` is no price but the share of all of them that a batch call pays (0.5: half price); without it the full one.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    cache_write_1h: float | None = None
    batch: float | None = None


class Cost(msgspec.Struct, frozen=True):
    """What one call cost, and by which version of the price table."""

    nanodollars: int
    table: str

    @property
    def usd(self) -> float:
        return self.nanodollars / 1e9


class PriceTable(msgspec.Struct, frozen=True):
    """Prices by model name, with the version that is stamped on every cost. A name that ends in `*` is a prefix."""

    version: str
    prices: dict[str, Price]

    def find(self, model: str) -> Price | None:
        """The price of `model`: the exact name, else the longest prefix, else None."""
        if model in self.prices:
            return self.prices[model]
        prefixes = [name for name in self.prices if name.endswith("*") and model.startswith(name[:-1])]
        return self.prices[max(prefixes, key=len)] if prefixes else None

    def cost(self, model: str, usage: Usage) -> Cost | None:
        """Cost of `usage` at `model`'s price; None where the price is unknown."""
        price = self.find(model)
        return None if price is None else Cost(nanodollars(price, usage), self.version)


def nanodollars(price: Price, usage: Usage) -> int:
    """Σ over usage classes of tokens × USD per million, in nano-dollars (1 USD per million tokens = 1,000 a token)."""
    if not (
        usage.cache_read_tokens
        or usage.cache_write_tokens
        or usage.cache_write_1h_tokens
        or usage.reasoning_tokens
        or usage.batch
    ):
        return round((usage.input_tokens * price.input + usage.output_tokens * price.output) * 1000)
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    write_1h = write if price.cache_write_1h is None else price.cache_write_1h
    reasoning = price.output if price.reasoning is None else price.reasoning
    plain_output = max(0, usage.output_tokens - usage.reasoning_tokens)
    dollars_per_million = (
        usage.fresh_tokens * price.input
        + usage.cache_read_tokens * read
        + max(0, usage.cache_write_tokens - usage.cache_write_1h_tokens) * write
        + usage.cache_write_1h_tokens * write_1h
        + plain_output * price.output
        + usage.reasoning_tokens * reasoning
    )
    share = price.batch if usage.batch and price.batch is not None else 1.0
    return round(dollars_per_million * share * 1000)


def usage_of(raw: Any) -> Usage | None:
    """A provider's own usage object in the neutral convention; None where there is none, or where it names no count
    of tokens that can be read: an unknown usage has an unknown cost, not 0.

    OpenAI's input includes what a cache read or wrote. Anthropic's excludes both, so they are added; so they are where
    the cached tokens are more than the input, which can only mean that the input leaves them out. Reasoning tokens
    belong to the output; they are added where the provider's own total says that its output leaves them out.
    Of the result always holds: cache read + cache write <= input, write for 1 h <= cache write, reasoning <= output.
    """
    if not isinstance(raw, dict) or not _is_readable(raw):
        return None
    # Readable: each of these is a count, or None.
    given = raw.get("prompt_tokens") or raw.get("input_tokens") or 0
    output = raw.get("completion_tokens") or raw.get("output_tokens") or 0
    read, written, written_1h, included = _cached(raw)
    if not included or read + written > given:
        given += read + written
    reasoning = 0
    if details := raw.get("completion_tokens_details") or raw.get("output_tokens_details"):
        reasoning = _count(details, "reasoning_tokens") or _count(details, "thinking_tokens")
    if "reasoning_tokens" in raw:
        reasoning = reasoning or _count(raw, "reasoning_tokens")
    if reasoning > output or (reasoning and _count(raw, "total_tokens") == given + output + reasoning):
        output += reasoning
    return Usage(
        input_tokens=given,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        cache_write_1h_tokens=min(written_1h, written),
        batch=raw.get("service_tier") == "batch",
    )


def _cached(raw: dict[str, Any]) -> tuple[int, int, int, bool]:
    """Tokens that a cache read, wrote, and wrote for an hour; and whether the input count includes them."""
    if "cache_read_input_tokens" in raw or "cache_creation_input_tokens" in raw:
        kinds = raw.get("cache_creation")
        for_5m, for_1h = _count(kinds, "ephemeral_5m_input_tokens"), _count(kinds, "ephemeral_1h_input_tokens")
        written = max(_count(raw, "cache_creation_input_tokens"), for_5m + for_1h)
        return _count(raw, "cache_read_input_tokens"), written, for_1h, "prompt_tokens" in raw
    read = written = 0
    if details := raw.get("prompt_tokens_details") or raw.get("input_tokens_details"):
        read, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    if not read and "prompt_cache_hit_tokens" in raw:
        read = _count(raw, "prompt_cache_hit_tokens")
    return read, written, 0, True


def _is_readable(raw: dict[str, Any]) -> bool:
    """Whether it has a count of input or output, and none that is no count."""
    found = False
    for name in _MAIN:
        number = raw.get(name)
        if number is not None:
            if type(number) is not int or not 0 <= number < _MAX_COUNT:
                return False
            found = True
    return found


def _count(holder: Any, name: str) -> int:
    number = holder.get(name) if isinstance(holder, dict) else None
    return number if type(number) is int and 0 < number < _MAX_COUNT else 0


def text_of(nano: int | None) -> str:
    """An amount for people: '$0.001234', or 'unknown' for None."""
    if nano is None:
        return "unknown"
    usd = nano / 1e9
    return f"${usd:,.2f}" if usd >= 100 else f"${usd:.6f}" if usd < 0.01 else f"${usd:.4f}"
