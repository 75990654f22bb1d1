"""The cache inside a real gateway process: headers, money, record, metrics, and a stream in each dialect."""

import json
import re
from types import SimpleNamespace

import pytest

from tests.gateway.conftest import CONFIG, running
from tests.gateway.upstream import USAGE, WORDS, usual
from trimtab.cli import demolevers
from trimtab.cli.main import main
from trimtab.config import read
from trimtab.plan import audit, spending
from trimtab.store.ledger import Ledger
from trimtab.store.reprice import Pricing, preview
from trimtab.store.traces import TraceReader

STEP = """
[[steps]]
lever = "cache"
options = {{ semantic = false, explore = 0 }}
"""
OPEN = {"model": "fake-model", "messages": [{"role": "user", "content": "When does the shop open?"}]}
# As in tests/gateway/test_chat.py: 400 fresh tokens, 600 from the provider's cache, 10 out.
COST = 400 * 2000 + 600 * 500 + 10 * 8000


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with running(tmp_path_factory.mktemp("cache"), CONFIG + STEP) as pair:
        yield pair


@pytest.fixture
def gateway(pair):
    pair.upstream.script = usual
    pair.upstream.seen.clear()
    return pair


def asked(text, **more):
    return {"model": "fake-model", "messages": [{"role": "user", "content": text}], **more}


def test_a_hit_costs_nothing_and_says_what_it_saved(gateway):
    question = asked("What is leasing?")
    _, first, _ = gateway.ask(question)
    status, headers, body = gateway.ask(question)
    assert (first["x-trimtab-cache"], headers["x-trimtab-cache"], status) == ("miss", "hit", 200)
    assert len(gateway.upstream.seen) == 1
    assert float(headers["x-trimtab-cost"]) == 0
    assert float(headers["x-trimtab-saved-cost"]) == pytest.approx(COST / 1e9)
    assert headers["content-type"] == "application/json"
    answer = json.loads(body)
    assert answer["usage"] == USAGE
    assert answer["choices"][0]["message"]["content"] == "".join(WORDS)
    call, payload = gateway.call(headers)
    assert (call.cost_nanodollars, call.endpoint, call.usage.input_tokens) == (0, "", 1000)
    assert call.tags["trimtab.cache"] == "hit"
    assert call.tags["trimtab.saved_nanodollars"] == str(COST)
    assert payload.response["choices"][0]["message"]["content"] == "".join(WORDS)


def test_pricing_anew_leaves_a_hit_at_nothing(gateway):
    question = asked("What is a loan?")
    gateway.ask(question)
    _, headers, _ = gateway.ask(question)
    call, _ = gateway.call(headers)
    from trimtab.money import Price, PriceTable

    table = PriceTable("new", {"*": Price(input=9.0, output=9.0)})
    assert Pricing(table).of(call).cost_nanodollars == 0
    report = preview(gateway.store, Pricing(table))
    assert report.calls >= TraceReader(gateway.store).count() - 1


def test_a_hit_is_streamed_and_recorded_like_a_stream(gateway):
    question = asked("What is a van?")
    gateway.ask(question)
    _, headers, body = gateway.ask({**question, "stream": True})
    assert headers["x-trimtab-cache"] == "hit"
    assert headers["content-type"] == "text/event-stream"
    assert float(headers["x-trimtab-cost"]) == 0
    assert body.endswith(b"data: [DONE]\n\n")
    assert b'"usage":{"prompt_tokens"' not in body, "who did not ask for usage gets none"
    call, payload = gateway.call(headers)
    assert (call.end.value, call.stream, call.cost_nanodollars, call.raw_usage) == ("complete", True, 0, USAGE)
    assert payload.response["choices"][0]["message"]["content"] == "".join(WORDS)
    assert len(gateway.upstream.seen) == 1


def test_a_stream_is_kept_and_a_tool_call_too(gateway):
    tools = [{"type": "function", "function": {"name": "find_car", "parameters": {}}}]
    question = asked("Which Fords are there?", tools=tools, stream=True)
    gateway.ask(question)
    _, headers, body = gateway.ask({**question, "stream": False})
    assert headers["x-trimtab-cache"] == "hit"
    call = json.loads(body)["choices"][0]["message"]["tool_calls"][0]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("find_car", {"make": "Ford"})
    assert call["id"] != "call_1"


