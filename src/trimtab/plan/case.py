"""One agent as the estimators see it: its calls, what they cost and where, and what it all would cost elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from trimtab.levers.examples import Example, of_records
from trimtab.money import Price, PriceTable, Usage, nanodollars
from trimtab.plan.worth import Agent, Use
from trimtab.trace import Call, Payload, Record, Trace

STEP_DOWN = 0.35  # of the price: what a model costs at most to be called smaller


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the sample's cost: input that no cache served, input that one did, output; all 0 without a price."""

    fresh: float
    cached: float
    output: float


class Case(NamedTuple):
    """`records` in the order of time and what could be read of them; `use` is of all the agent's calls, of which these
    are a sample. `price` is that of the model that most calls went to."""

    agent: Agent
    records: tuple[Record, ...]
    examples: tuple[Example, ...]
    use: Use
    model: str
    price: Price | None
    bill: Bill
    prices: PriceTable

    @property
    def per_call(self) -> float:
        """Nano-dollars."""
        return self.use.nanodollars / max(1, self.use.calls)

    @property
    def usage(self) -> Usage:
        """All tokens of the sample."""
        used = [record.call.usage for record in self.records]
        return Usage(
            input_tokens=sum(each.input_tokens for each in used),
            output_tokens=sum(each.output_tokens for each in used),
            cache_read_tokens=sum(each.cache_read_tokens for each in used),
            cache_write_tokens=sum(each.cache_write_tokens for each in used),
            reasoning_tokens=sum(each.reasoning_tokens for each in used),
        )

    @property
    def prefill(self) -> float | None:
        """The share of the time in models up to the first token; None where no call was streamed."""
        streamed = [record.call for record in self.records if record.call.ttft_ms is not None]
        whole = sum(max(0.0, call.duration_ms) for call in streamed)
        first = sum(min(max(0.0, call.ttft_ms or 0.0), max(0.0, call.duration_ms)) for call in streamed)
        return first / whole if whole > 0 else None

    def traces(self) -> list[Trace]:
        by: dict[str, list[Record]] = {}
        for record in self.records:
            by.setdefault(record.call.trace_id, []).append(record)
        return [_trace(name, its) for name, its in by.items()]


def case(agent: Agent, records: Sequence[Record], use: Use | None, prices: PriceTable) -> Case:
    ordered = tuple(sorted(records, key=lambda record: record.call.started_ns))
    calls = [record.call for record in ordered]
    models = Counter(name for call in calls if (name := call.priced_as or call.response_model or call.request_model))
    model = models.most_common(1)[0][0] if models else ""
    price = prices.find(model) if model else None
    found = Case(
        agent=agent,
        records=ordered,
        examples=tuple(of_records(ordered)),
        use=use or used(calls, prices),
        model=model,
        price=price,
        bill=Bill(fresh=0, cached=0, output=0),
        prices=prices,
    )
    return found._replace(bill=_bill(price, found.usage)) if price is not None else found


def used(calls: Sequence[Call], prices: PriceTable) -> Use:
    """What the sample itself used; a call without a price counts 0."""
    cost = 0
    for call in calls:
        told = call.cost_nanodollars
        if told is None and (found := prices.cost(call.priced_as or call.response_model, call.usage)) is not None:
            told = found.nanodollars
        cost += told or 0
    return Use(calls=len(calls), nanodollars=cost, seconds=sum(max(0.0, call.duration_ms) for call in calls) / 1e3)


def _bill(price: Price, usage: Usage) -> Bill:
    parts = (
        nanodollars(price, Usage(input_tokens=usage.fresh_tokens)),
        nanodollars(price, Usage(input_tokens=usage.cache_read_tokens, cache_read_tokens=usage.cache_read_tokens)),
        nanodollars(price, Usage(output_tokens=usage.output_tokens, reasoning_tokens=usage.reasoning_tokens)),
        nanodollars(price, Usage(input_tokens=usage.cache_write_tokens, cache_write_tokens=usage.cache_write_tokens)),
    )
    total = sum(parts) or 1
    return Bill(fresh=(parts[0] + parts[3]) / total, cached=parts[1] / total, output=parts[2] / total)


def smaller(its: Case, *, smallest: bool = False) -> tuple[str, float] | None:
    """A model of the same maker that costs at most about a third for the same tokens, and its share of the price: the
    dearest of these, or the `smallest`. None where the price table knows none."""
    if its.price is None:
        return None
    usage = its.usage
    whole = nanodollars(its.price, usage)
    maker = its.model.split("-")[0].lower()
    found = []
    for name, price in its.prices.prices.items():
        share = nanodollars(price, usage) / whole if whole else 1.0
        if name.split("-")[0].lower() == maker and share <= STEP_DOWN:
            found.append((share, name.rstrip("*")))
    if not found:
        return None
    share, name = min(found) if smallest else max(found)
    return name, share


def _trace(name: str, records: Sequence[Record]) -> Trace:
    payloads = {}
    for record in records:
        if record.payload is not None:
            held: Payload = record.payload.decoded()
            payloads[record.call.id] = held
    return Trace(name, tuple(record.call for record in records), payloads)
