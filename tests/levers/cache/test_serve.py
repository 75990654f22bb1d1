"""The step in its chain: hits, misses, streams, collapse, and what is never kept."""

import asyncio
import contextlib
import json

import pytest

from tests.levers.cache.requests import OPEN, Upstream, chat, completion, read, request
from trimtab.deployment import StepSpec
from trimtab.gateway import wire
from trimtab.gateway.chain import Reply, UpstreamFailed, fold
from trimtab.gateway.keys import Key
from trimtab.levers.cache import serve

EXACT = {"semantic": False, "explore": 0}


class Bench:
    """A chain of the cache alone before an upstream."""

    def __init__(self, folder, upstream=None, **given):
        self.upstream = upstream or Upstream()
        self.cache = serve.make(StepSpec("cache", options={**EXACT, **given}), folder)
        self.chain = fold([("cache", self.cache)], self.upstream)
        self.last = None

    async def ask(self, body=None, **more):
        """The answer's text; what was noted is in `last`."""
        asked = request(body, **more)
        self.last = asked.notes
        content = await read(await self.chain(asked))
        await self.cache.settled()
        if asked.head.streamed:
            return content
        return json.loads(content)["choices"][0]["message"]["content"]


def run(folder, scene, **given):
    """Play `scene` with a bench inside one event loop."""

    async def play():
        return await scene(Bench(folder, given.pop("upstream", None), **given))

    return asyncio.run(play())


def test_the_same_question_is_answered_once(tmp_path):
    async def scene(bench):
        first = await bench.ask()
        assert bench.last.cache == "miss"
        again = await bench.ask(chat(f"  {OPEN}"), session="another")
        assert (first, again) == ("Answer 1.", "Answer 1.")
        assert (bench.last.cache, len(bench.upstream.asked)) == ("hit", 1)
        price, usage = bench.last.saved
        assert (price, usage.input_tokens, usage.output_tokens) == ("gpt-4o", 100, 10)
        assert bench.last.endpoint is None
        assert await bench.ask(chat("Something else?")) == "Answer 2."

    run(tmp_path, scene)


@pytest.mark.parametrize("first", [False, True])
def test_what_was_kept_plain_is_streamed_and_the_other_way_round(tmp_path, first):
    async def scene(bench):
        one = await bench.ask({**chat(), "stream": first})
        two = await bench.ask({**chat(), "stream": not first})
        assert len(bench.upstream.asked) == 1
        streamed = one if first else two
        assert streamed.endswith(b"data: [DONE]\n\n")
        assert b'"finish_reason":"stop"' in streamed
        plain = two if first else one
        assert plain == "Answer 1."

    run(tmp_path, scene)


def test_a_key_never_hits_what_another_key_stored(tmp_path):
    async def scene(bench):
        await bench.ask(key=Key(name="a"))
        assert await bench.ask(key=Key(name="b")) == "Answer 2."
        assert await bench.ask(key=Key(name="a")) == "Answer 1."

    run(tmp_path, scene)


def test_tenants_share_only_what_enough_of_them_were_given(tmp_path):
    async def asks(bench, tenant, **more):
        return await bench.ask(tags={"tenant": tenant}, **more)

    async def scene(bench):
        # The same words from upstream each time, so that the tenants are given one answer.
        for tenant in ("a", "b"):
            assert await asks(bench, tenant) == "At nine."
            assert bench.last.cache == "miss"
        assert await asks(bench, "c") == "At nine."
        assert (bench.last.cache, len(bench.upstream.asked)) == ("hit", 2)
        assert bench.last.marks["trimtab.cache_tier"] == "shared"
        for other in ({"body": chat("And on Mondays?")}, {"body": chat(system="You sell boats.")}):
            await asks(bench, "c", **other)
            assert bench.last.cache == "miss"
        await bench.ask(tags={"tenant": "d", "trust": "high"})
        assert bench.last.cache == "miss"

    upstream = Upstream(say=lambda body, number: completion("At nine."))
    run(tmp_path / "shared", scene, upstream=upstream, share_from=2)

    async def apart(bench):
        for tenant in ("a", "b", "c"):
            await asks(bench, tenant)
            assert bench.last.cache == "miss"

    run(tmp_path / "apart", apart)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500, body=b'{"error":{"message":"x"}}'),
        Reply(status=429, body=b'{"error":{"message":"x"}}'),
        completion("half", choices=[{"index": 0, "message": {"content": "half"}, "finish_reason": "length"}]),
        Reply(status=200, body=b"[]"),
        Reply(status=200, body=b'{"choices":"odd"}'),
    ],
)
def test_what_is_no_whole_answer_is_not_kept(tmp_path, reply):
    upstream = Upstream(lambda body, number: reply if number == 1 else completion("Whole."))

    async def scene(bench):
        await read(await bench.chain(request()))
        await bench.cache.settled()
        assert await bench.ask() == "Whole."
        assert bench.last.cache == "miss"
        assert bench.last.step_errors == []

    run(tmp_path, scene, upstream=upstream)


class Cut:
    """A stream that breaks after a few events."""

    def __init__(self, events, error):
        self.events = iter(events)
        self.error = error

    def __aiter__(self):
        return self

    async def __anext__(self):
        event = next(self.events, None)
        if event is None:
            if self.error:
                raise self.error
            raise StopAsyncIteration
        return event


