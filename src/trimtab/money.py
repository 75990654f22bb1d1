"""What a call costs: Usage × Price = Cost. Knows no models and no files.

Amounts are whole nano-dollars (10⁻⁹ USD), so that sums are exact. An unknown price is None, never 0.
"""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one call, in OpenTelemetry's convention: `input_tokens` includes cached tokens.

    `estimated` marks counts that the provider did not give (a cut stream, say).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    @property
    def fresh_tokens(self) -> int:
        """Input tokens that no cache served or stored."""
        return max(0, self.input_tokens - self.cache_read_tokens - self.cache_write_tokens)


class Price(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """US dollars per million tokens, per usage class. A class without its own price pays the class above it:
    cache read and cache write pay `input`, reasoning pays `output` (reasoning tokens are part of `output_tokens`)."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None


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
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    reasoning = price.output if price.reasoning is None else price.reasoning
    plain_output = max(0, usage.output_tokens - usage.reasoning_tokens)
    dollars_per_million = (
        usage.fresh_tokens * price.input
        + usage.cache_read_tokens * read
        + usage.cache_write_tokens * write
        + plain_output * price.output
        + usage.reasoning_tokens * reasoning
    )
    return round(dollars_per_million * 1000)


def text_of(nano: int | None) -> str:
    """An amount for people: '$0.001234', or 'unknown' for None."""
    if nano is None:
        return "unknown"
    usd = nano / 1e9
    return f"${usd:,.2f}" if usd >= 100 else f"${usd:.6f}" if usd < 0.01 else f"${usd:.4f}"
