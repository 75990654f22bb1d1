"""Page: OpenTelemetry's GenAI metrics as Prometheus reads them, in each version that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trimtab.gateway.figures import Bins, Labels, braces
from trimtab.gateway.telemetry.semconv import CONVENTIONS, Convention, Instrument
from trimtab.gateway.telemetry.series import METERED, Series

_BINS = {"duration": "duration", "ttft": "ttft", "input_tokens": "input", "output_tokens": "output"}
_SUMS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def lines(series: Iterable[Series], versions: Iterable[str]) -> list[str]:
    """All instruments of `versions`. A call that no endpoint answered is no operation of a model."""
    shown = [one for one in series if one.endpoint and one.operation in METERED]
    made: list[str] = []
    for version in dict.fromkeys(versions):
        convention = CONVENTIONS[version]
        begun = ""
        for instrument in convention.instruments:
            samples = list(_samples(convention, instrument, shown))
            if samples and instrument.page_name != begun:
                begun = instrument.page_name
                made += [f"# HELP {begun} {instrument.text}", f"# TYPE {begun} {instrument.kind}"]
            made += samples
    return made


def _samples(convention: Convention, instrument: Instrument, shown: Iterable[Series]) -> Iterator[str]:
    name = instrument.page_name
    if instrument.kind == "counter":
        at = _SUMS.index(instrument.measure)
        sums: dict[Labels, int] = {}
        for one in shown:
            if one.operation in instrument.operations and one.tokens[at]:
                labels = _labels(convention, instrument, one)
                sums[labels] = sums.get(labels, 0) + one.tokens[at]
        yield from (f"{name}{braces(labels)} {amount}" for labels, amount in sums.items())
        return
    merged: dict[Labels, Bins] = {}
    for one in shown:
        bins: Bins = getattr(one, _BINS[instrument.measure])
        if one.operation in instrument.operations and any(bins.counts):
            labels = _labels(convention, instrument, one)
            merged.setdefault(labels, Bins(bins.bounds)).add(bins)
    for labels, bins in merged.items():
        yield from bins.lines(name, labels)


def _labels(convention: Convention, instrument: Instrument, one: Series) -> Labels:
    told: dict[str, Any] = {
        "operation": one.operation,
        "provider": convention.provider(one.place.provider),
        "request_model": one.model,
        "response_model": one.response_model,
        "server_address": one.place.address,
        "server_port": one.place.port,
        "error": one.error if instrument.measure == "duration" else "",
    }
    named = convention.attributes(told).items()
    return (*((name.replace(".", "_"), str(held)) for name, held in named), *instrument.labels)
