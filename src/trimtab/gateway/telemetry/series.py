"""Series: what was counted of the calls of one kind, so that a finished call costs one look-up and a few additions.

Which names and labels are made of it is told by the pages: our own (`metrics`) and OpenTelemetry's (`telemetry.page`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter

import msgspec

from trimtab.endpoint import Endpoint
from trimtab.gateway.figures import Bins
from trimtab.gateway.telemetry import facts
from trimtab.gateway.telemetry.facts import Place
from trimtab.gateway.telemetry.semconv import SECONDS, TOKENS
from trimtab.money import Usage
from trimtab.trace import Call

OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
# Operations whose answers say what they used.
METERED = frozenset(("chat", "text_completion", "embeddings"))
OTHER = "other"
_MOST_AGENTS = 64
_MOST_MODELS = 64
_MOST_SERIES = 1000
_KEY = attrgetter("endpoint", "operation", "request_model", "response_model", "end", "status")


class Series:
    """The calls of one endpoint, operation, pair of models and outcome. Tokens are sums by class, the cost is in
    nano-dollars; `input` and `output` are the tokens of each call."""

    __slots__ = (
        *("operation", "endpoint", "place", "model", "response_model", "end", "status", "error", "agents"),
        *("duration", "ttft", "overhead", "input", "output", "tokens", "cost", "priced"),
        *("unpriced", "unmetered", "estimated", "labels"),
    )

    def __init__(self, call: Call, place: Place) -> None:
        self.operation = call.operation
        self.endpoint = call.endpoint
        self.model = call.request_model
        self.response_model = call.response_model
        self.place = place
        self.end = call.end.value
        self.status = str(call.status)
        self.error = facts.error_of(call)
        self.agents: dict[str, int] = {}
        # As pages have written them, by version.
        self.labels: dict[str, tuple[str, str]] = {}
        self.duration, self.ttft = Bins(SECONDS), Bins(SECONDS)
        self.overhead = Bins(OVERHEAD_S)
        self.input, self.output = Bins(TOKENS), Bins(TOKENS)
        # Input, output, cache read, cache write, reasoning.
        self.tokens = [0, 0, 0, 0, 0]
        self.cost = self.priced = self.unpriced = self.unmetered = self.estimated = 0

    def use(self, usage: Usage, cost: int | None) -> None:
        """Count the tokens of one call."""
        taken = (usage.input_tokens, usage.output_tokens)
        self.input.observe(taken[0])
        self.output.observe(taken[1])
        tokens = self.tokens
        tokens[0] += taken[0]
        tokens[1] += taken[1]
        tokens[2] += usage.cache_read_tokens
        tokens[3] += usage.cache_write_tokens
        tokens[4] += usage.reasoning_tokens
        self.estimated += usage.estimated
        if cost is None:
            self.unpriced += 1
        else:
            self.cost += cost
            self.priced += 1


class Tally:
    """All series, bounded: names that clients and servers choose become `other` where they grow many.

    `endpoints` are looked up once for each series, for where they are.
    """

    def __init__(self) -> None:
        self.endpoints: Callable[[], Iterable[Endpoint]] = tuple
        self.series: dict[tuple[object, ...], Series] = {}
        self._agents: set[str] = set()
        self._models: set[str] = set()

    def count(self, call: Call, usage: Usage | None) -> None:
        """Count one finished call; `usage` None where the provider gave none."""
        series = self.series.get(_KEY(call)) or self._begun(call)
        agent = "" if call.derived else call.agent
        if agent in series.agents:
            series.agents[agent] += 1
        else:
            agent = self._agent(agent)
            series.agents[agent] = series.agents.get(agent, 0) + 1
        series.duration.observe(call.duration_ms / 1e3)
        if call.overhead_ms is not None:
            series.overhead.observe(call.overhead_ms / 1e3)
        if call.ttft_ms is not None:
            series.ttft.observe(call.ttft_ms / 1e3)
        if usage is not None:
            series.use(usage, call.cost_nanodollars)
        elif call.end == "complete" and call.operation in METERED:
            series.unmetered += 1

    def _agent(self, agent: str) -> str:
        if agent and len(self._agents) < _MOST_AGENTS:
            self._agents.add(agent)
        return agent if not agent or agent in self._agents else OTHER

    def _begun(self, call: Call) -> Series:
        """A new series, or the one that this call's belongs to."""
        named = call
        if not call.endpoint:
            # A model that nobody serves here could be any word.
            named = msgspec.structs.replace(call, request_model="", response_model="")
        elif call.response_model and call.response_model not in self._models:
            if len(self._models) < _MOST_MODELS:
                self._models.add(call.response_model)
            else:
                named = msgspec.structs.replace(call, response_model=OTHER)
        key = _KEY(named)
        if key not in self.series and len(self.series) >= _MOST_SERIES:
            named = msgspec.structs.replace(call, endpoint=OTHER, request_model=OTHER, response_model=OTHER, status=0)
            key = _KEY(named)
        if key not in self.series:
            self.series[key] = Series(named, self._place(named.endpoint))
        return self.series[key]

    def _place(self, name: str) -> Place:
        return next((facts.place(endpoint) for endpoint in self.endpoints() if endpoint.name == name), Place())
