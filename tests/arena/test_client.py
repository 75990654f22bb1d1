import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from tests.arena.endpoint import Endpoint, completion, events, stream
from trimtab.arena.client import Caller, Target
from trimtab.errors import UpstreamError

CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "store_info", "arguments": '{"topic": "hours"}'}}
    ],
}
USAGE = {"prompt_tokens": 40, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 16}}


def ask(broken, stream=True, **target):
    """(message, caller, endpoint) of one move against an endpoint that answers by `broken`."""

    async def once():
        async with Endpoint(broken).open() as endpoint, aiohttp.ClientSession() as http:
            caller = Caller(http, Target(endpoint.url, "m", stream=stream, **target), "s.0", noted.append)
            messages = [{"role": "user", "content": "hello"}]
            return await caller.act("triage", messages, [{"type": "function"}]), caller, endpoint

    noted = []
    message, caller, endpoint = asyncio.run(once())
    return message, caller, endpoint, noted


def plain(whole):
    async def broken(request, body):
        return web.json_response(whole)

    return broken


def streamed(*datas, drop=False):
    async def broken(request, body):
        return await stream(request, datas, drop)

    return broken


def either(message, usage=None):
    async def broken(request, body):
        if body.get("stream"):
            return await stream(request, events(message, usage))
        return web.json_response(completion(message, usage))

    return broken


@pytest.mark.parametrize("asked_as_stream", [True, False])
@pytest.mark.parametrize("message", [CALL, {"role": "assistant", "content": "Which day suits you?"}])
def test_an_answer_is_the_same_streamed_and_whole(asked_as_stream, message):
    got, caller, endpoint, noted = ask(either(message, USAGE), asked_as_stream)
    assert got == message
    assert (caller.used.calls, caller.used.input_tokens) == (1, 40)
    assert (caller.used.output_tokens, caller.used.cached_tokens) == (9, 16)
    assert endpoint.asked[0][1].get("stream", False) is asked_as_stream
    assert len(noted) == 1
    assert noted[0].startswith("triage: ")


def test_a_request_says_whose_it_is(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-1")
    _, caller, endpoint, _ = ask(either(CALL), key_env="SOME_KEY", temperature=0.5, max_tokens=7)
    headers, body, _ = endpoint.asked[0]
    assert headers["x-trimtab-workflow"] == "dealership"
    assert headers["x-trimtab-agent"] == "triage"
    assert headers["x-trimtab-session"] == "s.0"
    assert headers["traceparent"].split("-")[1] == caller.trace_id
    assert headers["authorization"] == "Bearer sk-1"
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.5, 7, "m")


def test_no_usage_counts_no_tokens_but_the_call():
    _, caller, _, _ = ask(either(CALL), stream=False)
    assert (caller.used.calls, caller.used.input_tokens) == (1, 0)


def test_unknown_fields_of_a_tool_call_go_back_as_they_came():
    odd = json.loads(json.dumps(CALL))
    odd["tool_calls"][0]["extra_content"] = {"signature": "abc"}
    got, *_ = ask(plain(completion(odd)), stream=False)
    assert got["tool_calls"] == odd["tool_calls"]


def test_arguments_as_an_object_and_a_missing_id_are_remarks():
    odd = {"content": None, "tool_calls": [{"function": {"name": "store_info", "arguments": {"topic": "hours"}}}]}
    got, *_ = ask(plain(completion(odd)), stream=False)
    call = got["tool_calls"][0]
    assert got["content"] == ""
    assert call["id"]
    assert json.loads(call["function"]["arguments"]) == {"topic": "hours"}


def test_malformed_arguments_stay_for_the_tool_to_refuse():
    odd = json.loads(json.dumps(CALL))
    odd["tool_calls"][0]["function"]["arguments"] = '{"topic": '
    got, *_ = ask(plain(completion(odd)), stream=False)
    assert got["tool_calls"][0]["function"]["arguments"] == '{"topic": '


def test_content_in_parts_is_joined():
    parts = [{"type": "text", "text": "Good "}, {"type": "text", "text": "day."}]
    got, *_ = ask(plain(completion({"role": "assistant", "content": parts})), stream=False)
    assert got["content"] == "Good day."


def with_arguments(text):
    odd = json.loads(json.dumps(CALL))
    odd["tool_calls"][0]["function"]["arguments"] = text
    return completion(odd)


@pytest.mark.parametrize(
    "whole",
    [
        [],
        "text",
        None,
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"index": 0}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"tool_calls": [{}]}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"name": 3}}]}}]},
        {"choices": [{"message": {"tool_calls": "store_info"}}]},
        {**completion(CALL), "usage": {"prompt_tokens": "many"}},
        with_arguments('{"topic": "\\ud800"}'),
        with_arguments("[" * 5000 + "]" * 5000),
    ],
)
def test_an_answer_of_another_shape_is_an_upstream_error(whole):
    with pytest.raises(UpstreamError) as error:
        ask(plain(whole), stream=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (500, '{"error": {"message": "the model\\nfell over"}}', "answered 500: the model fell over"),
        (429, '{"error": "slow down"}', 'answered 429: {"error": "slow down"}'),
        (502, "<html>\n<h1>Bad gateway</h1>", "answered 502: <html> <h1>Bad gateway</h1>"),
        (404, "", "answered 404: no text"),
        (500, b"\xff\xfe\xff", "answered 500"),
        (200, "<html>hello</html>", "no JSON"),
        (200, '{"choices": [{"mess', "no JSON"),
        (200, "", "no JSON"),
    ],
)
def test_an_error_of_the_server_names_status_and_reason(status, text, reason):
    async def broken(request, body):
        raw = text if isinstance(text, bytes) else text.encode()
        return web.Response(status=status, body=raw, content_type="application/json")

    with pytest.raises(UpstreamError) as error:
        ask(broken, stream=False)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (streamed(*events(CALL)[:3]), "cut"),
        (streamed(*events(CALL)[:3], b"[DONE]"), "cut"),
        (streamed(*events(CALL)[:3], drop=True), "does not answer"),
        (streamed(), "cut"),
        (streamed(events(CALL)[0], b'{"choices": [{"del'), "no JSON"),
        (streamed(events(CALL)[0], b"[1, 2]"), "no object"),
        (streamed(events(CALL)[0], b'{"error": {"message": "out of memory"}}'), "out of memory"),
        (streamed(events(CALL)[0], b'{"error": "plain"}'), "plain"),
        (streamed(b'{"choices": [{"index": 0, "delta": {"tool_calls": "x"}, "finish_reason": "stop"}]}'), "completion"),
    ],
)
def test_a_broken_stream_is_an_upstream_error(broken, reason):
    with pytest.raises(UpstreamError, match=reason):
        ask(broken)


def test_a_server_that_hangs_up_or_hangs_is_an_upstream_error():
    async def hang_up(request, body):
        request.transport.abort()
        return web.Response()

    async def hang(request, body):
        await asyncio.sleep(60)

    with pytest.raises(UpstreamError, match="does not answer"):
        ask(hang_up)
    with pytest.raises(UpstreamError, match="does not answer"):
        ask(hang, timeout_s=0.2)


@pytest.mark.parametrize(
    "url", ["", "localhost:8400", "ftp://host/v1", "http://", "http://[::1", "http://host:99999/v1"]
)
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(UpstreamError, match=r"write it like http://127\.0\.0\.1:8400/v1"):
        Target(url, "m")
