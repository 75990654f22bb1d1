"""Reserve, settle and refund on a real file: any order, threads and processes, restarts, and the edges of time."""

import contextlib
import math
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.gateway import keydb
from trimtab.gateway.admission import Busy, Denial, Hold, Limit
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import Key
from trimtab.gateway.ledger import Ledger
from trimtab.gateway.soleledger import SoleLedger
from trimtab.gateway.spans import RESERVATION_S, RUN_KEPT_NS

SECOND = 10**9
DAY = 86_400
# 2026-11-23, a Monday late in its month.
NOON = 1_795_435_200


class Clock:
    """Unix ns that only tests move."""

    def __init__(self, seconds=NOON):
        self.ns = round(seconds * SECOND)

    def __call__(self):
        return self.ns

    def add(self, seconds):
        self.ns += round(seconds * SECOND)


def make(folder, **limits):
    """A key with these limits, and its secret."""
    ring = Ring(Path(folder))
    secret = ring.create(Key(name="k", **limits))
    return ring.get("k"), secret


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=[Ledger, SoleLedger])
def kind(request):
    """That of several processes which share the file, and that of one alone."""
    return request.param


@pytest.fixture
def ledger(kind, tmp_path, clock):
    with closing(kind(tmp_path, clock=clock)) as ledger:
        yield ledger


@pytest.fixture
def shared(tmp_path, clock):
    with closing(Ledger(tmp_path, clock=clock)) as ledger:
        yield ledger


def test_a_budget_is_taken_and_given_back_whole(tmp_path, ledger):
    key, _ = make(tmp_path, day_nanodollars=100)
    held = ledger.reserve(key, "t", 0, 60)
    denial = ledger.reserve(key, "t", 0, 41)
    assert denial == Denial(Limit.DAY, 100, 0, 60, 41, 1)
    ledger.refund(held)
    whole = ledger.reserve(key, "t", 0, 100)
    assert isinstance(whole, Hold)
    ledger.settle(whole, 7, 30)
    assert ledger.reserve(key, "t", 0, 71).used == 30
    used = ledger.used(key)
    assert (used.day_requests, used.day_tokens, used.day_nanodollars, used.held_nanodollars) == (2, 7, 30, 0)


