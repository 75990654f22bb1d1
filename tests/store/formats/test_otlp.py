"""OTLP: what our own exporter sends comes back, in JSON and in protobuf, and so does what others send."""

import json

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tests.store.formats.samples import ANSWER, MESSAGES, PRICES, QUESTION, REQUEST, RESPONSE, jsonl, one, read
from trimtab.errors import FormatError
from trimtab.gateway.telemetry import otlp
from trimtab.gateway.telemetry.facts import Place
from trimtab.gateway.telemetry.semconv import CONVENTIONS
from trimtab.money import Usage
from trimtab.store.formats import wire
from trimtab.trace import Call, EndState, Payload, Record

USAGE = Usage(input_tokens=100, output_tokens=10, cache_read_tokens=60, reasoning_tokens=4)
CALL = Call(
    id="call-1",
    trace_id="a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4",
    span_id="1a2b3c4d5e6f7a8b",
    parent_id="00f067aa0ba902b7",
    started_ns=1_763_812_800_123_456_789,
    duration_ms=1000.0,
    end=EndState.COMPLETE,
    workflow="dealership",
    agent="sales",
    session="s1",
    user="u1",
    request_model="gpt-4o",
    response_model="gpt-4o",
    finish_reason="stop",
    usage=USAGE,
)


def document(*spans, service="shop"):
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def protobuf(held):
    """Ids are hex digits in OTLP's JSON, and base64 in protobuf's own."""
    message = json_format.Parse(json.dumps(with_base64(held)), ExportTraceServiceRequest())
    return message.SerializeToString()


def with_base64(held):
    import base64

    if isinstance(held, dict):
        ids = ("traceId", "spanId", "parentSpanId")
        return {
            name: base64.b64encode(bytes.fromhex(one)).decode() if name in ids else with_base64(one)
            for name, one in held.items()
        }
    return [with_base64(one) for one in held] if isinstance(held, list) else held


def framed(data):
    return len(data).to_bytes(4, "big") + data


WRITTEN = {
    "json": lambda held: jsonl(held),
    "pretty": lambda held: json.dumps(held, indent=1).encode(),
    "protobuf": protobuf,
    "framed": lambda held: framed(protobuf(held)),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("version", list(CONVENTIONS))
def test_our_own_spans_come_back(tmp_path, version, written):
    record = Record(CALL, Payload("call-1", REQUEST, RESPONSE))
    span = json.loads(otlp.span(record, CONVENTIONS[version], Place(provider="openai"), bodies=True))
    call, payload, _ = one(tmp_path / "f", written(document(span)))
    for name in (
        "id",
        "trace_id",
        "span_id",
        "parent_id",
        "started_ns",
        "duration_ms",
        "end",
        "usage",
        "request_model",
    ):
        assert getattr(call, name) == pytest.approx(getattr(CALL, name)), name
    for name in ("workflow", "agent", "session", "user", "finish_reason", "response_model"):
        assert getattr(call, name) == getattr(CALL, name), name
    assert call.cost_nanodollars == PRICES.cost("gpt-4o", USAGE).nanodollars
    assert payload.request["messages"] == MESSAGES
    assert payload.response["choices"][0]["message"] == {"role": "assistant", "content": ANSWER}


def attributes(**held):
    def value(one):
        if isinstance(one, bool):
            return {"boolValue": one}
        if isinstance(one, int):
            return {"intValue": str(one)}
        if isinstance(one, list):
            return {"arrayValue": {"values": [value(item) for item in one]}}
        if isinstance(one, dict):
            return {"kvlistValue": {"values": [{"key": name, "value": value(item)} for name, item in one.items()]}}
        return {"stringValue": one}

    return [{"key": name.replace("__", "."), "value": value(one)} for name, one in held.items()]


def span(number, *, parent=None, name="chat", events=(), **held):
    made = {"traceId": "a" * 32, "spanId": f"{number:016x}", "name": name, "attributes": attributes(**held)}
    made |= {"startTimeUnixNano": str(10**18), "endTimeUnixNano": str(10**18 + 10**9), "events": list(events)}
    return made | ({"parentSpanId": f"{parent:016x}"} if parent else {})


GENAI = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "gpt-4o"}
COUNTED = GENAI | {"gen_ai__usage__input_tokens": 100, "gen_ai__usage__output_tokens": 10}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_agents_and_tools_are_no_calls_but_name_them(tmp_path, written):
    agent = {"gen_ai__operation__name": "invoke_agent", "gen_ai__agent__name": "sales"}
    tool = {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "find"}
    spans = (span(1, **agent), span(2, parent=1, **COUNTED), span(3, parent=1, **tool), span(4, http__route="/"))
    taken, report = read(tmp_path / "f", written(document(*spans)))
    ((record, _),) = taken
    assert (record.call.agent, record.call.workflow, record.call.usage.input_tokens) == ("sales", "shop", 100)
    assert sum(report.remarks.values()) == 3 and report.bad == 0


