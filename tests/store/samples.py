"""Records to write."""

from trimtab.money import Usage
from trimtab.trace import Call, EndState, Payload, Record

NOON_NS = 1_763_812_800 * 10**9  # 2025-11-22 12:00 UTC


def make_record(number, *, trace="t", body=True, **fields):
    values = {
        "id": f"call-{number}",
        "trace_id": trace,
        "span_id": f"span-{number}",
        "started_ns": NOON_NS + number * 10**9,
        "duration_ms": 250.5,
        "end": EndState.COMPLETE,
        "workflow": "dealership",
        "agent": "sales",
        "session": "s",
        "usage": Usage(input_tokens=100, output_tokens=7, cache_read_tokens=40),
        "cost_nanodollars": 1_000,
        "price_table": "v1",
    } | fields
    call = Call(**values)
    request = {"model": "m", "messages": [{"role": "user", "content": f"number {number}"}]}
    response = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
    return Record(call, Payload(call.id, request, response) if body else None)
