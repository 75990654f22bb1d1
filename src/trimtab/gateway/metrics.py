"""Metrics in Prometheus' text format, by hand. Labels are bounded, and never a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trimtab.endpoint import Endpoint
from trimtab.gateway.figures import Bins, Counter, Gauge, Labels
from trimtab.gateway.telemetry import page
from trimtab.gateway.telemetry.semconv import SECONDS
from trimtab.gateway.telemetry.series import METERED, OVERHEAD_S, Series, Tally
from trimtab.money import Usage
from trimtab.trace import Call

__all__ = ["METERED", "Counter", "Gauge", "Labels", "Meter"]

_CLASSES = ("input", "output", "cache_read", "cache_write", "reasoning")


class Meter:
    """Counts finished calls. `conventions` are the versions of OpenTelemetry's names that the page has beside ours."""

    def __init__(self) -> None:
        self.conventions: tuple[str, ...] = ("v1.36", "v0.1.0")
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
        self.shadows = Counter("trimtab_shadow_calls_total", "Calls asked a second time for a rollout, by their end.")
        self.shadow_drops = Counter("trimtab_shadow_dropped_total", "Calls not asked a second time, by reason.")
        self.shadow_cost = Counter("trimtab_shadow_cost_usd_total", "Cost of calls asked a second time, US dollars.")
        self.by_cache = Counter("trimtab_cache_calls_total", "Calls that a step which keeps answers saw, by state.")
        self.cache_saved = Counter(
            "trimtab_cache_saved_usd_total", "Cost of the calls that hits stood for, US dollars."
        )
        self.counters: list[Counter] = []
        self.gauges: list[Gauge] = []
        # Lines that others write themselves.
        self.pages: list[Callable[[], list[str]]] = []
        self._tally = Tally()

    def know(self, endpoints: Callable[[], Iterable[Endpoint]]) -> None:
        """Where endpoints are looked up."""
        self._tally.endpoints = endpoints

    def count(self, call: Call, usage: Usage | None) -> None:
        """Count one finished call; `usage` None where the provider gave none."""
        self._tally.count(call, usage)

    def cached(self, state: str, saved: int | None) -> None:
        """Count what a step that keeps answers made of a call, and the nano-dollars that it saved."""
        if state != "off":
            self.by_cache.add((("state", state),))
            if saved:
                self.cache_saved.add(amount=saved / 1e9)

    def text(self, recorder: dict[str, int]) -> str:
        """The whole page; `recorder` holds waiting, written, dropped and failed."""
        series = tuple(self._tally.series.values())
        figures = [part for part in vars(self).values() if isinstance(part, Counter)]
        parts: list[Counter | Gauge] = [*_sums(series), *figures, *self.counters, *self.gauges]
        lines = [line for part in parts for line in part.lines()]
        lines += _histogram(
            "trimtab_overhead_seconds",
            "The gateway's own time before an answer.",
            OVERHEAD_S,
            (one.overhead for one in series),
        )
        lines += _histogram(
            "trimtab_call_duration_seconds",
            "Time from a request to its end.",
            SECONDS,
            (one.duration for one in series),
        )
        for name, count in recorder.items():
            kind, suffix = ("gauge", "") if name == "waiting" else ("counter", "_total")
            lines += [f"# TYPE trimtab_recorder_{name}{suffix} {kind}", f"trimtab_recorder_{name}{suffix} {count}"]
        for write in self.pages:
            lines += write()
        return "\n".join([*lines, *page.lines(series, self.conventions)]) + "\n"


def _sums(series: Iterable[Series]) -> list[Counter]:
    """Our own counters of calls, added up from `series`."""
    calls = Counter("trimtab_calls_total", "Calls by how they ended.")
    tokens = Counter("trimtab_tokens_total", "Tokens by class; input includes what a cache read or wrote.")
    cost = Counter("trimtab_cost_usd_total", "Cost of priced calls in US dollars.")
    unpriced = Counter("trimtab_unknown_price_total", "Calls with usage whose model has no price.")
    unmetered = Counter("trimtab_usage_missing_total", "Complete calls for which no usage was given.")
    estimated = Counter("trimtab_usage_estimated_total", "Broken-off answers whose tokens were estimated.")
    for one in series:
        where: Labels = (("endpoint", one.endpoint), ("model", one.model))
        for agent, count in one.agents.items():
            calls.add((("end", one.end), ("status", one.status), *where, ("agent", agent)), count)
        for name, amount in zip(_CLASSES, one.tokens, strict=True):
            if amount:
                tokens.add((("class", name), *where), amount)
        if one.priced:
            cost.add(where, one.cost / 1e9)
        for counter, count in ((unpriced, one.unpriced), (unmetered, one.unmetered), (estimated, one.estimated)):
            if count:
                counter.add(where, count)
    return [calls, tokens, cost, unpriced, unmetered, estimated]


def _histogram(name: str, text: str, bounds: tuple[float, ...], parts: Iterable[Bins]) -> list[str]:
    whole = Bins(bounds)
    for part in parts:
        whole.add(part)
    return [f"# HELP {name} {text}", f"# TYPE {name} histogram", *whole.lines(name)]
