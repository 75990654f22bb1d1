import asyncio
import socket
import time

import msgspec
import pytest
from aiohttp import web

from tests.arena.endpoint import Endpoint, completion, stream
from trimtab.arena.client import Target
from trimtab.arena.dealership import tasks
from trimtab.arena.run import Pace, Run
from trimtab.errors import ArenaError, UpstreamError


def play(todo, endpoint=None, pace=None, trials=1, as_stream=True):
    """The finished Run of `todo` against an endpoint."""

    async def all_of_it():
        async with (endpoint or Endpoint()).open() as opened:
            run = Run(Target(opened.url, "dealer-teacher", stream=as_stream), todo, pace or Pace(4), trials)
            if endpoint is not None:
                endpoint.run = run
            await run.play(ended.append)
            return run

    ended = []
    run = asyncio.run(all_of_it())
    assert sorted(s.trace_id for s in ended) == sorted(s.trace_id for s in run.sessions)
    return run


@pytest.mark.parametrize("as_stream", [True, False])
def test_the_oracle_behind_an_endpoint_solves_every_task(as_stream):
    todo = tasks.draw("test", 24, 5)
    endpoint = Endpoint()
    run = play(todo, endpoint, as_stream=as_stream)
    assert [s.faults for s in run.sessions] == [()] * 24
    assert [s.task for s in run.sessions] == todo
    assert all(s.path == s.expected and s.why == "left" for s in run.sessions)
    assert sum(s.calls for s in run.sessions) == len(endpoint.asked)
    assert sum(s.tool_calls for s in run.sessions) == sum(m.stage.tool_calls for m in endpoint.mirrors.values())
    assert all(0 < s.cached_tokens < s.input_tokens for s in run.sessions)
    assert not run.active
    assert run.seconds > 0


def test_trials_are_sessions_of_their_own():
    run = play(tasks.draw("train", 3, 1), trials=2)
    assert [(s.task.id, s.trial) for s in run.sessions] == [
        (f"train-1-0000{i}", trial) for trial in (0, 1) for i in range(3)
    ]
    assert len({s.trace_id for s in run.sessions}) == 6


async def _status_500(request, body):
    return web.json_response({"error": {"message": "out of memory"}}, status=500)


async def _cut_stream(request, body):
    return await stream(request, [b'{"choices": [{"index": 0, "delta": {"content": "Which "}}]}'])


async def _dropped(request, body):
    return await stream(request, [b'{"choices": []}'], drop=True)


async def _refused(request, body):
    request.transport.abort()
    return web.Response()


async def _no_json(request, body):
    return await stream(request, [b"{not json"])


async def _no_shape(request, body):
    message = {"role": "assistant", "tool_calls": [{"id": "x"}]}
    return web.json_response(completion(message))


@pytest.mark.parametrize("fault", [_status_500, _cut_stream, _dropped, _refused, _no_json, _no_shape])
def test_one_broken_session_is_unsolved_and_the_others_go_on(fault):
    todo = tasks.draw("test", 5, 5)

    async def broken(request, body):
        return await fault(request, body) if request.headers["x-trimtab-session"] == f"{todo[2].id}.0" else None

    run = play(todo, Endpoint(broken), as_stream=fault is not _no_shape)
    assert [s.solved for s in run.sessions] == [True, True, False, True, True]
    bad = run.sessions[2]
    assert bad.why == "no answer"
    assert len(bad.faults) == 1
    assert bad.faults[0].startswith("no answer: ")
    assert "\n" not in bad.faults[0]
    assert (bad.path, bad.calls, bad.tool_calls) == ((), 0, 0)
    assert bad.expected
    assert not run.active


def test_tokens_used_before_the_break_are_counted():
    todo = [t for t in tasks.draw("test", 40, 5) if t.family == "service_book"][:1]

    async def broken(request, body):
        return await _status_500(request, body) if len(endpoint.asked) == 3 else None

    endpoint = Endpoint(broken)
    (session,) = play(todo, endpoint).sessions
    assert not session.solved
    assert session.calls == 2
    assert session.input_tokens > 0


def test_nobody_listening_is_one_clear_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        run = Run(Target(url, "m"), tasks.draw("test", 3, 0), Pace())
        with pytest.raises(UpstreamError, match=f"nothing answers at {url}: start it, or name another --endpoint"):
            asyncio.run(run.play())
    assert run.sessions == []


def test_at_most_so_many_sessions_at_once():
    at_once = []

    async def broken(request, body):
        at_once.append(len(endpoint.run.active))

    endpoint = Endpoint(broken)
    play(tasks.draw("test", 12, 5), endpoint, Pace(3))
    assert max(at_once) == 3


def test_customers_arrive_at_their_own_times():
    todo = tasks.draw("test", 8, 5)
    speed = todo[-1].arrival_s / 0.6
    endpoint = Endpoint()
    run = play(todo, endpoint, Pace(8, speed))
    came = {}
    for headers, _, when in endpoint.asked:
        came.setdefault(headers["x-trimtab-session"], when - run.started)
    for task in todo:
        assert came[f"{task.id}.0"] >= task.arrival_s / speed - 0.005
    assert all(s.solved for s in run.sessions)


def test_who_finds_the_house_full_waits_and_the_wait_is_told():
    async def slow(request, body):
        await asyncio.sleep(0.05)

    todo = [msgspec.structs.replace(task, arrival_s=0.0) for task in tasks.draw("test", 3, 5)]
    began = time.perf_counter()
    run = play(todo, Endpoint(slow), Pace(1, 1.0))
    assert sum(s.waited_s for s in run.sessions) > 0.05
    assert max(s.waited_s for s in run.sessions) <= time.perf_counter() - began


@pytest.mark.parametrize("make", [lambda: Pace(0), lambda: Pace(1, -1.0), lambda: Pace(1, float("nan"))])
def test_a_pace_without_meaning_is_refused(make):
    with pytest.raises(ArenaError):
        make()


def test_no_trials_are_refused():
    with pytest.raises(ArenaError, match="0 trials"):
        Run(Target("http://127.0.0.1:1/v1", "m"), [], Pace(), 0)
