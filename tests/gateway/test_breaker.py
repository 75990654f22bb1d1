"""The breaker over any interleaving of attempts and time: opens when it should, and locks nobody out."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from trimtab.deployment import BreakerPolicy
from trimtab.endpoint import Endpoint
from trimtab.gateway.breaker import Breaker, Breakers, State

POLICY = BreakerPolicy(failures=3, open_s=10)
HERE = Endpoint(name="e", url="http://127.0.0.1:9/v1")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(POLICY, clock)


def failed(breaker, times=3):
    for _ in range(times):
        breaker.enter().settle(False)


def test_it_opens_after_failures_in_a_row_and_not_before(breaker):
    failed(breaker, 2)
    breaker.enter().settle(True)
    failed(breaker, 2)
    assert breaker.state is State.CLOSED
    failed(breaker, 1)
    assert breaker.state is State.OPEN
    assert breaker.enter() is None


def test_after_the_rest_one_probe_goes_and_its_success_closes(breaker, clock):
    failed(breaker)
    clock.now += 10
    assert breaker.state is State.HALF_OPEN
    probe = breaker.enter()
    assert probe.probe and breaker.enter() is None
    probe.settle(True)
    assert breaker.state is State.CLOSED


def test_a_failed_probe_doubles_the_rest_up_to_eight_times(breaker, clock):
    failed(breaker)
    rests = []
    for _ in range(6):
        began = clock.now
        while (probe := breaker.enter()) is None:
            clock.now += 5
        rests.append(clock.now - began)
        probe.settle(False)
    assert rests == [10, 20, 40, 80, 80, 80]


def test_a_probe_that_learnt_nothing_gives_its_place_back(breaker, clock):
    failed(breaker)
    clock.now += 10
    breaker.enter().settle(None)
    assert breaker.enter().probe


def test_a_lost_probe_does_not_lock_the_endpoint_out(breaker, clock):
    failed(breaker)
    clock.now += 10
    lost = breaker.enter()
    clock.now += 10
    assert breaker.enter().probe
    lost.settle(None)


def test_what_began_before_the_opening_does_not_close_it(breaker):
    early = breaker.enter()
    failed(breaker)
    early.settle(True)
    assert breaker.state is State.OPEN


def test_a_forced_attempt_that_succeeds_closes_and_one_that_fails_changes_nothing(breaker, clock):
    failed(breaker)
    breaker.force().settle(False)
    clock.now += 9.9
    assert breaker.state is State.OPEN
    breaker.force().settle(True)
    assert breaker.state is State.CLOSED


def test_a_ticket_counts_once(breaker):
    ticket = breaker.enter()
    for _ in range(5):
        ticket.settle(False)
    assert breaker.state is State.CLOSED


def test_a_new_address_under_an_old_name_begins_anew(clock):
    breakers = Breakers(clock)
    failed(breakers.of(HERE, POLICY))
    assert breakers.of(HERE, POLICY).state is State.OPEN
    assert breakers.states() == {"e": State.OPEN}
    assert breakers.of(Endpoint(name="e", url="http://127.0.0.1:8/v1"), POLICY).state is State.CLOSED


STEPS = st.lists(
    st.one_of(
        st.just("enter"),
        st.just("force"),
        st.tuples(st.sampled_from([True, False, None]), st.integers(0, 5)),
        st.floats(0, 30),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_over_any_interleaving(steps):
    clock = Clock()
    breaker = Breaker(POLICY, clock)
    running, probes, fails = [], {}, 0
    for step in steps:
        before = breaker.state
        if step == "enter":
            ticket = breaker.enter()
            assert (ticket is None) <= (before is not State.CLOSED)
            assert (ticket is not None and ticket.probe) <= (before is State.HALF_OPEN)
            if ticket is not None:
                running.append(ticket)
            if ticket is not None and ticket.probe:
                # Another probe may go only when the one before is over or has kept its place for a rest.
                assert all(clock.now >= since + 10 for since in probes.values())
                probes[ticket] = clock.now
        elif step == "force":
            running.append(breaker.force())
        elif isinstance(step, tuple):
            healthy, which = step
            if which < len(running):
                ticket = running.pop(which)
                probes.pop(ticket, None)
                fails += healthy is False
                ticket.settle(healthy)
                assert (breaker.state is State.OPEN and before is not State.OPEN) <= (healthy is False)
                if breaker.state is not before:
                    probes.clear()
        else:
            clock.now += step
        assert fails >= 3 or breaker.state is State.CLOSED
    clock.now += 1000
    assert breaker.enter() is not None, "locked out for ever"
