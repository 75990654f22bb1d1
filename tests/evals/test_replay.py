"""Replay against a scripted model server, bare and behind a real gateway that prices and records it."""

import asyncio
import json

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.evals.items import item
from tests.gateway.upstream import DONE, TEXT, USAGE_CHUNK, FakeUpstream, Script, answer, chunk, usual
from trimtab.config import shipped_prices
from trimtab.deployment import Deployment, RetryPolicy
from trimtab.endpoint import Endpoint
from trimtab.errors import UpstreamError
from trimtab.evals import replay, scorers, serving
from trimtab.evals.replay import Outcome, Rates
from trimtab.evals.suite import JudgeSpec
from trimtab.money import Price, PriceTable
from trimtab.store.traces import TraceReader

PRICES = PriceTable("test-1", {"fake-model": Price(input=2.0, cache_read=0.5, output=8.0)})
COST = 400 * 2000 + 600 * 500 + 10 * 8000
RIGHT = item("Hello, how may I help?", name="1", cluster="s-1", slices=("greeting",))


@pytest.fixture(scope="module")
def model():
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(model):
    with serving.served(deployment(model), PRICES) as url:
        yield url


def deployment(model, **fields):
    places = {"url": model.url, "model": "fake-model"}
    return Deployment("d", (Endpoint(name="main", **places),), retry=RetryPolicy(attempts=1), **fields)


def asked(url, item=RIGHT, judge=None, rates=None, model="fake-model"):
    async def run():
        async with aiohttp.ClientSession() as http:
            return await replay.ask(http, url, model, item, judge or scorers.make(JudgeSpec("exact")), rates)

    return asyncio.run(run())


def test_an_answer_and_all_its_numbers(model, gateway):
    model.script, model.seen = usual, []
    got = asked(gateway, rates=Rates.of(deployment(model), PRICES))
    assert (got.item, got.cluster, got.slices, got.error) == ("1", "s-1", ("greeting",), "")
    assert (got.answer.text, got.score, got.solved) == ("Hello, how may I help?", 1, True)
    assert (got.input_tokens, got.output_tokens, got.cached_tokens) == (1000, 10, 600)
    assert (got.cost_nanodollars, got.cache, got.fingerprint) == (COST, "off", "main/fake-model")
    assert 0 < got.ttft_s <= got.total_s and 0 <= got.itl_s < got.total_s
    (seen,) = model.seen
    assert seen.json["stream"] and seen.json["stream_options"] == {"include_usage": True}
    assert msgspec.json.decode(msgspec.json.encode(got), type=Outcome) == got


def test_the_cost_is_what_the_gateway_records(model, tmp_path):
    """Here by a gateway whose store is looked at: the figure of `ask` is the recorded one."""
    model.script = usual
    config = tmp_path / "trimtab.toml"
    config.write_text(serving.configuration(deployment(model), PRICES, tmp_path / "store"))
    with serving.GatewayProcess(config) as process:
        got = asked(process.url, rates=Rates.of(deployment(model), PRICES))
    (trace,) = TraceReader(tmp_path / "store").scan()
    (call,) = trace.calls
    assert call.cost_nanodollars == got.cost_nanodollars == COST
    assert (call.workflow, call.session, call.stream) == ("gate", "s-1", True)


def test_times_are_those_of_the_stream(model, gateway):
    model.script = Script(events=[*TEXT, USAGE_CHUNK, DONE], pause_s=0.05)
    got = asked(gateway)
    # The first event holds a role alone: the first word comes one pause later; seven words are six pauses apart.
    # Ten tokens are counted, so nine steps are in between.
    assert 0.04 < got.ttft_s < got.total_s - 0.2
    assert 0.2 / 9 < got.itl_s <= (got.total_s - got.ttft_s) / 9


def test_tool_calls_come_through_the_stream(model, gateway):
    model.script = usual
    wanted = item([{"name": "find_car", "arguments": {"make": "Ford"}}], body={**RIGHT.body, "tools": [{"x": 1}]})
    got = asked(gateway, wanted, scorers.make(JudgeSpec("tool_calls")))
    assert got.score == 1 and got.answer.tool_calls[0].name == "find_car"


def test_an_answer_that_is_not_streamed_counts_too(model, gateway):
    """A step that keeps answers may give one whole; its cost is in a header."""
    model.script = Script(body=answer())
    got = asked(gateway)
    assert got.score == 1 and got.cost_nanodollars == COST and got.output_tokens == 10 and got.itl_s is None


