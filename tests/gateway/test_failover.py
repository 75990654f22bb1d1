"""Who is asked next, when, and under which deadline."""

import asyncio
import time
from email.utils import formatdate

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from trimtab.deployment import BreakerPolicy, Deployment, RetryPolicy
from trimtab.endpoint import Endpoint
from trimtab.gateway import attribution, wire
from trimtab.gateway.breaker import State
from trimtab.gateway.chain import Notes, Reply, Request, UpstreamFailed
from trimtab.gateway.failover import Failover, retry_after, wait_s
from trimtab.gateway.metrics import Meter
from trimtab.trace import EndState

ONE, TWO, THREE = (Endpoint(name=name, url=f"http://{name}/v1", model="m") for name in ("one", "two", "three"))
QUICK = RetryPolicy(attempts=3, deadline_s=5, wait_s=0.001, max_wait_s=0.002)
BODY = b'{"model":"m"}'
GOOD = Reply(status=200, body=b"good")
COUNTS = {"waiting": 0}


def deployment(**fields):
    known = {"name": "d", "endpoints": (ONE, TWO, THREE), "fallbacks": {"m": ("two", "three")}, "retry": QUICK}
    return Deployment(**{**known, **fields})


def request(given=None, headers=()):
    return Request(BODY, wire.head(BODY), headers, ONE, attribution.of([], None), Notes(), given or deployment())


def answers(status, headers=()):
    return Reply(status=status, headers=headers, body=b"%d" % status)


def dead():
    return UpstreamFailed("dead", status=502, code="upstream_unreachable")


class Attempts:
    """Answers by endpoint name: one outcome for ever, or a list of them, one a try."""

    def __init__(self, **outcomes):
        self.outcomes = outcomes
        self.asked = []

    async def __call__(self, request):
        self.asked.append(request)
        request.notes.endpoint = request.endpoint
        outcome = self.outcomes[request.endpoint.name]
        outcome = outcome.pop(0) if isinstance(outcome, list) else outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def names(self):
        return [request.endpoint.name for request in self.asked]


def run(attempts, asked=None, failover=None):
    asked = asked or request()
    failover = failover or Failover(attempts, Meter())
    try:
        return asyncio.run(failover.send(asked)), asked.notes
    except UpstreamFailed as error:
        return error, asked.notes


def test_a_good_answer_is_the_only_attempt():
    attempts = Attempts(one=GOOD)
    reply, notes = run(attempts)
    assert reply is GOOD and attempts.names == ["one"]
    assert (notes.fallback, notes.tags()) == (False, {})


@pytest.mark.parametrize("failure", [answers(500), answers(503), answers(529), answers(408), dead()])
def test_a_passing_failure_is_tried_again(failure):
    attempts = Attempts(one=[failure, failure, GOOD])
    reply, notes = run(attempts, request(deployment(fallbacks={})))
    assert reply is GOOD
    assert notes.tags()["trimtab.attempts"].count("one:") == 3


def test_when_its_tries_are_spent_the_fallbacks_are_asked_in_order():
    attempts = Attempts(one=dead(), two=answers(500), three=GOOD)
    meter = Meter()
    reply, notes = run(attempts, failover=Failover(attempts, meter))
    assert reply is GOOD and attempts.names == ["one"] * 3 + ["two"] * 3 + ["three"]
    assert notes.fallback and notes.endpoint is THREE
    assert notes.tags()["trimtab.fallback"] == "true"
    lines = meter.text(COUNTS).splitlines()
    assert 'trimtab_fallbacks_total{endpoint="one",by="three"} 1' in lines
    assert 'trimtab_retries_total{endpoint="one",after="upstream_unreachable"} 2' in lines
    assert 'trimtab_breaker_state{endpoint="one",state="closed"} 1' in lines


@pytest.mark.parametrize("status", [400, 413, 422, 401])
def test_what_is_the_clients_own_doing_is_neither_repeated_nor_moved(status):
    attempts = Attempts(one=answers(status), two=GOOD)
    assert run(attempts)[0].status == status
    assert attempts.names == ["one"]


@pytest.mark.parametrize(
    "failure", [answers(404), answers(402), answers(429), UpstreamFailed("", status=504, code="upstream_timeout")]
)
def test_what_another_try_will_not_mend_goes_to_the_next_at_once(failure):
    attempts = Attempts(one=failure, two=GOOD)
    assert run(attempts)[0] is GOOD
    assert attempts.names == ["one", "two"]


def test_a_refused_key_of_the_gateway_is_tried_elsewhere():
    keyed = msgspec.structs.replace(ONE, key_env="K")
    attempts = Attempts(one=answers(401), two=GOOD)
    asked = msgspec.structs.replace(request(deployment(endpoints=(keyed, TWO, THREE))), endpoint=keyed)
    assert run(attempts, asked)[0] is GOOD


def test_when_all_fail_the_client_gets_the_failure_of_its_own_choice():
    attempts = Attempts(one=answers(500), two=answers(429), three=dead())
    reply, notes = run(attempts)
    assert reply.status == 500
    assert notes.endpoint is ONE and not notes.fallback


