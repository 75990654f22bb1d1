"""The onion's order, and that a broken step costs the client nothing."""

import asyncio

import msgspec
import pytest

from trimtab.endpoint import Endpoint
from trimtab.errors import RequestRefused
from trimtab.gateway import attribution, wire
from trimtab.gateway.chain import Notes, Reply, Request, UpstreamFailed, fold

BODY = b'{"model":"m"}'


def request():
    who = attribution.of([], None)
    return Request(BODY, wire.head(BODY), (), Endpoint(name="e", url="http://e"), who, Notes())


class Tail:
    def __init__(self, error=None):
        self.bodies = []
        self.error = error

    async def __call__(self, request):
        self.bodies.append(request.body)
        if self.error:
            raise self.error
        return Reply(status=200, body=request.body)


def adds(mark):
    async def step(request, call_next):
        reply = await call_next(msgspec.structs.replace(request, body=request.body + mark))
        return msgspec.structs.replace(reply, body=reply.body + mark)

    return step


async def breaks_before(request, call_next):
    raise ValueError("before")


async def breaks_after(request, call_next):
    await call_next(request)
    raise ValueError("after")


async def refuses(request, call_next):
    raise RequestRefused("no", status=403)


def run(steps, tail, asked=None):
    return asyncio.run(fold(steps, tail)(asked or request()))


def test_the_first_step_is_outermost():
    tail = Tail()
    assert run([("a", adds(b"a")), ("b", adds(b"b"))], tail).body == BODY + b"abba"
    assert tail.bodies == [BODY + b"ab"]


def test_a_step_may_answer_by_itself():
    async def cached(request, call_next):
        return Reply(status=200, body=b"cached")

    tail = Tail()
    assert run([("cache", cached)], tail).body == b"cached"
    assert tail.bodies == []


@pytest.mark.parametrize("step", [breaks_before, breaks_after])
def test_a_broken_step_is_passed_over_and_the_upstream_is_called_once(step):
    tail, asked = Tail(), request()
    assert run([("a", adds(b"a")), ("bad", step)], tail, asked).body == BODY + b"aa"
    assert tail.bodies == [BODY + b"a"]
    assert asked.notes.step_errors == [f"bad: ValueError: {step.__name__.removeprefix('breaks_')}"]


def test_a_refusal_on_purpose_stands():
    with pytest.raises(RequestRefused):
        run([("a", adds(b"a")), ("guard", refuses)], Tail())


@pytest.mark.parametrize("error", [UpstreamFailed("gone", status=502, code="x"), OSError("odd")])
def test_the_upstreams_failure_is_not_the_steps(error):
    tail, asked = Tail(error), request()
    with pytest.raises(type(error)):
        run([("a", adds(b"a")), ("b", adds(b"b"))], tail, asked)
    assert len(tail.bodies) == 1
    assert asked.notes.step_errors == []
