"""Label heads and routing in the gateway's chain, and the Deployments that the lever gives."""

import asyncio
import json
import random

import msgspec
import pytest

from tests.levers.cache.requests import Upstream, chat, read, request
from tests.levers.small_model import shop
from trimtab.config import shipped_prices
from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, FormatError
from trimtab.gateway.chain import fold
from trimtab.levers.small_model import lab, serve
from trimtab.store.artifacts import ArtifactStore
from trimtab.trace import Call, EndState, Payload, Trace

ASKED = {
    "tyres": ["I need new tyres", "my tyres are flat", "winter tyres please", "change the tyres", "a tyre burst"],
    "bill": ["I do not understand my bill", "the bill is too high", "pay my bill", "send the bill", "wrong bill"],
}
MANNERS = ["thanks", "please", "quickly", "today", "now"]
BEFORE = Deployment(
    name="before",
    endpoints=(Endpoint(name="big", url="http://127.0.0.1:9/v1", model="gpt-4o", price="gpt-4o"),),
    routes={"mine": "big"},
)


def routed(count=800):
    """A router's calls: its answer is a tool call, one of two."""
    chance = random.Random(5)
    made = []
    for number in range(count):
        kind = chance.choice(sorted(ASKED))
        text = f"{chance.choice(ASKED[kind])}, {chance.choice(MANNERS)} {number}"
        call = Call(
            id=f"{number:032x}", trace_id=f"{number:032x}", span_id=f"{number:016x}", duration_ms=5.0,
            started_ns=1_790_000_000 * 10**9 + number, end=EndState.COMPLETE, agent="router", endpoint="big",
            session=f"s{number}", cost_nanodollars=1000, priced_as="gpt-4o", request_model="gpt-4o",
        )  # fmt: skip
        message = shop.call(f"transfer_to_{kind}")
        response = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        tools = [{"type": "function", "function": {"name": f"transfer_to_{each}"}} for each in ASKED]
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "tools": tools}
        made.append(Trace(call.trace_id, (call,), {call.id: Payload(call.id, body, response)}))
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    store = tmp_path_factory.mktemp("router")
    lever = lab.make({"licences": {"big": "own"}, "alpha": 0.1})
    return lever, lever.build(routed(), store), store


def ask(step, text, streamed=False, agent="router"):
    asked = request({**chat(text, system=""), **({"stream": True} if streamed else {})}, agent=agent)
    upstream = Upstream()
    reply = asyncio.run(_asked(fold([("small_model", step)], upstream), asked))
    return reply, asked.notes, upstream


async def _asked(chain, asked):
    return await read(await chain(asked))


def test_a_closed_set_of_outputs_is_seen_and_a_head_forecast():
    found = lab.make({"alpha": 0.1}).estimate(routed(), shipped_prices())
    assert found.tables["agents"][0]["advice"] == "label head"
    assert 0.5 < found.low <= found.saving <= found.high <= 1
    methods = {row["by"] for row in found.tables["closed sets: how often the old model's answer is met"]}
    assert methods == {"TF-IDF + logistic regression", "sentence encoder + linear head"}