def test_a_clients_key_does_not_go_to_another_server():
    sent = ((b"authorization", b"Bearer sk"), (b"x-api-key", b"k"), (b"x-other", b"kept"))
    attempts = Attempts(one=dead(), two=GOOD)
    run(attempts, request(headers=sent))
    assert attempts.asked[0].headers == sent
    assert attempts.asked[-1].headers == ((b"x-other", b"kept"),)
    near = (ONE, Endpoint(name="two", url="http://one/other", model="m"))
    attempts = Attempts(one=dead(), two=GOOD)
    run(attempts, request(deployment(endpoints=near, fallbacks={"one": ("two",)}), headers=sent))
    assert attempts.asked[-1].headers == sent


def test_one_500_does_not_close_a_model_to_anyone():
    attempts = Attempts(one=[answers(500)] * 3 + [GOOD])
    failover = Failover(attempts, Meter())
    alone = deployment(fallbacks={})
    assert run(attempts, request(alone), failover)[0].status == 500
    assert run(attempts, request(alone), failover)[0] is GOOD


def test_a_single_endpoint_is_always_tried_but_only_once_while_its_breaker_is_open():
    attempts = Attempts(one=dead())
    failover = Failover(attempts, Meter())
    alone = deployment(fallbacks={}, breaker=BreakerPolicy(failures=2, open_s=60))
    for expected in (2, 3, 4):
        assert run(attempts, request(alone), failover)[0].code == "upstream_unreachable"
        assert len(attempts.asked) == expected
    attempts.outcomes["one"] = GOOD
    assert run(attempts, request(alone), failover)[0] is GOOD
    assert failover.breakers.states() == {"one": State.CLOSED}


def test_an_open_breaker_puts_its_endpoint_last():
    attempts = Attempts(one=dead(), two=GOOD, three=GOOD)
    failover = Failover(attempts, Meter())
    given_ = deployment(breaker=BreakerPolicy(failures=2, open_s=60))
    run(attempts, request(given_), failover)
    assert attempts.names == ["one", "one", "two"]
    run(attempts, request(given_), failover)
    assert attempts.names[3:] == ["two"]
    attempts.outcomes.update(two=answers(429), three=answers(429), one=GOOD)
    attempts.asked.clear()
    assert run(attempts, request(given_), failover)[0] is GOOD
    assert attempts.names == ["two", "three", "one"]


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (EndState.COMPLETE, "closed"),
        (EndState.CUT, "open"),
        (EndState.STALLED, "open"),
        (EndState.CLIENT_GONE, "closed"),
    ],
)
def test_a_streams_end_counts_for_the_breaker(end, state):
    attempts = Attempts(one=Reply(status=200, chunks=object()))
    failover = Failover(attempts, Meter())
    _, notes = run(attempts, request(deployment(breaker=BreakerPolicy(failures=1))), failover)
    assert failover.breakers.states() == {"one": State.CLOSED}
    notes.ended(end)
    assert failover.breakers.states() == {"one": state}


def test_all_tries_and_waits_share_one_deadline():
    attempts = Attempts(one=dead(), two=dead(), three=dead())
    policy = RetryPolicy(attempts=100_000, deadline_s=0.3, wait_s=0.02, max_wait_s=0.02)
    began = time.monotonic()
    outcome, _ = run(attempts, request(deployment(retry=policy, breaker=BreakerPolicy(failures=10**9))))
    assert outcome.code == "upstream_unreachable"
    assert time.monotonic() - began < 2
    assert 3 < len(attempts.asked) < 300_000


def test_an_attempt_ends_with_the_deadline():
    async def hangs(request):
        await asyncio.sleep(60)

    outcome, notes = run(None, request(deployment(retry=RetryPolicy(deadline_s=0.2))), Failover(hangs, Meter()))
    assert (outcome.status, outcome.code) == (504, "deadline_exceeded")
    assert notes.attempts == ["one:deadline_exceeded"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"7"}, 7),
        ({b"retry-after": b" 1.5 "}, 1.5),
        ({b"retry-after": b"-3"}, 0),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"7", b"retry-after-ms": b"250"}, 0.25),
        ({b"retry-after": formatdate(1_000_030, usegmt=True).encode()}, 30),
        ({b"retry-after": formatdate(999_000, usegmt=True).encode()}, 0),
    ],
)
def test_retry_after_in_its_forms(headers, seconds):
    assert retry_after(answers(429, tuple(headers.items())), 1_000_000) == pytest.approx(seconds)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40) | st.from_regex(rb"[A-Z][a-z]{2}, ?\d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ ?.*", fullmatch=True)
)
def test_any_retry_after_is_a_wait_or_nothing(text):
    seconds = retry_after(answers(429, ((b"retry-after", text),)), 1_000_000)
    assert seconds is None or 0 <= seconds < float("inf")


@settings(max_examples=300, deadline=None)
@given(
    st.builds(RetryPolicy, wait_s=st.floats(0.001, 100), max_wait_s=st.floats(0.001, 100)),
    st.integers(1, 10_000),
    st.none() | st.floats(0, 1000),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_bounded_jittered_and_never_shorter_than_asked(policy, tried, asked, chance):
    wait = wait_s(policy, tried, asked, chance)
    if asked is not None and asked > policy.max_wait_s:
        assert wait is None
        return
    least = asked or 0.0
    assert least <= wait <= least + policy.max_wait_s
    assert wait_s(policy, tried, asked, 0.0) == least
    later = wait_s(policy, tried + 1, asked, chance)
    assert wait <= later <= least + max(2.0001 * (wait - least), 1e-9) or later == pytest.approx(least)
