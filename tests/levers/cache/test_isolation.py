"""Nobody ever gets an answer that was made for another: 100,000 requests through the step."""

import asyncio
import itertools
import json
import random

import msgspec

from tests.levers.cache.requests import Upstream, chat, completion, read, request
from trimtab.deployment import StepSpec
from trimtab.gateway.chain import Notes, fold
from trimtab.gateway.keys import Key
from trimtab.levers.cache import serve

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
