"""The server over one tiny model, with the openai SDK and with plain HTTP."""

import http.client
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest

from tests.engines.serving import CONTEXT, save_chat_model
from trimtab.engines.embedded import EmbeddedEngine

pytestmark = pytest.mark.engine
USER = [{"role": "user", "content": "the quick brown fox"}]
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["suv", "van"]}, "new": {"type": "boolean"}},
    "required": ["kind"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": SCHEMA}}
    for name in ("find", "book")
]

BROKEN = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": 3}}}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def engine(folder: Path, tmp_path_factory):
    plain = save_chat_model(tmp_path_factory.mktemp("models") / "plain", template="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        with EmbeddedEngine([str(folder), f"bare={plain}"], precision="f32", threads=1, max_seqs=8) as running:
            yield running


@pytest.fixture(scope="module")
def client(engine: EmbeddedEngine):
    with openai.OpenAI(base_url=engine.url, api_key="none", max_retries=0) as client:
        yield client


def post(engine: EmbeddedEngine, body: dict | bytes, path: str = "/chat/completions") -> tuple[int, dict]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(engine.url + path, data)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(engine: EmbeddedEngine, path: str) -> str:
    with urllib.request.urlopen(engine.url.removesuffix("/v1") + path) as answer:
        return answer.read().decode()


def metric(engine: EmbeddedEngine, name: str, labels: str = 'model="tiny"') -> float:
    lines = get(engine, "/metrics").splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"trimtab_engine_{name}{{{labels}")), 0.0)


def test_models_and_health(engine: EmbeddedEngine, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "bare"] == list(engine.models)
    assert json.loads(get(engine, "/health"))["models"] == {"tiny": "ready", "bare": "ready"}


