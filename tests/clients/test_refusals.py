"""Our own limits as the SDKs see them: 401, 402 and 429 in each client's dialect, with `Retry-After` where it helps."""

import anthropic
import litellm
import openai
import pytest

from trimtab.gateway.keys import mint

HI = [{"role": "user", "content": "hi"}]


def openai_chat(client, **more):
    return client.chat.completions.create(**{"model": "fake-model", "messages": HI, "max_tokens": 5, **more})


def openai_responses(client, **more):
    bound = {"max_output_tokens": more.pop("max_tokens", 16)}
    return client.responses.create(**{"model": "gpt-fake", "input": "hi", **bound, **more})


def openai_embeddings(client, **more):
    more.pop("max_tokens", None)
    return client.embeddings.create(
        **{"model": "embed-fake", "input": "hi " * 2000, "encoding_format": "float", **more}
    )


def anthropic_messages(client, **more):
    return client.messages.create(**{"model": "claude-fake", "messages": HI, "max_tokens": 5, **more})


def anthropic_at_chat(client, **more):
    return anthropic_messages(client, model="fake-model", **more)


def gpt(gateway, key, **options):
    return openai.OpenAI(base_url=gateway.url, api_key=key, timeout=20, **{"max_retries": 0, **options})


def claude(gateway, key, **options):
    url = gateway.url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=url, api_key=key, timeout=20, **{"max_retries": 0, **options})


WAYS = [
    pytest.param(openai, gpt, openai_chat, id="chat"),
    pytest.param(openai, gpt, openai_responses, id="responses"),
    pytest.param(openai, gpt, openai_embeddings, id="embeddings"),
    pytest.param(anthropic, claude, anthropic_messages, id="messages"),
    pytest.param(anthropic, claude, anthropic_at_chat, id="messages-at-chat"),
]


def said(error):
    """(type, message) of an error's body in either shape."""
    body = error.body.get("error", error.body)
    return body["type"], body["message"]


@pytest.mark.parametrize(("library", "client", "ask"), WAYS)
def test_a_key_that_nobody_made(gateway, library, client, ask):
    with client(gateway, mint()) as strange, pytest.raises(library.AuthenticationError, match="no such key") as refused:
        ask(strange)
    kind = "authentication_error" if library is anthropic else "invalid_request_error"
    assert said(refused.value)[0] == kind
    assert refused.value.response.headers["x-trimtab-request-id"]
    assert not gateway.upstream.seen


@pytest.mark.parametrize(("library", "client", "ask"), WAYS)
def test_a_budget_that_is_spent(gateway, new_key, library, client, ask):
    key = new_key(day_nanodollars=1000)
    with client(gateway, key) as mine, pytest.raises(library.APIStatusError, match="may spend") as refused:
        ask(mine, max_tokens=1000)
    assert refused.value.status_code == 402
    assert said(refused.value)[0] == ("billing_error" if library is anthropic else "insufficient_quota")
    # Waiting a little does not help, so none is asked for.
    assert "retry-after" not in refused.value.response.headers
    assert not gateway.upstream.seen


@pytest.mark.parametrize(("library", "client", "ask"), WAYS)
def test_too_many_requests(gateway, new_key, library, client, ask):
    with client(gateway, new_key(requests_per_minute=1)) as mine:
        ask(mine)
        with pytest.raises(library.RateLimitError, match="1 requests a minute") as refused:
            ask(mine)
    assert said(refused.value)[0] == ("rate_limit_error" if library is anthropic else "requests")
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 61
    assert len(gateway.upstream.seen) == 1


@pytest.mark.parametrize(("library", "client", "ask"), WAYS)
def test_a_model_that_is_not_on_the_list(gateway, new_key, library, client, ask):
    with client(gateway, new_key(models=("two-faced",))) as mine, pytest.raises(library.PermissionDeniedError):
        ask(mine)
    assert not gateway.upstream.seen


def test_a_stream_is_refused_before_it_begins(gateway, new_key):
    with claude(gateway, new_key(requests_per_minute=1)) as mine:
        anthropic_messages(mine)
        asked = mine.messages.stream(model="claude-fake", messages=HI, max_tokens=5)
        with pytest.raises(anthropic.RateLimitError), asked as stream:
            stream.get_final_message()


def test_other_clients_see_them_as_their_own(gateway, new_key):
    key = new_key(requests_per_minute=1)
    asked = {"api_key": key, "messages": HI, "max_retries": 0, "num_retries": 0}
    litellm.completion(model="openai/fake-model", api_base=gateway.url, **asked)
    with pytest.raises(litellm.RateLimitError, match="1 requests a minute"):
        litellm.completion(model="openai/fake-model", api_base=gateway.url, **asked)
    with pytest.raises(litellm.RateLimitError, match="1 requests a minute"):
        url = gateway.url.removesuffix("/v1")
        litellm.completion(model="anthropic/claude-fake", api_base=url, **asked)
