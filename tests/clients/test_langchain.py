"""LangChain's `ChatOpenAI`, by chat and by responses, at servers of every dialect: invoke, stream, tools, structure."""

import asyncio

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.gateway.dialects.answers import INPUT, WORDS, message, plain
from tests.gateway.upstream import Script

SAID = "".join(WORDS)
MODELS = ("fake-model", "claude-fake", "gpt-fake")
# By the client's dialect and the server's.
WAYS = [pytest.param(responses, model) for responses in (False, True) for model in MODELS]


class Car(BaseModel):
    make: str
    doors: int


CAR = Car(make="Ford", doors=4)


def find_car(make: str) -> str:
    """Find a car."""
    return make


def chat(gateway, model, responses):
    return ChatOpenAI(
        model=model,
        base_url=gateway.url,
        api_key="sk-x",
        max_retries=0,
        timeout=20,
        use_responses_api=responses,
        stream_usage=True,
        # Nothing is stored on the other side of a translation; unsaid, LangChain leaves it to the server.
        **({"store": False} if responses else {}),
    )


@pytest.mark.parametrize(("responses", "model"), WAYS)
def test_invoke(gateway, responses, model):
    got = chat(gateway, model, responses).invoke("hi")
    assert got.text == SAID
    assert (got.usage_metadata["input_tokens"], got.usage_metadata["output_tokens"]) == (1000, 10)
    assert got.usage_metadata["input_token_details"]["cache_read"] == 600


@pytest.mark.parametrize(("responses", "model"), WAYS)
def test_stream(gateway, responses, model):
    pieces = list(chat(gateway, model, responses).stream("hi"))
    assert "".join(piece.text for piece in pieces) == SAID
    assert sum(piece.usage_metadata["output_tokens"] for piece in pieces if piece.usage_metadata) == 10


@pytest.mark.parametrize(("responses", "model"), WAYS)
def test_a_loop_with_tools(gateway, responses, model):
    bound = chat(gateway, model, responses).bind_tools([find_car])
    if model == "claude-fake":
        call = {"type": "tool_use", "id": "toolu_1", "name": "find_car", "input": INPUT}
        gateway.upstream.script = Script(body=plain(message([call], "tool_use")))
    first = bound.invoke("hi")
    (call,) = first.tool_calls
    assert (call["name"], call["args"]) == ("find_car", INPUT)
    bound.invoke([HumanMessage("hi"), first, ToolMessage("none", tool_call_id=call["id"])])
    sent = gateway.upstream.seen[-1].body
    assert sent.count(call["id"].encode()) == 2 and b"none" in sent


@pytest.mark.parametrize("responses", [False, True])
@pytest.mark.parametrize("model", ["fake-model", "gpt-fake"])
def test_streamed_tools(gateway, responses, model):
    whole = None
    for piece in chat(gateway, model, responses).bind_tools([find_car]).stream("hi"):
        whole = piece if whole is None else whole + piece
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("find_car", INPUT)]


@pytest.mark.parametrize(("responses", "model"), WAYS)
def test_structured_output(gateway, responses, model):
    if model == "claude-fake":
        text = {"type": "text", "text": CAR.model_dump_json()}
        gateway.upstream.script = Script(body=plain(message([text])))
    assert chat(gateway, model, responses).with_structured_output(Car).invoke("hi") == CAR


def test_structured_output_by_a_tool(gateway):
    class Wanted(BaseModel):
        """Find a car."""

        make: str

    call = {"type": "tool_use", "id": "toolu_1", "name": "Wanted", "input": INPUT}
    gateway.upstream.script = Script(body=plain(message([call], "tool_use")))
    model = chat(gateway, "claude-fake", False).with_structured_output(Wanted, method="function_calling")
    assert model.invoke("hi") == Wanted(make="Ford")
    assert gateway.upstream.seen[0].json["tool_choice"] == {
        "type": "tool",
        "name": "Wanted",
        "disable_parallel_tool_use": True,
    }


def test_async(gateway):
    async def ask():
        said = set()
        # In one event loop: LangChain keeps its connections for the next model of the same address.
        for responses in (False, True):
            model = chat(gateway, "fake-model", responses)
            whole = await model.ainvoke("hi")
            pieces = [piece.text async for piece in model.astream("hi")]
            many = await model.abatch(["hi"] * 5)
            said |= {whole.text, "".join(pieces), *(one.text for one in many)}
        return said

    assert asyncio.run(ask()) == {SAID}