def test_day_and_month_begin_in_utc_and_a_call_is_charged_to_the_day_it_began(tmp_path, ledger, clock):
    key, _ = make(tmp_path, day_nanodollars=100, month_nanodollars=150)
    clock.ns = (NOON + 8 * DAY) * SECOND - SECOND  # the first of December, a second before noon
    assert time.gmtime(clock.ns // SECOND)[:3] == (2026, 12, 1)
    clock.ns = (NOON // DAY + 8) * DAY * SECOND - 1  # the last ns of November
    late = ledger.reserve(key, "t", 0, 100)
    assert ledger.reserve(key, "t", 0, 1).wait_s == 1
    clock.ns += 1
    first = ledger.reserve(key, "t", 0, 100)
    assert isinstance(first, Hold), "December has its own day and month"
    ledger.settle(late, 0, 100)
    ledger.settle(first, 0, 100)
    denial = ledger.reserve(key, "t", 0, 1)
    assert (denial.limit, denial.wait_s) == (Limit.DAY, DAY)
    clock.add(DAY)
    assert ledger.reserve(key, "t", 0, 51) == Denial(Limit.MONTH, 150, 100, 0, 51, 30 * DAY)
    assert isinstance(ledger.reserve(key, "t", 0, 50), Hold)


def test_a_run_has_a_budget_of_its_own(tmp_path, ledger):
    key, _ = make(tmp_path, run_nanodollars=10)
    held = ledger.reserve(key, "loop", 0, 8)
    ledger.refund(ledger.reserve(key, "other", 0, 10))
    ledger.settle(held, 0, 10)
    assert ledger.reserve(key, "loop", 0, 1) == Denial(Limit.RUN, 10, 10, 0, 1, None)
    assert isinstance(ledger.reserve(key, "other", 0, 10), Hold)


def test_a_run_is_forgotten_30_days_after_it_spent_last(tmp_path, ledger, clock):
    key, _ = make(tmp_path, run_nanodollars=10)
    for rest, spent in ((20, 3), (20, 6), (31, 0)):
        ledger.settle(ledger.reserve(key, "loop", 0, 3), 0, 3)
        clock.add(rest * DAY)
        ledger.tidy()
        whole = ledger.reserve(key, "loop", 0, 10 - spent)
        assert isinstance(whole, Hold)
        assert isinstance(ledger.reserve(key, "loop", 0, 1), Denial)
        ledger.refund(whole)


def test_what_can_never_pass_has_nothing_to_wait_for(tmp_path, ledger):
    key, _ = make(tmp_path, tokens_per_minute=10, day_nanodollars=10)
    assert ledger.reserve(key, "t", 11, 1) == Denial(Limit.TOKENS, 10, 0, 0, 11, None)
    assert ledger.reserve(key, "t", 1, 11) == Denial(Limit.DAY, 10, 0, 0, 11, None)
    assert ledger.used(key).minute_requests == 0, "a denial takes nothing"


def test_keys_do_not_share(tmp_path, ledger):
    one, _ = make(tmp_path, requests_per_minute=1, run_nanodollars=5)
    ring = Ring(tmp_path)
    ring.create(Key(name="two", requests_per_minute=1, run_nanodollars=5))
    two = ring.get("two")
    for key in (one, two):
        assert isinstance(ledger.reserve(key, "t", 0, 5), Hold)
        assert isinstance(ledger.reserve(key, "t", 0, 5), Denial)


def test_the_reservation_of_a_dead_process_expires_and_its_late_truth_still_counts(tmp_path, shared, clock):
    key, _ = make(tmp_path, month_nanodollars=10)
    with closing(Ledger(tmp_path, clock=clock)) as dead:
        lost = dead.reserve(key, "t", 0, 10)
    _expires(shared, key, lost, clock)


@pytest.mark.parametrize("limit", ["day_nanodollars", "month_nanodollars", "run_nanodollars"])
def test_a_reservation_never_settled_expires_and_its_late_truth_still_counts(tmp_path, ledger, clock, limit):
    key, _ = make(tmp_path, **{limit: 10})
    _expires(ledger, key, ledger.reserve(key, "t", 0, 10), clock)


def _expires(ledger, key, lost, clock):
    clock.add(RESERVATION_S - 0.001)
    assert isinstance(ledger.reserve(key, "t", 0, 1), Denial)
    clock.add(0.001)
    ledger.refund(ledger.reserve(key, "t", 0, 10))
    ledger.tidy()
    ledger.settle(lost, 3, 9)
    assert ledger.reserve(key, "t", 0, 2).used == 9


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.999999999])
def test_the_rate_at_its_edges(tmp_path, ledger, clock, offset):
    key, _ = make(tmp_path, requests_per_minute=2)
    clock.add(offset)
    ledger.reserve(key, "t", 0, 0)
    clock.add(30)
    ledger.reserve(key, "t", 0, 0)
    denial = ledger.reserve(key, "t", 0, 0)
    assert (denial.limit, denial.used, denial.asked) == (Limit.REQUESTS, 2, 1)
    start = clock.ns
    assert denial.wait_s == math.ceil(31 - offset)
    clock.ns = (NOON + 61) * SECOND - 1
    assert isinstance(ledger.reserve(key, "t", 0, 0), Denial)
    clock.ns += 1
    assert clock.ns <= start + denial.wait_s * SECOND
    assert isinstance(ledger.reserve(key, "t", 0, 0), Hold)
    assert isinstance(ledger.reserve(key, "t", 0, 0), Denial), "the second request still counts"