def test_log_probabilities_come_through_the_stream(model, gateway):
    words = TEXT[1:-1]
    events = []
    for number, event in enumerate(words):
        whole = json.loads(event[6:])
        listed = [{"token": "a", "logprob": -0.1 * number, "top_logprobs": [{"token": "b", "logprob": -3}]}]
        whole["choices"][0]["logprobs"] = {"content": listed}
        events.append(b"data: " + json.dumps(whole).encode() + b"\n\n")
    model.script = Script(events=[*events, chunk(finish="stop"), DONE])
    got = asked(gateway)
    assert [each.logprob for each in got.answer.tokens] == [pytest.approx(-0.1 * n) for n in range(len(words))]
    assert got.score == 1 and got.answer.tokens[3].top == {"b": -3}


def test_an_answer_out_of_a_cache_costs_nothing(model):
    headers = {"x-trimtab-cache": "hit"}
    model.script = Script(body=answer(), headers=headers)
    assert asked(model.url, rates=Rates.of(deployment(model), PRICES)).cost_nanodollars == 0
    model.script = Script(body=answer(), headers={**headers, "x-trimtab-endpoint": "main"})
    assert asked(model.url, rates=Rates.of(deployment(model), PRICES)).cost_nanodollars == COST


def test_unknown_is_not_nothing(model, gateway):
    model.script = Script(events=[*TEXT, DONE])
    got = asked(gateway, rates=Rates.of(deployment(model), PRICES))
    assert (got.score, got.input_tokens, got.output_tokens, got.cost_nanodollars) == (1, None, None, None)
    model.script = usual
    assert asked(model.url).cost_nanodollars is None
    bare = asked(model.url, rates=Rates.of(deployment(model), PRICES))
    assert bare.cost_nanodollars == COST and bare.fingerprint == "fake-model"


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        (Script(status=400, body=b'{"error": {"message": "too long"}}'), "answered 400: too long"),
        (Script(events=TEXT[:4], end="abort"), "the stream ended with an error"),
        (Script(events=TEXT[:4]), "the stream ended with an error"),
        (Script(events=[TEXT[0], b'data: {"error": {"message": "out of memory"}}\n\n']), "out of memory"),
        (Script(body=b"{}"), "without choices"),
    ],
)
def test_no_whole_answer_is_an_error_and_no_score(model, gateway, script, wanted):
    model.script = script
    got = asked(gateway)
    assert wanted in got.error and got.score is None and got.solved is None and got.total_s > 0
    assert got.answer.text == "" and "\n" not in got.error


def test_errors_of_a_bare_server(model):
    for script, wanted in [
        (Script(events=TEXT[:4]), "the stream was cut"),
        (Script(events=[b"data: what\n\n"]), "what is no JSON"),
        (Script(events=[b"data: [1]\n\n"]), "ended with an error"),
        (Script(events=[chunk(finish="stop")]), ""),
    ]:
        model.script = script
        got = asked(model.url)
        assert wanted in got.error and bool(got.error) == bool(wanted)
    assert "does not answer" in asked("http://127.0.0.1:9/v1").error
    assert "does not answer" in asked("nonsense").error


class Offline:
    version = "offline"

    async def score(self, item, answer):
        raise UpstreamError("the judge is offline")


def test_a_judge_that_is_offline_is_no_failure_of_the_answer(model, gateway):
    model.script = usual
    got = asked(gateway, judge=Offline())
    assert (got.score, got.reason, got.error) == (None, "the judge is offline", "")
    assert got.answer.text and got.output_tokens == 10


KEYS = ["choices", "delta", "content", "usage", "message", "tool_calls", "index", "model"]
CHUNKS = st.recursive(
    st.none() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=9,
).map(lambda value: json.dumps(value).encode())


@given(st.lists(st.binary(max_size=40) | CHUNKS, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stream_is_an_outcome(model, datas):
    model.script = Script(events=[b"data: " + data + b"\n\n" for data in datas] + TEXT)
    got = asked(model.url)
    assert bool(got.error) != bool(got.answer.text or got.score is not None)


def test_a_judge_sees_the_shipped_prices_of_the_endpoint():
    rates = Rates.of(
        Deployment("d", (Endpoint(name="e", url="http://x", model="m", price="gpt-4o"),)), shipped_prices()
    )
    assert rates.names == {"e": "gpt-4o"}
