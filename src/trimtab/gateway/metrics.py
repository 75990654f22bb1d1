"""Metrics in Prometheus' text format, by hand. Labels are bounded, and never a session."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

from trimtab.money import Usage
from trimtab.trace import Call

_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
# The doubling buckets of OpenTelemetry's GenAI conventions.
_DURATION_S = tuple(0.01 * 2**step for step in range(14))
_MAX_AGENTS = 64
_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")

Labels = tuple[tuple[str, str], ...]


class Counter:
    """A sum per label set."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sums: defaultdict[Labels, float] = defaultdict(float)

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        self.sums[labels] += amount

    def lines(self) -> list[str]:
        head = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} counter"]
        return head + [f"{self.name}{_braces(labels)} {amount:.12g}" for labels, amount in self.sums.items()]


class Gauge:
    """A figure per label set, read when the page is."""

    def __init__(self, name: str, text: str, read: Callable[[], dict[Labels, float]]) -> None:
        self.name = name
        self.text = text
        self.read = read

    def lines(self) -> list[str]:
        head = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} gauge"]
        return head + [f"{self.name}{_braces(labels)} {amount:.12g}" for labels, amount in self.read().items()]


class Histogram:
    """Counts per bucket, in seconds."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self.name = name
        self.text = text
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def lines(self) -> list[str]:
        lines = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} histogram"]
        below = 0
        for bound, count in zip((*(f"{bound:g}" for bound in self.bounds), "+Inf"), self.counts, strict=True):
            below += count
            lines.append(f'{self.name}_bucket{{le="{bound}"}} {below}')
        return [*lines, f"{self.name}_sum {self.total:.9g}", f"{self.name}_count {below}"]


# Operations whose answers say what they used.
METERED = frozenset(("chat", "text_completion", "embeddings"))


class Meter:
    """Counts finished calls."""

    def __init__(self) -> None:
        self.calls = Counter("trimtab_calls_total", "Calls by how they ended.")
        self.tokens = Counter("trimtab_tokens_total", "Tokens by class; input includes what a cache read or wrote.")
        self.cost = Counter("trimtab_cost_usd_total", "Cost of priced calls in US dollars.")
        self.unpriced = Counter("trimtab_unknown_price_total", "Calls with usage whose model has no price.")
        self.unmetered = Counter("trimtab_usage_missing_total", "Complete calls for which no usage was given.")
        self.estimated = Counter("trimtab_usage_estimated_total", "Broken-off answers whose tokens were estimated.")
        self.step_errors = Counter("trimtab_step_errors_total", "Times a step failed and was passed over.")
        self.retries = Counter("trimtab_retries_total", "Times an endpoint was asked again, by what it answered.")
        self.fallbacks = Counter("trimtab_fallbacks_total", "Answers by another endpoint than the first choice.")
        self.refusals = Counter("trimtab_refusals_total", "Calls refused by a key or its limits, by reason.")
        self.unpriced_reservations = Counter(
            "trimtab_unpriced_reservations_total", "Calls of keys with a budget whose model has no price: 0 reserved."
        )
        self.ledger_busy = Counter("trimtab_ledger_busy_total", "Times the key database was held by another process.")
        self.uncharged = Counter("trimtab_uncharged_total", "Calls never charged to their keys: no key database.")
        self.refused = Counter("trimtab_connections_refused_total", "Clients refused before they asked, by reason.")
        self.overhead = Histogram("trimtab_overhead_seconds", "The gateway's own time before an answer.", _OVERHEAD_S)
        self.duration = Histogram("trimtab_call_duration_seconds", "Time from a request to its end.", _DURATION_S)
        self.counters: list[Counter] = []
        self.gauges: list[Gauge] = []
        self._agents: set[str] = set()

    def count(self, call: Call, usage: Usage | None) -> None:
        """Count one finished call; `usage` None where the provider gave none."""
        place: Labels = (("endpoint", call.endpoint), ("model", call.request_model if call.endpoint else ""))
        self.calls.add((("end", call.end.value), ("status", str(call.status)), *place, ("agent", self._agent(call))))
        self.duration.observe(call.duration_ms / 1e3)
        if call.overhead_ms is not None:
            self.overhead.observe(call.overhead_ms / 1e3)
        if usage is None:
            if call.end == "complete" and call.operation in METERED:
                self.unmetered.add(place)
            return
        if usage.estimated:
            self.estimated.add(place)
        for name in _TOKENS:
            if amount := getattr(usage, name):
                self.tokens.add((("class", name.removesuffix("_tokens")), *place), amount)
        if call.cost_nanodollars is None:
            self.unpriced.add(place)
        else:
            self.cost.add(place, call.cost_nanodollars / 1e9)

    def _agent(self, call: Call) -> str:
        """The agent's name while there are few; clients choose them, so the rest is 'other'."""
        if call.derived or not call.agent:
            return ""
        if len(self._agents) < _MAX_AGENTS:
            self._agents.add(call.agent)
        return call.agent if call.agent in self._agents else "other"

    def text(self, recorder: dict[str, int]) -> str:
        """The whole page; `recorder` holds waiting, written, dropped and failed."""
        figures = [part for part in vars(self).values() if isinstance(part, Counter | Histogram)]
        lines = [line for part in (*figures, *self.counters, *self.gauges) for line in part.lines()]
        for name, count in recorder.items():
            kind, suffix = ("gauge", "") if name == "waiting" else ("counter", "_total")
            lines += [f"# TYPE trimtab_recorder_{name}{suffix} {kind}", f"trimtab_recorder_{name}{suffix} {count}"]
        return "\n".join(lines) + "\n"


def _braces(labels: Labels) -> str:
    quoted = (f'{name}="{_escaped(held)}"' for name, held in labels)
    return "{" + ",".join(quoted) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