def test_a_key_with_a_rate_of_requests_shows_the_tokens_that_were_really_used(tmp_path, ledger):
    key, _ = make(tmp_path, requests_per_minute=9)
    ledger.settle(ledger.reserve(key, "t", 52, 0), 34, 0)
    assert (ledger.used(key).minute_requests, ledger.used(key).minute_tokens) == (1, 34)


def test_tokens_too_many_go_back_and_tokens_more_count_at_once(tmp_path, ledger, clock):
    key, _ = make(tmp_path, tokens_per_minute=100)
    ledger.settle(ledger.reserve(key, "t", 100, 0), 20, 0)
    assert ledger.used(key).minute_tokens == 20
    long = ledger.reserve(key, "t", 80, 0)
    clock.add(120)
    ledger.tidy()
    ledger.settle(long, 10, 0)
    assert ledger.used(key).minute_tokens == 0, "what left the window is not given back a second time"
    early = ledger.reserve(key, "t", 50, 0)
    clock.add(20)
    ledger.reserve(key, "t", 50, 0)
    clock.add(45)
    ledger.settle(early, 0, 0)
    assert ledger.used(key).minute_tokens == 50, "nor is it taken off what others took"
    clock.add(120)
    grown = ledger.reserve(key, "t", 1, 0)
    clock.add(90)
    ledger.settle(grown, 91, 0)
    assert ledger.reserve(key, "t", 11, 0).used == 90


def test_a_clock_set_back_does_not_block_for_long(tmp_path, ledger, clock):
    key, _ = make(tmp_path, requests_per_minute=1)
    ledger.reserve(key, "t", 0, 0)
    clock.add(-3600)
    assert isinstance(ledger.reserve(key, "t", 0, 0), Hold)


TIMES = st.lists(
    st.integers(0, 3 * SECOND) | st.sampled_from([SECOND, 30 * SECOND, 60 * SECOND, 61 * SECOND, 60 * SECOND - 1]),
    max_size=25,
)


KINDS = st.sampled_from([Ledger, SoleLedger])


@settings(max_examples=50)
@given(kind=KINDS, steps=TIMES, limit=st.integers(1, 4), wanted=st.lists(st.integers(1, 6), min_size=25, max_size=25))
def test_in_no_minute_more_than_the_rate_and_none_refused_without_cause(kind, steps, limit, wanted):
    with tempfile.TemporaryDirectory() as folder:
        key, _ = make(folder, requests_per_minute=limit, tokens_per_minute=8)
        clock, admitted = Clock(), []
        with closing(kind(Path(folder), clock=clock)) as ledger:
            for step, tokens in zip(steps, wanted, strict=False):
                clock.ns += step
                outcome = ledger.reserve(key, "t", tokens, 0)
                if isinstance(outcome, Hold):
                    admitted.append((clock.ns, tokens))
                else:
                    window = [each for at, each in admitted if at > clock.ns - 61 * SECOND]
                    assert len(window) + 1 > limit or sum(window) + tokens > 8
                    now = clock.ns
                    clock.ns = now + outcome.wait_s * SECOND
                    later = ledger.reserve(key, "t", tokens, 0)
                    if outcome.limit is Limit.TOKENS or isinstance(later, Hold):
                        assert isinstance(later, Hold), "after the wait it passes"
                        admitted.append((clock.ns, tokens))
                    else:
                        assert later.limit is Limit.TOKENS, "the wait was for requests, now it is for tokens"
        for start, _ in admitted:
            inside = [tokens for at, tokens in admitted if start <= at < start + 60 * SECOND]
            assert len(inside) <= limit and sum(inside) <= 8


