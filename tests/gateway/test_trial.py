"""Trials: sessions stay on their side, and what the candidate fails to answer the baseline does."""

import asyncio

import msgspec
import pytest

from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.errors import RequestRefused
from trimtab.gateway.attribution import Attribution
from trimtab.gateway.chain import Notes, Reply, Request, UpstreamFailed
from trimtab.gateway.serving import Serving
from trimtab.gateway.trial import Trial, backed
from trimtab.gateway.wire import Head


def deployment(name):
    endpoint = Endpoint(name=name, url=f"http://{name}/v1", model=name)
    return Deployment(name=name, endpoints=(endpoint,), routes={"m": name})


def serving(name, outcome=200):
    """Answers with its name, or fails as `outcome` says."""

    async def chain(request):
        request.notes.endpoint = request.endpoint
        if isinstance(outcome, Exception):
            raise outcome
        return Reply(outcome, body=request.endpoint.name.encode())

    return Serving(deployment(name), chain)


def trial(share, candidate="new"):
    return Trial("a-rollout", serving("old"), serving(candidate), share, lambda finished: None)


def who(session="", trace="t" * 32):
    return Attribution(trace, "s" * 16, session=session)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_sessions_are_split_by_share_and_stay(share):
    tried = trial(share)
    sides = [tried.serving_for("m", who(f"session {n}")) for n in range(2000)]
    found = sum(side is tried.candidate for side in sides) / 2000
    assert abs(found - share) < 0.03
    assert sides == [tried.serving_for("m", who(f"session {n}", trace=f"{n:032x}")) for n in range(2000)]


def test_without_a_session_a_trace_stays_on_its_side():
    tried = trial(0.5)
    sides = {n: tried.serving_for("m", who(trace=f"{n:032x}")).deployment.name for n in range(200)}
    assert set(sides.values()) == {"old", "new"}
    assert all(tried.serving_for("m", who(trace=f"{n:032x}")).deployment.name == side for n, side in sides.items())


def test_a_model_that_the_candidate_does_not_know_stays_with_the_baseline():
    tried = trial(1.0)
    assert tried.serving_for("m", who("s")) is tried.candidate
    assert tried.serving_for("old", who("s")) is tried.baseline


FAILED = UpstreamFailed("gone", status=502, code="upstream_unreachable")


def asked(candidate, baseline=200):
    both = backed(serving("new", candidate), serving("old", baseline))
    request = Request(
        body=b"{}",
        head=Head(model="m"),
        headers=(),
        endpoint=both.deployment.endpoints[0],
        who=who("s"),
        notes=Notes(),
        deployment=both.deployment,
    )
    return asyncio.run(both.chain(request)), request.notes


@pytest.mark.parametrize("failure", [FAILED, 503, 429, 401, 400])
def test_the_baseline_answers_where_the_candidate_fails(failure):
    reply, notes = asked(failure)
    assert (reply.status, reply.body) == (200, b"old")
    assert notes.endpoint.name == "old" and notes.tags()["trimtab.rescued"] == "true"


def test_a_candidate_that_answers_is_not_rescued():
    reply, notes = asked(200)
    assert reply.body == b"new" and "trimtab.rescued" not in notes.tags()


def test_where_both_fail_the_client_hears_the_baseline():
    assert asked(503, 429)[0].status == 429
    with pytest.raises(UpstreamFailed):
        asked(503, FAILED)


def test_what_a_step_of_the_candidate_refuses_stays_refused():
    with pytest.raises(RequestRefused):
        asked(RequestRefused("not this"))


def test_the_steps_can_be_put_round_another_upstream_call():
    async def step(request, call_next):
        reply = await call_next(request)
        return msgspec.structs.replace(reply, body=reply.body + b"!")

    async def tail(request):
        return Reply(200, body=b"aside")

    made = Serving(deployment("new"), tail, (("step", step),))
    request = Request(b"{}", Head(model="m"), (), made.deployment.endpoints[0], who("s"), Notes())
    assert asyncio.run(made.over(tail)(request)).body == b"aside!"
