"""Chat completions over real sockets: bytes, headers, money, and who asked."""

import json

import pytest

from tests.gateway.upstream import DONE, TEXT, USAGE, USAGE_CHUNK, WORDS, Script, answer
from trimtab.money import Usage
from trimtab.trace import EndState

ODD_BODY = (
    b'{ "zeta":[1,2.50,1e3], "model":"fake-model",\n "messages":['
    b'{"role":"user","content":"caf\\u00e9 \xc3\xa9","cache_control":{"b":1,"a":2}}] , "seed":7}\n'
)
HELLO = {"model": "fake-model", "messages": [{"role": "system", "content": "Sell."}, {"role": "user", "content": "hi"}]}
SALES = {"x-trimtab-workflow": "cars", "x-trimtab-agent": "sales", "x-trimtab-tags": "a=1"}
STREAM = {**HELLO, "stream": True}
# 400 fresh tokens at 2 dollars per million, 600 from the cache at 0.5, 10 out at 8.
COST = 400 * 2000 + 600 * 500 + 10 * 8000


def test_bytes_pass_both_ways(gateway):
    status, headers, body = gateway.ask(ODD_BODY)
    assert status == 200
    assert gateway.upstream.seen[0].body == ODD_BODY
    assert body == answer()
    assert headers["content-type"] == "application/json"


def test_a_stream_passes_byte_for_byte_when_usage_was_asked_for(gateway):
    asked = json.dumps({**STREAM, "stream_options": {"include_usage": True}}).encode()
    _, headers, body = gateway.ask(asked)
    assert gateway.upstream.seen[0].body == asked
    assert body == b"".join([*TEXT, USAGE_CHUNK, DONE])
    assert headers["content-type"] == "text/event-stream"


def test_the_extra_usage_chunk_is_hidden_from_who_did_not_ask(gateway):
    _, headers, body = gateway.ask(STREAM)
    assert gateway.upstream.seen[0].json["stream_options"] == {"include_usage": True}
    assert body == b"".join([*TEXT, DONE])
    call, _ = gateway.call(headers)
    assert call.raw_usage == USAGE


def test_our_headers_say_what_happened(gateway):
    _, headers, _ = gateway.ask({**HELLO, "model": "alias"})
    assert headers["x-trimtab-endpoint"] == "renamed"
    assert headers["x-trimtab-model"] == "fake-model"
    assert float(headers["x-trimtab-cost"]) == pytest.approx(COST / 1e9)
    assert 0 < float(headers["x-trimtab-overhead-ms"]) < 5000


def test_the_endpoints_model_goes_upstream(gateway):
    gateway.ask(b'{"model" : "alias", "x": 1}')
    assert gateway.upstream.seen[0].body == b'{"model" : "fake-model", "x": 1}'


@pytest.mark.parametrize("body", [HELLO, STREAM])
def test_a_call_is_recorded_whole(gateway, body):
    _, headers, _ = gateway.ask(
        body, {"x-trimtab-workflow": "cars", "x-trimtab-agent": "sales", "x-trimtab-tags": "a=1"}
    )
    call, payload = gateway.call(headers)
    assert (call.end, call.status, call.finish_reason) == (EndState.COMPLETE, 200, "stop")
    assert (call.workflow, call.agent, call.tags, call.derived) == ("cars", "sales", {"a": "1"}, False)
    assert (call.endpoint, call.request_model, call.response_model) == ("main", "fake-model", "fake-model")
    assert call.usage == Usage(input_tokens=1000, output_tokens=10, cache_read_tokens=600)
    assert (call.cost_nanodollars, call.price_table) == (COST, "test-1")
    assert (call.ttft_ms is not None) == call.stream == ("stream" in body)
    assert payload.request == body
    assert payload.response["choices"][0]["message"]["content"] == "".join(WORDS)