class Book:
    """What the ledger ought to say, kept in a plain list."""

    def __init__(self, key, clock):
        self.key = key
        self.clock = clock
        self.spent = []
        self.held = {}
        self.runs = {}
        self.excess = 0

    def _room(self, limit, wanted, of):
        live = [(run, day, money) for run, day, money, ends in self.held.values() if ends > self.clock.ns]
        taken = sum(money for run, day, money in (*self.spent, *live) if of(run, day))
        return limit is None or taken + wanted <= limit

    def _run_has_room(self, limit, wanted, run):
        rested = sum(money for each, _, money in self.spent if each == run) - self.runs.get(run, (0, 0))[0]
        return limit is None or self._room(limit + rested, wanted, lambda each, _: each == run)

    def admits(self, run, wanted):
        day, key = self.clock.ns // (DAY * SECOND), self.key
        month = time.gmtime(self.clock.ns // SECOND)[:2]
        return not wanted or (
            self._room(key.day_nanodollars, wanted, lambda _, each: each == day)
            and self._room(key.month_nanodollars, wanted, lambda _, each: time.gmtime(each * DAY)[:2] == month)
            and self._run_has_room(key.run_nanodollars, wanted, run)
        )

    def reserve(self, hold):
        ends = self.clock.ns + RESERVATION_S * SECOND
        self.held[hold.id] = (hold.trace_id, hold.day, hold.nanodollars, ends)

    def settle(self, hold, money):
        run, day, reserved, ends = self.held.pop(hold.id)
        # A reservation that ran out no longer bounds anything: all of it may come on top.
        self.excess += money if ends <= self.clock.ns else max(0, money - reserved)
        self.spent.append((run, day, money))
        if money and self.key.run_nanodollars is not None:
            self.runs[run] = (self.runs.get(run, (0, 0))[0] + money, self.clock.ns)

    def tidy(self):
        """Runs that rest begin anew."""
        earliest = self.clock.ns - RUN_KEPT_NS
        self.excess += sum(money for money, last in self.runs.values() if last < earliest)
        self.runs = {run: held for run, held in self.runs.items() if held[1] >= earliest}

    def restart(self):
        """Who is alone knows that nobody else can have a call under way."""
        self.held = {each: (*held[:3], min(held[3], self.clock.ns)) for each, held in self.held.items()}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 1), st.integers(0, 60)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 80)),
        st.tuples(st.just("refund"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("restart"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1, 59, RESERVATION_S, DAY, 9 * DAY]), st.just(0)),
        st.tuples(st.just("tidy"), st.just(0), st.just(0)),
    ),
    max_size=30,
)
BUDGET = st.none() | st.integers(1, 150)


@settings(max_examples=80)
@given(kind=KINDS, steps=STEPS, day=BUDGET, month=BUDGET, run=BUDGET)
def test_any_interleaving_over_restarts_admits_what_it_ought_to(kind, steps, day, month, run):
    """Three processes in turns, or one. The ledger agrees with the book at each step, so a budget is passed by no more
    than calls cost above their own estimates, and a refund blocks nothing."""
    with tempfile.TemporaryDirectory() as folder:
        key, _ = make(folder, day_nanodollars=day, month_nanodollars=month, run_nanodollars=run)
        clock = Clock()
        book, holds = Book(key, clock), []
        ledgers = [kind(Path(folder), clock=clock) for _ in range(3 if kind is Ledger else 1)]
        for number, (verb, which, money) in enumerate(steps):
            ledger = ledgers[number % len(ledgers)]
            if verb == "reserve":
                outcome = ledger.reserve(key, f"run-{which}", 0, money)
                assert isinstance(outcome, Hold) == book.admits(f"run-{which}", money)
                if isinstance(outcome, Hold):
                    holds.append(outcome)
                    book.reserve(outcome)
            elif verb in ("settle", "refund") and holds:
                hold = holds.pop(which % len(holds))
                ledger.settle(hold, 0, money)
                book.settle(hold, money)
            elif verb == "restart":
                which %= len(ledgers)
                ledgers[which].close()
                ledgers[which] = kind(Path(folder), clock=clock)
                if kind is SoleLedger:
                    book.restart()
            elif verb == "wait":
                clock.add(which)
            elif verb == "tidy":
                ledger.tidy()
                book.tidy()
        for hold in holds:
            ledgers[0].refund(hold)
        for ledger in ledgers:
            ledger.close()
        _check_bounds(folder, book)


