"""Page: OpenTelemetry's GenAI metrics as Prometheus reads them, in each version that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trimtab.gateway.figures import Bins, joined
from trimtab.gateway.telemetry.semconv import CONVENTIONS, Convention, Instrument
from trimtab.gateway.telemetry.series import METERED, Series

_BINS = {"duration": "duration", "ttft": "ttft", "input_tokens": "input", "output_tokens": "output"}
_SUMS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")

# A series with its labels, without and with its error.
_Shown = list[tuple[Series, str, str]]


def lines(series: Iterable[Series], versions: Iterable[str]) -> list[str]:
    """All instruments of `versions`. A call that no endpoint answered is no operation of a model."""
    answered = [one for one in series if one.endpoint and one.operation in METERED]
    made: list[str] = []
    for version in dict.fromkeys(versions):
        convention = CONVENTIONS[version]
        shown = [(one, *_labels(convention, one)) for one in answered]
        begun = ""
        for instrument in convention.instruments:
            samples = list(_samples(instrument, shown))
            if samples and instrument.page_name != begun:
                begun = instrument.page_name
                made += [f"# HELP {begun} {instrument.text}", f"# TYPE {begun} {instrument.kind}"]
            made += samples
    return made


def _samples(instrument: Instrument, shown: _Shown) -> Iterator[str]:
    """Of series with the same labels one sample: two endpoints may be at one place."""
    name, own = instrument.page_name, joined(instrument.labels)
    own = f",{own}" if own else ""
    if instrument.kind == "counter":
        at = _SUMS.index(instrument.measure)
        sums: dict[str, int] = {}
        for one, labels, _ in shown:
            if one.tokens[at] and one.operation in instrument.operations:
                sums[labels] = sums.get(labels, 0) + one.tokens[at]
        yield from (f"{name}{{{labels}{own}}} {amount}" for labels, amount in sums.items())
        return
    merged: dict[str, Bins] = {}
    field = _BINS[instrument.measure]
    for one, labels, with_error in shown:
        bins: Bins = getattr(one, field)
        if one.operation in instrument.operations and any(bins.counts):
            key = with_error if field == "duration" else labels
            if key not in merged:
                merged[key] = Bins(bins.bounds)
            merged[key].add(bins)
    for labels, bins in merged.items():
        yield from bins.lines(name, labels + own)


def _labels(convention: Convention, one: Series) -> tuple[str, str]:
    """Without and with the error; written once for each series."""
    if convention.version not in one.labels:
        told = {
            "operation": one.operation,
            "provider": convention.provider(one.place.provider),
            "request_model": one.model,
            "response_model": one.response_model,
            "server_address": one.place.address,
            "server_port": one.place.port,
        }
        one.labels[convention.version] = (
            _joined(convention.attributes(told)),
            _joined(convention.attributes({**told, "error": one.error})),
        )
    return one.labels[convention.version]


def _joined(named: Mapping[str, Any]) -> str:
    return joined(tuple((name.replace(".", "_"), str(held)) for name, held in named.items()))