def test_a_sure_head_answers_as_the_old_model_did_and_an_unsure_one_lets_pass(built):
    lever, artifact, store = built
    head = artifact.manifest["heads"][0]
    assert (head["agent"], head["labels"]) == ("router", 2)
    assert head["encoder"]["agreement"] > 0.9
    assert "TF-IDF" in (artifact.folder / "README.md").read_text()
    spec = lever.apply(BEFORE, artifact).steps[-1]
    step = serve.make(spec, store)
    told, notes, upstream = ask(step, "I need new tyres, please 7")
    call = json.loads(told)["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (call["name"], call["arguments"]) == ("transfer_to_tyres", "{}")
    assert not upstream.asked
    assert notes.marks["trimtab.small_model"].startswith("head 0.")
    strict = serve.make(msgspec.structs.replace(spec, options={"threshold": 1.5}), store)
    told, notes, upstream = ask(strict, "I need new tyres, please 7")
    assert len(upstream.asked) == 1
    assert notes.marks["trimtab.small_model"].startswith("escalated")
    _, _, upstream = ask(step, "I need new tyres", agent="another")
    assert len(upstream.asked) == 1


def test_a_stream_is_answered_as_a_stream(built):
    lever, artifact, store = built
    step = serve.make(lever.apply(BEFORE, artifact).steps[-1], store)
    told, _, _ = ask(step, "the bill is too high, thanks 3", streamed=True)
    events = [line for line in bytes(told).split(b"\n\n") if line]
    assert events[-1] == b"data: [DONE]"
    first = json.loads(events[0].removeprefix(b"data: "))["choices"][0]["delta"]
    assert first["tool_calls"][0]["function"]["name"] == "transfer_to_bill"


def test_a_broken_artefact_or_option_is_refused(built, tmp_path):
    _, artifact, store = built
    with pytest.raises(ConfigError, match="names no artefact"):
        serve.make(StepSpec("small_model"), store)
    with pytest.raises(ConfigError, match=r"docs/small_model\.md"):
        serve.make(StepSpec("small_model", artifact=artifact.digest, options={"agent": "x"}), store)
    (tmp_path / "made" / "heads").mkdir(parents=True)
    (tmp_path / "made" / "heads" / "0.json").write_text("[]")
    broken = ArtifactStore(store).put(tmp_path / "made", {})
    with pytest.raises(ConfigError, match="build it again"):
        serve.make(StepSpec("small_model", artifact=broken.digest), store)


@pytest.fixture(scope="module")
def generating(tiny, tmp_path_factory):
    store = tmp_path_factory.mktemp("desk")
    made = {agent: lab.make({**tiny, **more}).build(shop.traces(), store)
            for agent, more in (("", {}), ("desk", {"agents": ["desk"], "seed": 1}))}  # fmt: skip
    return tiny, made


def test_for_every_agent_the_endpoint_is_swapped_and_the_old_one_kept_behind_it(generating):
    tiny, made = generating
    lever = lab.make(tiny)
    after = lever.apply(BEFORE, made[""])
    small = f"small-{made[''].digest[:12]}"
    assert after.endpoint_for("gpt-4o").model == after.endpoint_for("mine").model == small
    assert [each.model for each in after.fallbacks_for("gpt-4o", after.endpoints[0])] == ["gpt-4o"]
    assert not after.steps
    assert lever.apply(after, made[""]) == after
    with pytest.raises(ConfigError, match="no endpoint 'else'"):
        lab.make({**tiny, "endpoint": "else"}).apply(BEFORE, made[""])


def test_for_one_agent_a_step_sends_its_calls_to_the_small_model(generating, tmp_path_factory):
    tiny, made = generating
    after = lab.make(lab.narrowed(tiny, "desk")).apply(BEFORE, made["desk"])
    assert after.endpoint_for("gpt-4o").model == "gpt-4o"
    step = serve.make(after.steps[-1], made["desk"].folder.parents[2])
    small = after.endpoints[-1].name
    for agent, wanted in (("desk", small), ("router", "e")):
        upstream = Upstream()
        asked = msgspec.structs.replace(request(chat(), agent=agent), deployment=after)
        asyncio.run(_asked(fold([("small_model", step)], upstream), asked))
        assert upstream.asked[0].endpoint.name == wanted


def test_the_artefact_is_a_standard_checkpoint_that_the_engine_opens(generating):
    from trimtab.engines.checkpoint import open_checkpoint

    _, made = generating
    held = open_checkpoint(made[""].folder / "model")
    assert held.shape
    manifest = made[""].manifest
    assert [row["step"] for row in manifest["data"]][:3] == ["complete", "successful", "licence"]
    assert manifest["stages"][0]["exact"]
    card = (made[""].folder / "README.md").read_text()
    assert "| 1-sft | 4 |" in card
    assert "torch" in card


def test_an_agent_without_traces_is_told():
    with pytest.raises(FormatError, match="record"):
        lab.make({"agents": ["nobody"]}).estimate(routed(30), shipped_prices())
