"""First estimates of every lever: on traffic whose best lever is known, within their budget, and on real questions."""

import random

import msgspec
import pytest

from tests.levers import public, traffic
from trimtab.config import shipped_prices
from trimtab.errors import TrimtabError
from trimtab.levers import encoder
from trimtab.money import Usage
from trimtab.plan import case, replacing, trimming, weighing
from trimtab.plan.worth import Budget, Evidence, Use, Word
from trimtab.trace import Payload, Record

PRICES = shipped_prices()
LEVERS = {
    "cache",
    "label head",
    "smaller model",
    "tuned small model",
    "exact prefix layout",
    "KV reuse",
    "shorter prompts",
    "speculation",
}
RULES = "Rule {}: always look the order up before you say anything of it, and never promise a date to the customer. "


def needs_encoder():
    try:
        encoder.load()
    except TrimtabError as error:
        pytest.skip(f"no sentence encoder: {error}")


def with_head(records, head, tools=()):
    """The same calls under another system prompt."""
    made = []
    for at, record in enumerate(records):
        messages = [{"role": "system", "content": head(at)}, *record.payload.request["messages"][1:]]
        request = {**record.payload.request, "messages": messages, **({"tools": list(tools)} if tools else {})}
        usage = Usage(input_tokens=6000, output_tokens=8)
        call = msgspec.structs.replace(record.call, usage=usage, cost_nanodollars=15_080_000)
        made.append(Record(call, Payload(call.id, request, record.payload.response)))
    return made


def plain(count):
    return [public.record(at, f"where is order {at * 7919}", f"on its way {at}") for at in range(count)]


def only(worths, lever):
    return next(worth for worth in worths if worth.lever == lever)


def test_every_agent_gets_a_verdict_on_every_lever_and_the_dearest_comes_first():
    by_agent = {}
    for record in traffic.records(300):
        by_agent.setdefault((record.call.workflow, record.call.agent), []).append(record)
    uses = {("shop", "sales"): Use(calls=10, nanodollars=5, seconds=1.0)}
    found = weighing.weigh(by_agent, PRICES, uses, Budget(cpu_s=0.0))
    assert [worth.agent for worth in found.worths] == ["triage"] * len(LEVERS) + ["sales"] * len(LEVERS)
    for agent in ("triage", "sales"):
        assert {worth.lever for worth in found.worths if worth.agent == agent} == LEVERS
    for worth in found.worths:
        assert 0 <= worth.low <= worth.saving <= worth.high <= 1, worth
        assert 0 <= worth.seconds_low <= worth.seconds <= worth.seconds_high <= 1, worth
        if worth.word in (Word.WORTH, Word.TRY):
            assert worth.missing and worth.risk and worth.breaks and worth.method and worth.n
    assert any("no time left" in note or "read 0" in note or "encoder" in note for note in found.notes)
    assert msgspec.json.decode(msgspec.json.encode(found))["worths"]


def test_a_timestamp_at_the_head_breaks_the_prefix_and_a_fixed_head_does_not():
    rules = "".join(RULES.format(at) for at in range(80))
    fixed = case.case(("", ""), with_head(plain(60), lambda at: rules), None, PRICES)
    stamped = case.case(("", ""), with_head(plain(60), lambda at: f"Now it is {at}.\n{rules}"), None, PRICES)
    good, bad = trimming.prefix_layout(fixed), trimming.prefix_layout(stamped)
    assert good.word is Word.WORTH and good.facts["possible"] > 0.8
    assert bad.facts["possible"] == 0 and bad.saving == 0
    assert bad.word is Word.TRY and bad.high > 0.4, "what could be had by moving the timestamp"


def test_reuse_by_hand():
    rows = [(0, [b"a", b"b"]), (1, [b"a", b"c"]), (9, [b"a", b"b", b"d"])]
    assert trimming.reusable(rows, None, 1) == 3 / 7
    assert trimming.reusable(rows, 5, 1) == 1 / 7, "what is too old is gone"
    assert trimming.reusable(rows, None, 2) == 2 / 7


def test_block_ids_of_a_length_only_trace_count():
    records = [Record(record.call, Payload("x", {"hash_ids": [0, 1, at]}, None)) for at, record in enumerate(plain(10))]
    found = trimming.block_reuse(case.case(("", ""), records, None, PRICES))
    # 9 of 10 requests find their first two blocks; the third ids 0 and 1 follow another chain.
    assert found.n == 10 and found.facts["reused"] == pytest.approx(18 / 30, abs=0.07)


def test_unused_tools_are_named_with_how_often_they_may_be_needed():
    tools = [{"type": "function", "function": {"name": name, "description": "x" * 400}} for name in ("find", "book")]
    its = case.case(("", ""), with_head(plain(60), lambda at: "be brief", tools), None, PRICES)
    found = trimming.shorter_prompts(its)
    assert found.facts["unused_tools"] == ["book", "find"]
    assert found.quality == 3 / 60 and found.word is Word.WORTH


def test_the_smaller_model_is_of_the_same_maker_and_its_saving_is_a_ceiling():
    its = case.case(("", ""), plain(40), None, PRICES)
    name, share = case.smaller(its)
    assert name.startswith("gpt") and share <= case.STEP_DOWN
    found = replacing.smaller_model(its)
    assert found.evidence is Evidence.CEILING and found.low == 0 and found.high == pytest.approx(1 - share)
    unknown = [Record(msgspec.structs.replace(r.call, priced_as="none-such", response_model="x")) for r in plain(3)]
    assert replacing.smaller_model(case.case(("", ""), unknown, None, PRICES)).word is Word.SKIPPED


def test_bodies_that_are_missing_or_odd_are_no_error():
    odd = [
        Record(record.call, Payload("x", {"messages": at, "tools": 3}, {"choices": at}))
        for at, record in enumerate(plain(5))
    ]
    found = weighing.weigh({("w", "a"): odd, ("w", "b"): [Record(r.call) for r in plain(5)], ("w", "c"): []}, PRICES)
    assert {worth.agent for worth in found.worths} == {"a", "b"}
    assert weighing.weigh({}, PRICES).worths == ()


def test_secrets_in_labels_are_masked():
    needs_encoder()
    chance = random.Random(1)
    says = ["write to anna.berg@example.com", "call the desk"]
    made = [
        public.record(at, f"question {at} about {name}", name) for at in range(900) for name in [chance.choice(says)]
    ]
    found = only(weighing.weigh({("w", "a"): made}, PRICES, None, Budget(cpu_s=30.0)).worths, "label head")
    assert found.word is Word.WORTH and found.facts["labels"]
    assert "anna.berg" not in msgspec.json.encode(found).decode()


def test_banking77_a_small_encoder_is_enough():
    """The bar of the audit: at least 90 % of held-out answers, said by itself and priced."""
    records = public.records(public.banking77(), 5000)
    needs_encoder()
    found = weighing.weigh({("bank", "intent"): records}, PRICES, None, Budget(cpu_s=120.0))
    head = only(found.worths, "label head")
    assert head.word is Word.WORTH and "a small encoder is enough" in head.says
    assert head.facts["accuracy"] >= 0.9, head.facts
    assert head.facts["accuracy"] > head.facts["tfidf"]
    assert head.low > 0.5 and head.facts["nanodollars_per_call"] < 0.01 * 2_330_000
    cache = only(found.worths, "cache")
    assert cache.word is Word.WORTH and cache.low < cache.saving < cache.high