@pytest.mark.parametrize("streamed", [False, True])
def test_another_dialect_gets_its_own(gateway, streamed):
    """The endpoint speaks chat; the client speaks messages, and meets only answers in messages."""
    said = [{"role": "user", "content": "What is a hatchback?"}]
    question = {"model": "fake-model", "max_tokens": 50, "messages": said, "stream": streamed}
    gateway.ask(asked("What is a hatchback?", max_tokens=50))
    gateway.ask(question, path="/v1/messages")
    _, headers, body = gateway.ask(question, path="/v1/messages")
    assert headers["x-trimtab-cache"] == "hit"
    if streamed:
        assert b"event: message_start" in body
        assert b"event: message_stop" in body
    else:
        assert json.loads(body)["content"][0] == {"type": "text", "text": "".join(WORDS)}


def test_the_ledger_the_audit_and_the_headers_agree(gateway, capsys):
    question = asked("What is a coupe?")
    gateway.ask(question)
    for _ in range(3):
        _, headers, _ = gateway.ask(question)
        gateway.call(headers)
    metrics = gateway.get("/metrics")[2].decode()
    hits = float(re.search(r'trimtab_cache_calls_total\{state="hit"\} (\S+)', metrics)[1])
    usd = float(re.search(r"\ntrimtab_cache_saved_usd_total (\S+)", metrics)[1])
    assert main(["ledger", "saving", "--store", str(gateway.store), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["hits"], found["nanodollars"]) == (hits, hits * COST)
    assert usd == pytest.approx(hits * COST / 1e9)
    (entry,) = Ledger(gateway.store).entries("saving")
    assert entry.body["nanodollars"] == found["nanodollars"]
    measured = audit.measure(TraceReader(gateway.store).scan())
    assert measured.saved.nanodollars == found["nanodollars"]


def test_the_demo_counts_three_times_and_sees_a_difference(gateway):
    def ask():
        gateway.call(gateway.ask(asked("How many people may sit in a van?"))[1])

    for _ in range(3):
        ask()
    folder, url = gateway.store, gateway.url.removesuffix("/v1")
    config = folder.parent / "trimtab.toml"
    assert main(["ledger", "saving", "--store", str(folder), "--baseline", str(config)]) == 0
    at_first = read(config)
    before = demolevers.counted(folder, url, at_first)
    assert [each.who for each in before] == ["audit", "ledger", "gateway's counters"]
    assert len({each.hits for each in before}) == 1
    assert min(each.nanodollars for each in before) >= 2 * COST - 1
    assert demolevers.Told({}, (), tuple(before)).agree
    ask()
    after = demolevers.counted(folder, url, at_first)
    assert [new.hits - old.hits for new, old in zip(after, before, strict=True)] == [1, 0, 1]
    assert not demolevers.Told({}, (), tuple(after)).agree


def test_what_a_rollout_asked_again_saved_nothing():
    hit = {"trimtab.cache": "hit", "trimtab.saved_nanodollars": "7"}
    calls = [SimpleNamespace(tags=tags) for tags in (hit, {**hit, "trimtab.shadow": "r"}, {})]
    found = spending.saved(calls)
    assert (found.hits, found.calls, found.nanodollars) == (1, 2, 7)


def test_metrics_say_how_often_and_how_much(gateway):
    text = gateway.get("/metrics")[2].decode()
    assert 'trimtab_cache_calls_total{state="hit"}' in text
    assert 'trimtab_cache_calls_total{state="miss"}' in text
    assert "trimtab_cache_saved_usd_total" in text


def test_without_a_step_nothing_is_said_of_it(tmp_path):
    with running(tmp_path) as plain:
        _, headers, _ = plain.ask(OPEN)
        assert headers["x-trimtab-cache"] == "off"
        assert "x-trimtab-saved-cost" not in headers
        call, _ = plain.call(headers)
        assert call.tags == {}