def test_greedy_is_the_same_plain_and_streamed(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(model="tiny", messages=USER, temperature=0, max_tokens=12)
    assert plain.choices[0].finish_reason in ("stop", "length")
    assert plain.usage is not None
    assert 0 < plain.usage.completion_tokens <= 12
    stream = client.chat.completions.create(
        model="tiny", messages=USER, temperature=0, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == plain.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens


def test_a_stream_ends_with_done_and_one_id(engine: EmbeddedEngine) -> None:
    body = {"model": "tiny", "messages": USER, "max_tokens": 3, "stream": True}
    request = urllib.request.Request(engine.url + "/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = answer.read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "usage" not in chunks[0]


def test_a_seed_decides_whatever_runs_beside(client: openai.OpenAI) -> None:
    def ask(seed: int) -> str:
        answer = client.chat.completions.create(model="tiny", messages=USER, seed=seed, max_tokens=16, temperature=1.5)
        return answer.choices[0].message.content or ""

    assert ask(5) == ask(5) != ask(6)


def test_penalties_change_a_greedy_answer(client: openai.OpenAI) -> None:
    def ask(**more) -> str:
        answer = client.chat.completions.create(model="tiny", messages=USER, temperature=0, max_tokens=40, **more)
        return answer.choices[0].message.content or ""

    assert ask() != ask(frequency_penalty=2.0, presence_penalty=2.0)
    assert ask() != ask(extra_body={"repetition_penalty": 3.0})


def test_stop_strings(engine: EmbeddedEngine, client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny", messages=USER, temperature=0, max_tokens=30)
    text = whole.choices[0].message.content or ""
    stop = text[5:8]
    for stream in (False, True):
        answer = client.chat.completions.create(
            model="tiny", messages=USER, temperature=0, max_tokens=30, stop=[stop, "never"], stream=stream
        )
        if stream:
            choices = [chunk.choices[0] for chunk in answer]
            said, end = "".join(choice.delta.content or "" for choice in choices), choices[-1].finish_reason
        else:
            said, end = answer.choices[0].message.content, answer.choices[0].finish_reason
        assert (said, end) == (text[: text.find(stop)], "stop")
    assert wait_idle(engine)


def test_logprobs_of_the_chosen_token(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=USER, temperature=0, max_tokens=5, logprobs=True, top_logprobs=1
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert answer.usage is not None
    assert len(logprobs.content) == answer.usage.completion_tokens
    assert all(entry.logprob <= 0 and entry.top_logprobs[0].token == entry.token for entry in logprobs.content)
    spelled = b"".join(bytes(entry.bytes or []) for entry in logprobs.content).decode(errors="replace")
    assert spelled == answer.choices[0].message.content
    streamed = client.chat.completions.create(
        model="tiny", messages=USER, temperature=0, max_tokens=5, logprobs=True, stream=True
    )
    entries = [
        entry for chunk in streamed if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content or []
    ]
    assert [entry.logprob for entry in entries] == pytest.approx(
        [entry.logprob for entry in logprobs.content], abs=1e-3
    )


def test_json_schema_and_json_object(client: openai.OpenAI) -> None:
    bound = {"type": "json_schema", "json_schema": {"name": "car", "strict": True, "schema": SCHEMA}}
    for seed in range(3):
        answer = client.chat.completions.create(model="tiny", messages=USER, seed=seed, response_format=bound)
        assert answer.choices[0].finish_reason == "stop"
        assert json.loads(answer.choices[0].message.content or "")["kind"] in ("suv", "van")
    answer = client.chat.completions.create(
        model="tiny", messages=USER, seed=1, temperature=0.5, response_format={"type": "json_object"}
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_a_schema_beyond_the_own_grammar_is_left_to_the_engine(engine: EmbeddedEngine) -> None:
    schema = {"type": "string", "pattern": "^V-[0-9]{4}$"}
    bound = {"type": "json_schema", "json_schema": {"name": "id", "schema": schema}}
    status, answer = post(engine, {"model": "tiny", "messages": USER, "response_format": bound, "max_tokens": 40})
    assert status == 200
    assert answer["choices"][0]["message"]["content"].startswith('"V-')


def test_a_schema_that_the_engine_cannot_compile_harms_nobody_else(
    engine: EmbeddedEngine, client: openai.OpenAI
) -> None:
    """Inside the engine a bad grammar would fail every request's step from then on."""
    greedy = {"model": "tiny", "messages": USER, "temperature": 0, "max_tokens": 200}
    alone = client.chat.completions.create(**greedy).choices[0].message.content
    stream = iter(client.chat.completions.create(**greedy, stream=True))
    said = "".join(next(stream).choices[0].delta.content or "" for _ in range(3))
    schema = {"type": "string", "pattern": "([a"}
    bound = {"type": "json_schema", "json_schema": {"name": "id", "schema": schema}}
    for streamed in (False, True):
        status, answer = post(engine, {"model": "tiny", "messages": USER, "response_format": bound, "stream": streamed})
        assert (status, answer["error"]["param"]) == (400, "response_format")
    said += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert said == alone
    assert metric(engine, "worker_restarts_total") == 0


def test_forced_tool_calls_plain_and_streamed(client: openai.OpenAI) -> None:
    named = {"type": "function", "function": {"name": "book"}}
    answer = client.chat.completions.create(model="tiny", messages=USER, tools=TOOLS, tool_choice=named, seed=1)
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls or []
    assert call.function.name == "book"
    assert json.loads(call.function.arguments)["kind"] in ("suv", "van")

    request = {
        "model": "tiny",
        "messages": USER,
        "tools": TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    stream = client.chat.completions.create(**request, seed=2, stream=True)
    choices = [chunk.choices[0] for chunk in stream]
    assert choices[-1].finish_reason == "tool_calls"
    (delta,) = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert delta.index == 0
    assert delta.function is not None
    assert delta.function.name in ("find", "book")
    assert json.loads(delta.function.arguments or "")["kind"] in ("suv", "van")


def test_a_conversation_with_tools_goes_on(client: openai.OpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"kind": "suv"}'}}
    messages = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "[]"},
    ]
    answer = client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS, max_tokens=3)
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_cached_tokens(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "book_service " * 30 + str(time.time_ns())}]

    def ask() -> tuple[int, int]:
        usage = client.chat.completions.create(model="tiny", messages=messages, max_tokens=2).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens or 0

    ask()
    prompt, cached = ask()
    assert prompt - 32 <= cached < prompt


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": "bare"}, 400, "no_chat_template", "messages"),
        ({"max_tokens": CONTEXT + 1}, 400, "context_length_exceeded", "messages"),
        ({"messages": [{"role": "user", "content": "x" * 9000}]}, 400, "context_length_exceeded", "messages"),
        ({"n": 2}, 400, "unsupported", "n"),
        ({"messages": []}, 400, None, "messages"),
        ({"tools": [BROKEN]}, 400, "invalid_schema", "tools[0].function.parameters.properties.a.type"),
    ],
)
def test_refusals(engine: EmbeddedEngine, change: dict, status: int, code: str | None, param: str) -> None:
    for stream in (False, True):
        got, answer = post(engine, {"model": "tiny", "messages": USER, "stream": stream, **change})
        assert got == status
        assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)
        assert answer["error"]["type"] == "invalid_request_error"


