"""What every answer says of itself in its headers, in every dialect, plain and streamed; and seen through the SDKs."""

import anthropic
import openai
import pytest

from tests.gateway.upstream import Script

HI = [{"role": "user", "content": "hi"}]
ALWAYS = ("request-id", "trace-id", "endpoint", "model", "fallback", "cache", "overhead-ms")
# Name -> path, request, endpoint; and what a plain answer costs, in dollars.
ASKED = {
    "chat": ("/v1/chat/completions", {"model": "fake-model", "messages": HI}, "chat", 0.00118),
    "messages": ("/v1/messages", {"model": "claude-fake", "messages": HI}, "claude", 0.00138),
    "responses": ("/v1/responses", {"model": "gpt-fake", "input": "hi"}, "gpt", 0.00118),
    "completions": ("/v1/completions", {"model": "text-fake", "prompt": "hi"}, "text", 0.00208),
    "embeddings": ("/v1/embeddings", {"model": "embed-fake", "input": "hi"}, "embed", 0.002),
    "count_tokens": ("/v1/messages/count_tokens", {"model": "claude-fake", "messages": HI}, "claude", None),
    "chat at messages": ("/v1/chat/completions", {"model": "claude-fake", "messages": HI}, "claude", 0.00138),
    "chat at responses": ("/v1/chat/completions", {"model": "gpt-fake", "messages": HI}, "gpt", 0.00118),
    "messages at chat": ("/v1/messages", {"model": "fake-model", "max_tokens": 9, "messages": HI}, "chat", 0.00118),
    "messages at responses": ("/v1/messages", {"model": "gpt-fake", "max_tokens": 9, "messages": HI}, "gpt", 0.00118),
    "responses at chat": ("/v1/responses", {"model": "fake-model", "input": "hi"}, "chat", 0.00118),
    "responses at messages": ("/v1/responses", {"model": "claude-fake", "input": "hi"}, "claude", 0.00138),
}


def own(headers):
    return {name.removeprefix("x-trimtab-"): held for name, held in headers.items() if name.startswith("x-trimtab-")}


@pytest.mark.parametrize("name", ASKED)
def test_plain(gateway, name):
    path, body, endpoint, cost = ASKED[name]
    status, headers, _ = gateway.ask(body, path=path)
    told = own(headers)
    assert status == 200 and set(told) == {*ALWAYS, *(["cost"] if cost else [])}
    assert (told["endpoint"], told["model"], told["fallback"], told["cache"]) == (
        endpoint,
        body["model"],
        "false",
        "off",
    )
    assert float(told["overhead-ms"]) >= 0
    if cost:
        assert float(told["cost"]) == pytest.approx(cost)


@pytest.mark.parametrize("name", [name for name in ASKED if name not in ("embeddings", "count_tokens")])
def test_streamed(gateway, name):
    """The cost is known when the headers are long gone: the trace has it, under the id that they give."""
    path, body, endpoint, cost = ASKED[name]
    status, headers, _ = gateway.ask({**body, "stream": True}, path=path)
    told = own(headers)
    assert status == 200 and set(told) == set(ALWAYS)
    assert (told["endpoint"], told["model"], told["cache"]) == (endpoint, body["model"], "off")
    call, _ = gateway.call(headers)
    assert call.cost_nanodollars / 1e9 == pytest.approx(cost)


def test_a_fallback_says_so(gateway):
    for stream in (False, True):
        told = own(gateway.ask({"model": "dead", "messages": HI, "stream": stream}, path="/v1/messages")[1])
        assert (told["endpoint"], told["model"], told["fallback"]) == ("claude", "claude-fake", "true")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_errors_have_them_too(gateway, path):
    told = own(gateway.ask({"model": "none", "messages": HI}, path=path)[1])
    assert set(told) == {"request-id", "trace-id", "cache", "overhead-ms"}
    gateway.upstream.script = Script(status=400, body=b'{"error": {"message": "no luck"}}')
    model = next(body["model"] for at, body, *_ in ASKED.values() if at == path)
    assert set(own(gateway.ask({"model": model, "messages": HI}, path=path)[1])) == set(ALWAYS)


def test_what_is_passed_on_has_all_but_a_cost(gateway):
    gateway.upstream.script = Script(body=b"{}", wait_s=0.3)
    told = own(gateway.ask(b"", method="GET", path="/v1/files")[1])
    assert set(told) == set(ALWAYS)
    # The time that the server takes is not the gateway's.
    assert float(told["overhead-ms"]) < 250


def test_the_sdks_show_them(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as gpt:
        raw = gpt.chat.completions.with_raw_response.create(model="fake-model", messages=HI)
        assert raw.headers["x-trimtab-endpoint"] == "chat" and raw.parse().choices
        raw = gpt.responses.with_raw_response.create(model="claude-fake", input="hi")
        assert raw.headers["x-trimtab-cost"] == "0.001380000"
    url = gateway.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="sk-x", max_retries=0, timeout=20) as claude:
        raw = claude.messages.with_raw_response.create(model="claude-fake", max_tokens=9, messages=HI)
        assert raw.headers["x-trimtab-request-id"] and raw.parse().content
