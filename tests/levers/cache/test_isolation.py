"""Nobody ever gets an answer that was made for another: 100,000 requests through the step."""

import asyncio
import itertools
import json
import random

import msgspec
import numpy as np

from tests.levers.cache.requests import Upstream, chat, completion, read, request
from trimtab.deployment import StepSpec
from trimtab.gateway.chain import Notes, fold
from trimtab.gateway.keys import Key
from trimtab.levers.cache import serve, tiers
from trimtab.levers.cache.policy import Choice

REQUESTS = 100_000
KEYS = [None, Key(name="a"), Key(name="b"), Key(name="a2", tenant="t"), Key(name="a3", tenant="t2")]
TAGS = [{}, {"tenant": "x"}, {"tenant": "y"}, {"trust": "high"}, {"corpus": "2"}]
BODIES = [
    chat(),
    chat(system="Sell vans."),
    chat(temperature=0),
    chat(max_tokens=7),
    chat(tools=[{"type": "function", "function": {"name": "f"}}]),
    chat(response_format={"type": "json_object"}),
    {**chat(), "model": "m2"},
    chat("Where is my order?"),
    chat("Which colours are there?"),
]
HEADERS = [(), ((b"authorization", b"Bearer sk-1"),), ((b"x-account", b"7"),)]
SESSIONS = ["s1", "s2"]


def test_no_answer_crosses_a_partition(tmp_path):
    """Each kind of request gets an answer of its own; whoever gets another's has crossed."""
    kinds = []
    for place, (key, tags, body, headers, session) in enumerate(
        itertools.product(KEYS, TAGS, BODIES, HEADERS, SESSIONS)
    ):
        private = body["messages"][-1]["content"].startswith("Where")
        whose = (KEYS.index(key), str(tags), BODIES.index(body), headers, session if private else "")
        kinds.append((request(body, key=key, headers=headers, tags=tags, session=session), str(whose), place))
    names = {id(kind[0].body): kind[1] for kind in kinds}
    upstream = Upstream(lambda body, number: completion(upstream.now))
    cache = serve.make(
        StepSpec("cache", options={"semantic": False, "admit_per_hour": 1e9, "explore": 0, "memory_s": 1e6}), tmp_path
    )
    chain = fold([("cache", cache)], upstream)
    chance = random.Random(11)

    async def play():
        hits = crossed = 0
        for _ in range(REQUESTS):
            asked, whose, _ = chance.choice(kinds)
            notes = Notes()
            notes.key = asked.notes.key
            upstream.now = whose
            reply = await chain(msgspec.structs.replace(asked, notes=notes))
            if notes.cache == "miss":
                await read(reply)
                await cache.settled()
                continue
            hits += notes.cache == "hit"
            crossed += json.loads(reply.body)["choices"][0]["message"]["content"] != whose
        return hits, crossed

    hits, crossed = asyncio.run(play())
    assert len(names) == len(kinds)
    assert crossed == 0
    distinct = len({whose for _, whose, _ in kinds})
    assert hits == REQUESTS - distinct, "every kind was asked upstream once, and all else were hits"


class Letters:
    """An encoder of the letters in a text: any two questions of the same words are near."""

    dims = 26
    version = "letters"

    def embed(self, texts):
        counts = np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def nearest(self, asked, vector, near):
    """The worst decision there could be: always the nearest, whatever it is."""
    blank = dict.fromkeys(Choice._fields)
    entry = near[0].entry if near else None
    return Choice(**{**blank, "entry": entry, "score": 0.0, "explore": False, "reason": "", "compare": ()})


def test_no_answer_crosses_a_partition_by_meaning_or_on_the_disk(tmp_path, monkeypatch):
    """Two steps over the same rows, questions that all look alike, and a decision that always serves."""
    monkeypatch.setattr(tiers, "_encoder", lambda spec: Letters())
    monkeypatch.setattr(tiers.Route, "decide", nearest)
    given = {"admit_per_hour": 1e9, "explore": 0, "memory_s": 0}
    upstream = Upstream(lambda body, number: completion(upstream.now))
    caches = [serve.make(StepSpec("cache", options=given), tmp_path) for _ in range(2)]
    chains = [fold([("cache", cache)], upstream) for cache in caches]
    chance = random.Random(13)
    texts = ["Which colours are there?", "Which colours there are?", "There are which colours?"]

    async def ask(place, key, tags, body, headers):
        upstream.now = str((KEYS.index(key), str(tags), BODIES.index(body), headers))
        asked = {**body, "messages": [*body["messages"][:-1], {"role": "user", "content": chance.choice(texts)}]}
        sent = request(asked, key=key, headers=headers, tags=tags)
        answer = json.loads(await read(await chains[place](sent)))
        await caches[place].settled()
        crossed = answer["choices"][0]["message"]["content"] != upstream.now
        return sent.notes.marks.get("trimtab.cache_tier"), crossed

    async def play():
        while any(cache.tiers.semantic is None for cache in caches):
            assert not any(cache.tiers.broken for cache in caches)
            await asyncio.sleep(0.01)
        draw = chance.choice
        return [
            await ask(chance.randrange(2), draw(KEYS), draw(TAGS), draw(BODIES[:-2]), draw(HEADERS))
            for _ in range(2500)
        ]

    told = asyncio.run(play())
    assert not any(crossed for _, crossed in told)
    counts = {tier: sum(its == tier for its, _ in told) for tier in ("exact", "semantic")}
    assert min(counts.values()) > 200, counts