def _check_bounds(folder, book):
    """No day, month or run above its budget + what calls cost more than they had reserved; and the sums are true."""
    key = book.key
    with closing(sqlite3.connect(keydb.path_of(Path(folder)))) as db:
        days = dict(db.execute("SELECT day, nanodollars FROM spending").fetchall())
        assert db.execute("SELECT COUNT(*) FROM reservations").fetchone() == (0,)
    assert sum(days.values()) == sum(money for _, _, money in book.spent)
    months, runs = {}, {}
    for run, each, money in book.spent:
        runs[run] = runs.get(run, 0) + money
        month = time.gmtime(each * DAY)[:2]
        months[month] = months.get(month, 0) + money
    for limit, sums in ((key.day_nanodollars, days), (key.month_nanodollars, months), (key.run_nanodollars, runs)):
        assert limit is None or all(money <= limit + book.excess for money in sums.values())


def _load(folder, key, seed, rounds):
    """Reserve and settle at random, as one of several; the excess over the estimates, summed."""
    with closing(Ledger(Path(folder))) as ledger:
        return _use(ledger, key, seed, rounds)


def _use(ledger, key, seed, rounds):
    dice = random.Random(seed)
    excess, holds = 0, []
    settles = [ledger.settle, getattr(ledger, "settle_later", ledger.settle)]
    for _ in range(rounds):
        outcome = ledger.reserve(key, f"run-{dice.randrange(3)}", 5, dice.randrange(1, 20))
        if isinstance(outcome, Hold):
            holds.append(outcome)
        if holds and dice.random() < 0.6:
            hold = holds.pop(dice.randrange(len(holds)))
            money = dice.choice([0, hold.nanodollars, hold.nanodollars // 2, hold.nanodollars + 3])
            excess += max(0, money - hold.nanodollars)
            dice.choice(settles)(hold, 5, money)
    ledger.flush()
    for hold in holds:
        ledger.refund(hold)
    return excess


@settings(max_examples=8)
@given(kind=KINDS, seed=st.integers(0, 2**32), budget=st.integers(20, 400))
def test_threads_at_once_stay_within_the_budget(kind, seed, budget):
    with tempfile.TemporaryDirectory() as folder:
        key, _ = make(folder, day_nanodollars=budget, run_nanodollars=budget // 2)
        excess = []
        with contextlib.ExitStack() as opened:
            one = opened.enter_context(closing(SoleLedger(Path(folder)))) if kind is SoleLedger else None
            load = (lambda seed: _use(one, key, seed, 25)) if one else (lambda seed: _load(folder, key, seed, 25))
            threads = [threading.Thread(target=lambda each=each: excess.append(load(seed + each))) for each in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(excess) == 4, "a thread failed"
        with closing(kind(Path(folder))) as ledger:
            used = ledger.used(key)
            assert used.held_nanodollars == 0
            assert used.day_nanodollars <= budget + sum(excess)
            room = budget - used.day_nanodollars
            if room > 0:
                assert isinstance(ledger.reserve(key, "a fresh run", 0, min(room, budget // 2)), Hold)


def _until_killed(folder, key, began):
    with closing(Ledger(folder)) as ledger:
        began.set()
        while True:
            ledger.reserve(key, "t", 1, 1)
            time.sleep(0.005)


def test_processes_share_the_file_and_one_that_is_killed_leaves_it_whole(tmp_path, clock):
    key, _ = make(tmp_path, month_nanodollars=400)
    spawn = multiprocessing.get_context("spawn")
    began = spawn.Event()
    victim = spawn.Process(target=_until_killed, args=(tmp_path, key, began))
    victim.start()
    with spawn.Pool(2) as pool:
        assert began.wait(60)
        excess = pool.starmap(_load, [(tmp_path, key, seed, 60) for seed in range(2)])
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(60)
    with closing(Ledger(tmp_path)) as ledger:
        used = ledger.used(key)
        assert used.held_nanodollars > 0, "the killed process left what it had reserved"
        assert 0 < used.month_nanodollars <= 400 + sum(excess) - used.held_nanodollars
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT DISTINCT trace_id FROM reservations").fetchall() == [("t",)]
    clock.ns = time.time_ns() + RESERVATION_S * SECOND
    with closing(Ledger(tmp_path, clock=clock)) as later:
        assert later.used(key).held_nanodollars == 0


def test_a_verb_that_meets_a_writer_says_so_and_has_done_nothing(tmp_path):
    key, _ = make(tmp_path, requests_per_minute=5)
    with closing(Ledger(tmp_path, wait_s=0)) as ledger, closing(keydb.connect(tmp_path, wait_s=0)) as other:
        hold = ledger.reserve(key, "t", 0, 0)
        with keydb.transaction(other):
            for verb in (lambda: ledger.reserve(key, "t", 0, 0), lambda: ledger.settle(hold, 1, 1)):
                with pytest.raises(Busy):
                    verb()
        assert (ledger.used(key).minute_requests, ledger.used(key).day_requests) == (1, 0)
        ledger.settle(hold, 1, 1)
        assert ledger.used(key).day_requests == 1


def test_what_is_settled_later_counts_with_the_next_transaction_and_once(tmp_path, shared, clock):
    key, _ = make(tmp_path, day_nanodollars=10, tokens_per_minute=100)
    shared.settle_later(shared.reserve(key, "t", 1, 10), 1, 4)
    assert (shared.used(key).day_nanodollars, shared.waiting) == (0, 1)
    with (
        closing(keydb.connect(tmp_path, wait_s=0)) as other,
        closing(Ledger(tmp_path, clock=clock, wait_s=0)) as impatient,
    ):
        impatient.settle_later(impatient.reserve(key, "t", 1, 0), 1, 1)
        with keydb.transaction(other), pytest.raises(Busy):
            impatient.reserve(key, "t", 1, 0)
        assert impatient.waiting == 1, "nothing was done"
        impatient.flush()
        impatient.flush()
    held = shared.reserve(key, "t", 1, 5)
    assert isinstance(held, Hold), "the call before is settled first"
    assert (shared.used(key).day_nanodollars, shared.waiting) == (5, 0)
    shared.refund(held)
    assert shared.used(key).day_requests == 3


def test_tidying_keeps_the_wal_from_growing(tmp_path, ledger, clock, monkeypatch):
    monkeypatch.setattr("trimtab.gateway.ledger._WAL_BYTES", 50_000)
    key, _ = make(tmp_path, requests_per_minute=10**6, day_nanodollars=10**6)
    wal = keydb.path_of(tmp_path).with_name(keydb.NAME + "-wal")
    sizes = []
    for _ in range(4):
        for _ in range(40):
            ledger.settle(ledger.reserve(key, "t", 1, 1), 1, 1)
        with closing(Ledger(tmp_path, clock=clock)) as other:
            other.tidy()
        sizes.append(wal.stat().st_size)
    assert max(sizes) < 2 * sizes[0], sizes
    assert ledger.used(key).day_requests == 160


def test_tidying_shrinks_what_counts_no_more(tmp_path, ledger, clock):
    key, _ = make(tmp_path, requests_per_minute=10**6, run_nanodollars=10**6)
    for number in range(50):
        ledger.settle(ledger.reserve(key, f"run-{number}", 1, 1), 1, 1)
        clock.add(1)
    clock.add(31 * DAY)
    ledger.tidy()
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        counts = [db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("rates", "runs", "spending")]
    assert counts == [0, 0, 1]