def test_the_sdk_reads_the_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="shorten the prompt"):
        client.chat.completions.create(model="tiny", messages=USER, max_tokens=CONTEXT)
    with pytest.raises(openai.NotFoundError, match="this server has tiny, bare"):
        client.chat.completions.create(model="x", messages=USER)


def test_no_json_no_route(engine: EmbeddedEngine) -> None:
    assert post(engine, b"{")[1]["error"]["code"] == "invalid_json"
    assert post(engine, b"{}", "/embeddings")[0] == 404
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(engine.url + "/chat/completions")
    assert caught.value.code == 405


def test_text_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="bare", prompt="The quick", max_tokens=6, temperature=0, logprobs=1)
    assert answer.usage is not None
    assert answer.choices[0].logprobs is not None
    assert len(answer.choices[0].logprobs.tokens or []) == answer.usage.completion_tokens
    stream = client.completions.create(model="bare", prompt="The quick", max_tokens=6, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text


def wait_idle(engine: EmbeddedEngine) -> bool:
    """Until no request is in the engine; False after ten seconds."""
    for _ in range(200):
        if metric(engine, "requests_running") == metric(engine, "requests_waiting") == 0:
            return True
        time.sleep(0.05)
    return False


def test_a_client_that_leaves_frees_its_place(engine: EmbeddedEngine) -> None:
    before = metric(engine, "requests_total", 'model="tiny",outcome="client_gone"')
    host = engine.url.split("/")[2]
    for stream in (True, False):
        connection = http.client.HTTPConnection(host)
        body = {"model": "tiny", "messages": USER, "max_tokens": 900, "stream": stream, "temperature": 0}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        if stream:
            connection.getresponse().read(10)
        else:
            time.sleep(0.1)
        connection.close()
    for _ in range(200):
        if metric(engine, "requests_total", 'model="tiny",outcome="client_gone"') > before:
            break
        time.sleep(0.05)
    assert metric(engine, "requests_total", 'model="tiny",outcome="client_gone"') > before
    assert wait_idle(engine)


def test_metrics_count(engine: EmbeddedEngine) -> None:
    before = metric(engine, "completion_tokens_total")
    _, answer = post(engine, {"model": "tiny", "messages": USER, "max_tokens": 7})
    assert metric(engine, "completion_tokens_total") - before == answer["usage"]["completion_tokens"]
    assert metric(engine, "first_token_seconds_sum") > 0


def test_many_at_once_get_what_they_get_alone(engine: EmbeddedEngine) -> None:
    """More requests than places; each seeded answer is its own."""
    import asyncio

    async def ask(client: openai.AsyncOpenAI, seed: int) -> str:
        messages = [{"role": "user", "content": f"question {seed % 3}"}]
        answer = await client.chat.completions.create(
            model="tiny", messages=messages, seed=seed, max_tokens=20, temperature=0.7, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=engine.url, api_key="none", max_retries=0) as client:
            together = await asyncio.gather(*(ask(client, seed) for seed in range(12)))
            for seed in (0, 5, 11):
                assert await ask(client, seed) == together[seed]

    asyncio.run(run())