@pytest.mark.parametrize("error", [None, UpstreamFailed("cut", status=502, code="stream_cut")])
def test_a_stream_that_broke_off_is_not_kept(tmp_path, error):
    event = b'data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n'

    def say(body, number):
        return Reply(status=200, chunks=Cut([event], error)) if number == 1 else completion("Whole.")

    async def scene(bench):
        reply = await bench.chain(request({**chat(), "stream": True}))
        with contextlib.suppress(UpstreamFailed):
            await read(reply)
        await bench.cache.settled()
        assert await bench.ask() == "Whole."

    run(tmp_path, scene, upstream=Upstream(say))


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path):
    async def scene(bench):
        reply = await bench.chain(request({**chat(), "stream": True}))
        await anext(reply.chunks)
        await reply.chunks.aclose()
        await bench.cache.settled()
        assert await bench.ask() == "Answer 2."

    run(tmp_path, scene)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_same_question_at_once_goes_upstream_once(tmp_path, streamed):
    async def scene():
        gate = asyncio.Event()
        bench = Bench(tmp_path, Upstream(gate=gate))
        asked = [request({**chat(), "stream": streamed}) for _ in range(20)]
        tasks = [asyncio.create_task(_read_through(bench, each)) for each in asked]
        await until(lambda: bench.upstream.asked)
        gate.set()
        answers = await asyncio.gather(*tasks)
        assert len(bench.upstream.asked) == 1
        assert all(b"Answer" in answer for answer in answers)
        assert sorted(each.notes.cache for each in asked) == ["hit"] * 19 + ["miss"]
        assert {each.notes.marks.get("trimtab.cache_tier") for each in asked} == {None, "collapsed"}

    asyncio.run(scene())


async def until(what):
    """Wait for it, on a machine however busy."""
    for _ in range(3000):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


async def _read_through(bench, asked):
    return await read(await bench.chain(asked))


@pytest.mark.parametrize("kind", ["failed", "refused", "gone"])
def test_who_waited_for_one_that_failed_asks_himself(tmp_path, kind):
    async def scene():
        gate = asyncio.Event()

        def say(body, number):
            if number == 1 and kind == "failed":
                return UpstreamFailed("gone", status=502, code="x")
            if number == 1 and kind == "refused":
                return Reply(status=500, body=b"{}")
            return completion("Whole.")

        bench = Bench(tmp_path, Upstream(say, gate))
        first = asyncio.create_task(_read_through(bench, request()))
        await until(lambda: bench.upstream.asked)
        second = asyncio.create_task(_read_through(bench, request()))
        await until(lambda: [each.waiting for each in bench.cache._flights._under_way.values()] == [1])
        if kind == "gone":
            first.cancel()
        gate.set()
        await asyncio.gather(first, return_exceptions=True)
        assert b"Whole." in await second
        assert len(bench.cache._flights) == 0

    asyncio.run(scene())


def test_who_waits_too_long_asks_himself(tmp_path):
    async def scene():
        gate = asyncio.Event()
        bench = Bench(tmp_path, Upstream(gate=gate), wait_s=0.05)
        tasks = [asyncio.create_task(_read_through(bench, request())) for _ in range(2)]
        await until(lambda: len(bench.upstream.asked) == 2)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_who_may_not_use_it_is_passed_by_with_the_reason(tmp_path):
    async def scene(bench):
        for _ in range(2):
            await bench.ask(chat("Are you open today?"))
        assert len(bench.upstream.asked) == 2
        assert bench.last.cache == "bypass"
        assert bench.last.tags() == {"trimtab.cache": "bypass", "trimtab.cache_why": "time"}
        for headers in ([(b"cache-control", b"no-store")], [(b"cache-control", b"no-cache")]):
            await bench.ask(headers=headers)
        assert len(bench.upstream.asked) == 4
        assert await bench.ask() == "Answer 4.", "an answer made anew was kept"

    run(tmp_path, scene)


def test_a_caller_may_add_only_so_many(tmp_path):
    async def scene(bench):
        for number in range(5):
            await bench.ask(chat(f"Question {'abcde'[number]}?"), key=Key(name="k"))
        await bench.ask(chat("Question e?"), key=Key(name="k"))
        assert bench.last.cache == "miss"
        await bench.ask(chat("Question a?"), key=Key(name="k"))
        assert bench.last.cache == "hit"

    run(tmp_path, scene, admit_per_hour=20)


def test_memory_has_its_bound_and_answers_their_end(tmp_path):
    async def scene(bench):
        for number in range(40):
            await bench.ask(chat(f"About {number}?"))
        assert len(bench.cache._memory) <= 32
        await bench.ask(chat("About 39?"))
        assert bench.last.cache == "hit"

    run(tmp_path, scene, memory_mb=0.03)

    async def brief(bench):
        await bench.ask()
        await asyncio.sleep(0.03)
        await bench.ask()
        assert bench.last.cache == "miss"

    run(tmp_path, brief, lives={"stable": 0.01, "changing": 0.01})


def test_the_body_that_goes_upstream_is_the_clients_own(tmp_path):
    async def scene(bench):
        odd = b'{ "zeta":1, "model":"m",\n "messages":[{"role":"user","content":"caf\\u00e9"}] }'
        await read(await bench.chain(request(odd)))
        assert bench.upstream.asked[0].body == odd
        assert wire.head(odd) == bench.upstream.asked[0].head

    run(tmp_path, scene)