def test_tool_calls_in_parts_become_those_of_a_chat(tmp_path):
    call = {"type": "tool_call", "id": "c1", "name": "find", "arguments": {"make": "Volvo"}}
    answer = {"type": "tool_call_response", "id": "c1", "response": "[]"}
    asked = [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}, {"role": "tool", "parts": [answer]}]
    held = {
        "gen_ai__input__messages": asked,
        "gen_ai__output__messages": json.dumps([{"role": "assistant", "parts": [call], "finish_reason": "tool_call"}]),
        "gen_ai__system_instructions": [{"type": "text", "content": "You sell cars."}],
        "gen_ai__usage__cache_creation__input_tokens": 30,
    }
    read_call, payload, _ = one(tmp_path / "f", jsonl(document(span(1, **COUNTED, **held))))
    message = payload.response["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"make":"Volvo"}'}
    assert [one["role"] for one in payload.request["messages"]] == ["system", "user", "tool"]
    assert payload.request["messages"][2] == {"role": "tool", "content": "[]", "tool_call_id": "c1"}
    assert read_call.finish_reason == "tool_call" and read_call.usage.cache_write_tokens == 30


@pytest.mark.parametrize(
    "held",
    [
        {"gen_ai__prompt__0__role": "user", "gen_ai__prompt__0__content": QUESTION}
        | {"gen_ai__completion__0__role": "assistant", "gen_ai__completion__0__content": ANSWER},
        {"input__value": QUESTION, "output__value": ANSWER},
        {"events": [
            {"name": "gen_ai.user.message", "attributes": attributes(content=QUESTION)},
            {"name": "gen_ai.choice", "attributes": attributes(message=ANSWER, finish_reason="stop")},
        ]},
        {"events": [
            {"name": "gen_ai.content.prompt", "attributes": attributes(gen_ai__prompt=QUESTION)},
            {"name": "gen_ai.content.completion", "attributes": attributes(gen_ai__completion=ANSWER)},
        ]},
    ],
)  # fmt: skip
def test_older_ways_to_tell_what_was_said(tmp_path, held):
    older = {"gen_ai__system": "openai", "gen_ai__request__model": "gpt-4o", "gen_ai__usage__prompt_tokens": 7}
    call, payload, _ = one(tmp_path / "f", jsonl(document(span(1, **older, **held))))
    assert payload.request["messages"] == [{"role": "user", "content": QUESTION}]
    assert payload.response["choices"][0]["message"] == {"role": "assistant", "content": ANSWER}
    assert call.usage.input_tokens == 7 and call.operation == "chat"


def test_a_span_that_failed(tmp_path):
    failed = span(1, **GENAI, error__type="429") | {"status": {"code": 2, "message": "slow down"}}
    call, _, _ = one(tmp_path / "f", jsonl(document(failed)))
    assert (call.end, call.status, call.error) == (EndState.UPSTREAM_ERROR, 429, "slow down")


def test_a_file_of_requests_one_after_another_and_one_that_is_cut_off(tmp_path):
    data = [protobuf(document(span(number, **COUNTED))) for number in range(1, 4)]
    for joined in (b"".join(data), b"".join(map(framed, data))):
        taken, report = read(tmp_path / "f", joined)
        assert (len(taken), report.bad) == (3, 0)
        taken, report = read(tmp_path / "f", joined[:-20])
        assert (len(taken), report.bad) == (2, 1) and "cut off" in report.samples[0]


values = st.recursive(
    st.text(max_size=8)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def filled(message, value):
    """An AnyValue of opentelemetry-proto with `value`."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        message.int_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, list):
        message.array_value.SetInParent()
        for one in value:
            filled(message.array_value.values.add(), one)
    else:
        message.kvlist_value.SetInParent()
        for name, one in value.items():
            pair = message.kvlist_value.values.add()
            pair.key = name
            filled(pair.value, one)


@given(
    ids=st.tuples(*[st.binary(min_size=size, max_size=size) for size in (16, 8, 8)]),
    times=st.tuples(*[st.integers(0, 2**64 - 1)] * 2),
    held=st.dictionaries(st.text(max_size=9), values, max_size=5),
    named=st.text(max_size=9),
    failed=st.booleans(),
)
def test_the_wire_is_read_as_the_library_writes_it(ids, times, held, named, failed):
    message = ResourceSpans()
    for target in (message.resource, message.scope_spans.add().spans.add()):
        for name, value in held.items():
            pair = target.attributes.add()
            pair.key = name
            filled(pair.value, value)
    span = message.scope_spans[0].spans[0]
    span.trace_id, span.span_id, span.parent_span_id = ids
    span.start_time_unix_nano, span.end_time_unix_nano = times
    span.name, span.status.message, span.status.code = named, named, 2 if failed else 1
    event = span.events.add(name=named)
    event.attributes.add(key="k").value.string_value = named
    (read_span,) = wire.spans_of(message.SerializeToString())
    assert (read_span.attributes, read_span.resource) == (held, held)
    assert [read_span.trace_id, read_span.span_id, read_span.parent_id] == [one.hex() for one in ids]
    assert (read_span.start_ns, read_span.end_ns, read_span.name, read_span.message) == (*times, named, named)
    assert read_span.failed == failed and read_span.events[0].attributes == {"k": named}


@given(data=st.binary(max_size=200), place=st.integers(0, 10**6), piece=st.binary(max_size=4))
def test_no_bytes_break_the_wire(data, place, piece):
    good = protobuf(document(span(1, **COUNTED)))
    place %= len(good)
    for held in (data, good[:place] + piece + good[place + len(piece) :], good[place:]):
        try:
            wire.spans_of(held)
        except FormatError as error:
            assert str(error)
