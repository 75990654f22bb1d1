"""Prometheus' text, and labels that stay few."""

from trimtab.gateway.metrics import Meter
from trimtab.money import Usage
from trimtab.trace import Call, EndState


def call(**fields):
    known = {"id": "c", "trace_id": "t", "span_id": "s", "started_ns": 0, "duration_ms": 15.0, "end": EndState.COMPLETE}
    return Call(**{**known, "endpoint": "e", "request_model": "m", **fields})


COUNTS = {"waiting": 1, "written": 2, "dropped": 3, "failed": 4}


def test_every_figure_is_there():
    meter = Meter()
    usage = Usage(input_tokens=10, output_tokens=3, cache_read_tokens=4)
    meter.count(call(cost_nanodollars=2_000_000, overhead_ms=0.4, agent="sales"), usage)
    meter.count(call(end=EndState.CUT), None)
    lines = meter.text(COUNTS).splitlines()
    for line in (
        'trimtab_calls_total{end="complete",status="200",endpoint="e",model="m",agent="sales"} 1',
        'trimtab_calls_total{end="cut",status="200",endpoint="e",model="m",agent=""} 1',
        'trimtab_tokens_total{class="cache_read",endpoint="e",model="m"} 4',
        'trimtab_cost_usd_total{endpoint="e",model="m"} 0.002',
        'trimtab_overhead_seconds_bucket{le="0.00025"} 0',
        'trimtab_overhead_seconds_bucket{le="0.0005"} 1',
        "trimtab_overhead_seconds_count 1",
        'trimtab_call_duration_seconds_bucket{le="+Inf"} 2',
        "trimtab_recorder_waiting 1",
        "trimtab_recorder_dropped_total 3",
    ):
        assert line in lines


def test_labels_do_not_grow_with_what_clients_write():
    meter = Meter()
    for number in range(500):
        meter.count(call(agent=f"agent-{number}", session=f"session-{number}"), None)
        meter.count(call(agent=f"fp-{number}", derived=True), None)
        meter.count(call(endpoint="", request_model=f"unknown-{number}", end=EndState.REFUSED, status=404), None)
    text = meter.text(COUNTS)
    assert len(text.splitlines()) < 200
    assert "session-" not in text and "fp-" not in text and "unknown-" not in text


def test_names_with_quotes_cannot_break_the_page():
    meter = Meter()
    meter.count(call(agent='a"b\\c\nd'), None)
    assert 'agent="a\\"b\\\\c\\nd"' in meter.text(COUNTS)