def test_an_unknown_price_is_unknown_and_counted(gateway):
    _, headers, _ = gateway.ask({**HELLO, "model": "nobody-knows"})
    assert "x-trimtab-cost" not in headers
    call, _ = gateway.call(headers)
    assert (call.cost_nanodollars, call.usage.input_tokens) == (None, 1000)
    assert b'trimtab_unknown_price_total{endpoint="unpriced",model="nobody-knows"}' in gateway.get("/metrics")[2]


def test_missing_usage_is_not_a_cost_of_zero(gateway):
    gateway.upstream.script = Script(body=answer(usage=None))
    _, headers, _ = gateway.ask(HELLO)
    call, _ = gateway.call(headers)
    assert (call.cost_nanodollars, call.raw_usage) == (None, None)


def test_own_headers_and_foreign_ones_on_the_way_up(gateway):
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {"x-trimtab-agent": "a", "Authorization": "Bearer sk-client", "X-Custom": "kept", "traceparent": traceparent}
    _, headers, _ = gateway.ask(HELLO, sent)
    seen = {name.lower(): value for name, value in gateway.upstream.seen[0].headers.items()}
    assert not [name for name in seen if name.startswith("x-trimtab")]
    assert (seen["authorization"], seen["x-custom"]) == ("Bearer sk-client", "kept")
    call, _ = gateway.call(headers)
    # No spans of ours are exported here: the caller's goes on. With a collector: telemetry/test_served.py.
    assert seen["traceparent"] == traceparent and call.parent_id == traceparent[36:52]
    assert (call.trace_id, call.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


KEYS = {"Authorization": "Bearer sk-client", "x-api-key": "k"}


def test_an_endpoints_own_key_replaces_the_clients(gateway):
    _, headers, _ = gateway.ask(
        {**HELLO, "model": "keyed-model"}, {"Authorization": "Bearer sk-client", "x-api-key": "k"}
    )
    seen = {name.lower(): value for name, value in gateway.upstream.seen[0].headers.items()}
    assert seen["authorization"] == "Bearer sk-of-the-gateway"
    assert "x-api-key" not in seen
    gateway.call(headers)
    stored = b"".join(path.read_bytes() for path in gateway.store.rglob("*") if path.is_file())
    assert b"sk-of-the-gateway" not in stored and b"sk-client" not in stored


def test_a_key_echoed_in_an_error_is_not_recorded(gateway):
    gateway.upstream.script = Script(status=401, body=b'{"error": {"message": "bad key zz-secret-zz"}}')
    _, headers, _ = gateway.ask(HELLO, {"Authorization": "Bearer zz-secret-zz"})
    assert gateway.call(headers)[0].error == "bad key ***"


def test_the_calls_of_a_session_are_one_trace(gateway):
    headers = [gateway.ask(HELLO, {"x-trimtab-session": "s-9"})[1] for _ in range(3)]
    assert len({one["x-trimtab-trace-id"] for one in headers}) == 1
    trace = gateway.trace(headers[0]["x-trimtab-trace-id"], calls=3)
    assert {call.session for call in trace.calls} == {"s-9"}
    assert len({call.agent for call in trace.calls}) == 1 and trace.calls[0].derived


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{not json", 400, "invalid_json"),
        (b'{"messages": []}', 400, "missing_model"),
        (b'{"model": 3}', 400, None),
        (b'{"model": "gpt-none"}', 404, "model_not_found"),
        (b'{"model": "fake-model", "x": "' + b"x" * 1_000_001 + b'"}', 413, "body_too_large"),
    ],
)
def test_refusals_have_openais_shape(gateway, body, status, code):
    got, headers, content = gateway.ask(body)
    error = json.loads(content)["error"]
    assert (got, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert gateway.upstream.seen == []
    call, _ = gateway.call(headers)
    assert (call.end, call.status) == (EndState.REFUSED, status)


def test_an_unknown_model_is_told_the_known_ones(gateway):
    message = json.loads(gateway.ask(b'{"model": "gpt-none"}')[2])["error"]["message"]
    assert "alias" in message and "nobody-knows" in message
