"""On every path bytes go through untouched, both ways; the trace, the cost and the end are right."""

import json

import pytest

from tests.gateway.dialects.answers import (
    ANTHROPIC_USAGE,
    CALL_ITEM,
    EMBEDDINGS,
    TEXT_ITEM,
    TEXT_USAGE,
    THINKING,
    TOOL_USE,
    WORDS,
    completion,
    completion_events,
    message,
    message_events,
    plain,
    response,
    response_events,
)
from tests.gateway.upstream import Script
from trimtab.money import Usage
from trimtab.trace import EndState

MESSAGES = (
    b'{"model" : "claude-fake","max_tokens":  9, "messages":[{"role":"user","content":[{"type":"text",\n '
    b'"text":"h\\u0069","cache_control":{"type":"ephemeral"}}]}], "unknown":1.0%s }'
)
RESPONSES = b'{"model" : "gpt-fake", "input":"hi",  "previous_response_id":"resp_0", "store":false%s,"x":[1.0] }\n'
TOOLS = b', "tools":[{"name":"find_car","input_schema":{}}]'
STREAM = b', "stream": true'

# path, request, what the upstream answers, usage, nano-dollars, operation, finish
PLAIN = {
    "messages": (
        "/v1/messages",
        MESSAGES % b"",
        plain(message([THINKING, TOOL_USE], "tool_use")),
        Usage(input_tokens=1000, output_tokens=10, cache_read_tokens=600, cache_write_tokens=100),
        300 * 2000 + 600 * 500 + 100 * 4000 + 10 * 8000,
        "chat",
        "tool_use",
    ),
    "count": (
        "/v1/messages/count_tokens",
        MESSAGES % TOOLS,
        b'{"input_tokens" : 42}',
        Usage(),
        None,
        "count_tokens",
        None,
    ),
    "responses": (
        "/v1/responses",
        RESPONSES % b"",
        plain(response()),
        Usage(input_tokens=1000, output_tokens=10, cache_read_tokens=600, reasoning_tokens=4),
        400 * 2000 + 600 * 500 + 10 * 8000,
        "chat",
        "completed",
    ),
    "embeddings": (
        "/v1/embeddings",
        b'{"input": ["a", [1,2]],"model":"embed-fake", "dimensions":2 }',
        plain(EMBEDDINGS),
        Usage(input_tokens=1000),
        1000 * 2000,
        "embeddings",
        None,
    ),
    "completions": (
        "/v1/completions",
        b'{"prompt" :"a","model":"text-fake", "echo" : true}',
        plain(completion()),
        Usage(input_tokens=1000, output_tokens=10),
        1000 * 2000 + 10 * 8000,
        "text_completion",
        "stop",
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain(gateway, name):
    path, body, answer, usage, cost, operation, finish = PLAIN[name]
    gateway.upstream.script = Script(body=answer, headers={"x-request-id": "r1"})
    status, headers, content = gateway.ask(body, path=path)
    assert (status, content, headers["x-request-id"]) == (200, answer, "r1")
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.body) == (path, body)
    call, payload = gateway.call(headers)
    assert (call.end, call.operation, call.finish_reason) == (EndState.COMPLETE, operation, finish)
    assert (call.usage, call.cost_nanodollars) == (usage, cost)
    assert payload.response == json.loads(answer)


STREAMS = {
    "messages": ("/v1/messages", MESSAGES % STREAM, message_events([THINKING, {"type": "text"}, TOOL_USE], "tool_use")),
    "responses": ("/v1/responses", RESPONSES % STREAM, response_events([TEXT_ITEM, CALL_ITEM])),
    "completions": (
        "/v1/completions",
        b'{"prompt":"a","model":"text-fake","stream":true,"stream_options":{"include_usage":true}}',
        completion_events(),
    ),
}
WHOLE = {
    "messages": message([THINKING, {"type": "text", "text": "".join(WORDS)}, TOOL_USE], "tool_use"),
    "responses": response([TEXT_ITEM, CALL_ITEM]),
    "completions": completion(),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams(gateway, name):
    path, body, events = STREAMS[name]
    gateway.upstream.script = Script(events=events)
    status, headers, content = gateway.ask(body, path=path)
    assert (status, content) == (200, b"".join(events))
    assert gateway.upstream.seen[0].body == body
    call, payload = gateway.call(headers)
    usage, cost, operation, finish = PLAIN[name][3:]
    assert (call.end, call.stream, call.operation, call.finish_reason) == (EndState.COMPLETE, True, operation, finish)
    assert (call.usage, call.cost_nanodollars) == (usage, cost)
    expected = {**WHOLE[name], "choices": [dict(c.items()) for c in WHOLE[name].get("choices", [])]}
    assert payload.response == (expected if name == "completions" else WHOLE[name])


def test_usage_that_the_client_did_not_ask_for_is_hidden_from_completions(gateway):
    body = {"prompt": "a", "model": "text-fake", "stream": True}
    _, headers, content = gateway.ask(body, path="/v1/completions")
    assert gateway.upstream.seen[0].json["stream_options"] == {"include_usage": True}
    assert content == b"".join(completion_events(usage=False))
    assert gateway.call(headers)[0].raw_usage == TEXT_USAGE


def test_the_models_name_alone_is_replaced(gateway):
    gateway.ask(MESSAGES.replace(b"claude-fake", b"sonnet") % STREAM, path="/v1/messages?beta=true")
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.body) == ("/v1/messages?beta=true", MESSAGES % STREAM)


CUTS = {
    "messages": (10, "claude-fake", "/v1/messages"),
    "responses": (8, "gpt-fake", "/v1/responses"),
    "completions": (4, "text-fake", "/v1/completions"),
}


@pytest.mark.parametrize("ending", ["close", "abort", "last-alone"])
@pytest.mark.parametrize("name", CUTS)
def test_a_stream_that_breaks_off_ends_as_cut_with_an_error_event(gateway, name, ending):
    count, model, path = CUTS[name]
    events = STREAMS[name][2]
    kept = events[:count]
    # A last event that comes before the answer said why it ended; a response's last event always says it.
    lone = ending == "last-alone" and name != "responses"
    script = [*kept, events[-1]] if lone else kept
    gateway.upstream.script = Script(events=script, end="abort" if ending == "abort" else "close", pause_s=0.01)
    _, headers, content = gateway.ask({"model": model, "stream": True, "prompt": "a"}, path=path)
    assert content.startswith(b"".join(kept))
    assert events[-1] not in content
    tail = content[len(b"".join(kept)) :]
    error = json.loads(tail.partition(b"data: ")[2])
    assert "before the answer was whole" in error["error"]["message"]
    if name == "completions":
        assert tail.startswith(b"data: ")
    else:
        assert tail.startswith(b"event: error\n") and error["type"] == "error"
    call, payload = gateway.call(headers)
    assert call.end is EndState.CUT and call.error
    assert WORDS[0] in json.dumps(payload.response) or name == "messages"


def test_usage_of_a_cut_message_is_what_came(gateway):
    gateway.upstream.script = Script(events=message_events()[:6])
    _, headers, _ = gateway.ask({"model": "claude-fake", "stream": True}, path="/v1/messages")
    call, payload = gateway.call(headers)
    assert (call.usage.input_tokens, call.usage.estimated) == (1000, True)
    assert call.raw_usage == {**ANTHROPIC_USAGE, "output_tokens": 1}
    assert payload.response["content"] == [{"type": "text", "text": "".join(WORDS[:3])}]


@pytest.mark.parametrize(
    ("path", "model", "error"),
    [
        ("/v1/messages", "claude-fake", {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
        ("/v1/responses", "gpt-fake", {"type": "error", "code": "server_error", "message": "busy"}),
        (
            "/v1/responses",
            "gpt-fake",
            {"type": "response.failed", "response": response([], "failed", error={"message": "busy"})},
        ),
    ],
)
@pytest.mark.parametrize("place", [0, 9])
def test_error_events_end_a_stream_before_and_after_its_first_word(gateway, path, model, error, place):
    events = (message_events() if "messages" in path else response_events())[:place]
    gateway.upstream.script = Script(events=[*events, event_of(error)])
    status, headers, content = gateway.ask({"model": model, "stream": True}, path=path)
    call, _ = gateway.call(headers)
    assert (call.end, call.error) == (EndState.UPSTREAM_ERROR, "busy")
    assert (
        content == b"".join([*events, event_of(error)]) if place else json.loads(content)["error"]["message"] == "busy"
    )
    assert status == (200 if place else 529 if "messages" in path else 502)


def event_of(value):
    return b"event: " + value["type"].encode() + b"\ndata: " + json.dumps(value).encode() + b"\n\n"


def test_an_incomplete_response_is_whole_and_says_why(gateway):
    events = response_events(
        [TEXT_ITEM], "response.incomplete", status="incomplete", incomplete_details={"reason": "max_output_tokens"}
    )
    gateway.upstream.script = Script(events=events)
    _, headers, content = gateway.ask({"model": "gpt-fake", "stream": True}, path="/v1/responses")
    call, _ = gateway.call(headers)
    assert (content, call.end, call.finish_reason) == (b"".join(events), EndState.COMPLETE, "max_output_tokens")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error"), (500, "api_error")],
)
def test_errors_of_messages_have_their_shape(gateway, status, kind):
    gateway.upstream.script = Script(status=status, body=b"<html>", headers={"Content-Type": "text/html"})
    got, _headers, content = gateway.ask({"model": "claude-fake"}, path="/v1/messages")
    error = json.loads(content)
    assert (got, error["type"], error["error"]["type"]) == (status, "error", kind)
    assert "look at its own log" in error["error"]["message"]


def test_refusals_have_the_shape_of_the_dialect(gateway):
    status, _, content = gateway.ask({"model": "none"}, path="/v1/messages")
    assert (status, json.loads(content)["error"]["type"]) == (404, "not_found_error")
    status, _, content = gateway.ask(b"{", path="/v1/messages/count_tokens")
    assert (status, json.loads(content)["error"]["type"]) == (400, "invalid_request_error")
    status, _, content = gateway.ask({"model": "none"}, path="/v1/embeddings")
    assert (status, json.loads(content)["error"]["code"]) == (404, "model_not_found")


def test_a_servers_other_face_is_asked_in_its_own_dialect(gateway):
    for path, name in (("/v1/responses", "two-responses"), ("/v1/chat/completions", "two")):
        status, headers, _ = gateway.ask({"model": "two-faced", "input": "a", "messages": []}, path=path)
        assert (status, headers["x-trimtab-endpoint"], gateway.upstream.seen[-1].path) == (200, name, path)


def test_a_fallback_answers_in_messages_too(gateway):
    status, headers, content = gateway.ask({"model": "dead", "stream": True}, path="/v1/messages")
    assert (status, headers["x-trimtab-fallback"], content) == (200, "true", b"".join(message_events()))


def test_keys_go_where_the_dialect_looks_for_them(gateway):
    theirs = {"x-api-key": "sk-client", "anthropic-version": "2024-01-01", "anthropic-beta": "b1"}
    gateway.ask({"model": "claude-keyed"}, headers=theirs, path="/v1/messages")
    gateway.ask({"model": "claude-fake"}, headers=theirs, path="/v1/messages")
    gateway.ask({"model": "claude-keyed"}, headers={"Authorization": "Bearer sk-client"}, path="/v1/messages")
    ours, passed, plain_ = (seen.headers for seen in gateway.upstream.seen)
    assert (ours["x-api-key"], ours["anthropic-version"], ours["anthropic-beta"]) == (
        "sk-of-the-gateway",
        "2024-01-01",
        "b1",
    )
    assert passed["x-api-key"] == "sk-client"
    assert (plain_["x-api-key"], plain_["anthropic-version"]) == ("sk-of-the-gateway", "2023-06-01")
    assert "Authorization" not in plain_


def test_agents_are_told_apart_by_their_instructions(gateway):
    asked = [
        ("/v1/messages", {"model": "claude-fake", "system": "You sell cars."}),
        ("/v1/messages", {"model": "claude-fake", "tools": [{"name": "find_car"}]}),
        ("/v1/responses", {"model": "gpt-fake", "instructions": "You buy cars."}),
    ]
    agents = [gateway.call(gateway.ask(body, path=path)[1])[0].agent for path, body in asked]
    assert len(set(agents)) == 3 and all(agent.startswith("fp-") for agent in agents)
