"""The ledger of one process alone: what it writes and when, who may change its keys, how much it keeps in memory."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.test_ledger import DAY, NOON, SECOND, Clock, make
from trimtab.errors import StoreBusy, StoreError
from trimtab.gateway import keybell, keydb, soleledger, spans, writebehind
from trimtab.gateway.admission import Denial, Hold, Limit
from trimtab.gateway.balances import Window
from trimtab.gateway.bloom import Bloom
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import Key, State
from trimtab.gateway.ledger import Ledger
from trimtab.gateway.soleledger import SoleLedger

ALL = {
    "requests_per_minute": 1000,
    "tokens_per_minute": 10**6,
    "day_nanodollars": 10**6,
    "month_nanodollars": 10**6,
    "run_nanodollars": 10**6,
}


def until(true):
    give_up = time.monotonic() + 20
    while not (found := true()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.01)
    return found


def test_what_is_used_is_written_without_being_asked_and_is_what_the_command_line_reads(tmp_path):
    key, _ = make(tmp_path, **ALL)
    with closing(SoleLedger(tmp_path)) as ledger, closing(Ledger(tmp_path)) as reader:
        ledger.settle(ledger.reserve(key, "a", 10, 50), 7, 30)
        held = ledger.reserve(key, "b", 5, 20)
        until(lambda: reader.used(key) == ledger.used(key))
        assert (reader.used(key).held_nanodollars, reader.used(key).day_nanodollars) == (20, 30)
        ledger.refund(held)
        until(lambda: reader.used(key).held_nanodollars == 0 and reader.used(key).day_requests == 2)


def test_only_one_may_be_alone_and_its_end_lets_others_in(tmp_path):
    with closing(SoleLedger(tmp_path)):
        for alone in (True, False):
            with pytest.raises(StoreBusy, match=r"gateway\.workers"):
                keydb.claim(tmp_path, alone=alone)
        with pytest.raises(StoreBusy):
            SoleLedger(tmp_path)
    claims = [keydb.claim(tmp_path, alone=False) for _ in range(2)]
    with pytest.raises(StoreBusy):
        SoleLedger(tmp_path)
    for claim in claims:
        os.close(claim)
    SoleLedger(tmp_path).close()


@pytest.mark.parametrize("change", ["revoke", "rotate", "limit"])
def test_a_change_of_a_key_is_obeyed_by_the_next_request(tmp_path, change):
    _, secret = make(tmp_path, day_nanodollars=100)
    ring = Ring(tmp_path)
    with closing(SoleLedger(tmp_path)) as ledger:
        assert ledger.key(secret).state(ledger.clock()) is State.ACTIVE
        {"revoke": ring.revoke, "rotate": ring.rotate, "limit": lambda k: ring.limit(k, day_nanodollars=5)}[change]("k")
        key = ledger.key(secret)
        expected = {"revoke": State.REVOKED, "rotate": State.EXPIRED, "limit": State.ACTIVE}[change]
        assert (key.state(ledger.clock()), key.day_nanodollars) == (expected, 5 if change == "limit" else 100)


def test_a_change_whose_bell_was_not_heard_is_noticed_all_the_same(tmp_path, monkeypatch):
    _, secret = make(tmp_path)
    with closing(SoleLedger(tmp_path)) as ledger:
        assert ledger.key(secret).revoked_ns is None
        monkeypatch.setattr(keybell, "ring", lambda folder: None)
        Ring(tmp_path).revoke("k")
        until(lambda: ledger.key(secret).revoked_ns is not None)


def test_a_key_made_while_it_runs_is_known_and_an_unknown_one_is_not_kept_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(soleledger, "_MOST_KNOWN", 20)
    make(tmp_path)
    with closing(SoleLedger(tmp_path)) as ledger:
        for number in range(50):
            assert ledger.key(f"tt-{number}") is None
        assert len(ledger._known) <= 22
        secret = Ring(tmp_path).create(Key(name="late"))
        assert ledger.key(secret).name == "late"


def test_runs_and_keys_that_rest_leave_the_memory_and_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(soleledger, "_MOST_RUNS", 8)
    monkeypatch.setattr(soleledger, "_MOST_BALANCES", 1)
    key, _ = make(tmp_path, run_nanodollars=10, requests_per_minute=1000)
    ring = Ring(tmp_path)
    ring.create(Key(name="two", run_nanodollars=10))
    with closing(SoleLedger(tmp_path)) as ledger:
        under_way = ledger.reserve(key, "long", 0, 10)
        for number in range(100):
            ledger.settle(ledger.reserve(key, f"run-{number}", 0, 9), 0, 9)
            assert ledger.reserve(ring.get("two"), "t", 0, 11).limit is Limit.RUN
            ledger.flush()
        assert len(ledger._runs) <= 9 and len(ledger._balances) <= 2
        assert ledger.reserve(key, "long", 0, 1).held == 10, "who is under way is not dropped"
        ledger.refund(under_way)
        for number in range(100):
            assert ledger.reserve(key, f"run-{number}", 0, 2).used == 9
        assert ledger.used(key).minute_requests == 101


def test_runs_of_an_earlier_process_are_remembered_however_many(tmp_path, monkeypatch):
    monkeypatch.setattr(soleledger, "_PAGE", 7)
    key, _ = make(tmp_path, run_nanodollars=10)
    with closing(SoleLedger(tmp_path)) as ledger:
        for number in range(30):
            ledger.settle(ledger.reserve(key, f"run-{number}", 0, 9), 0, 9)
    with closing(SoleLedger(tmp_path)) as ledger:
        assert ledger.reserve(key, "run-29", 0, 2).used == 9, "before all of them are read"
        until(lambda: ledger._last_read is None)
        for number in range(30):
            assert ledger.reserve(key, f"run-{number}", 0, 2).used == 9
        assert isinstance(ledger.reserve(key, "fresh", 0, 2), Hold)


def test_months_that_are_over_leave_the_memory_and_late_calls_still_count(tmp_path):
    key, _ = make(tmp_path, day_nanodollars=100, month_nanodollars=1000)
    clock = Clock()
    with closing(SoleLedger(tmp_path, clock=clock)) as ledger:
        late = ledger.reserve(key, "t", 0, 10)
        for _ in range(150):
            ledger.settle(ledger.reserve(key, "t", 0, 10), 0, 10)
            ledger.flush()
            clock.add(DAY)
        (balance,) = ledger._balances.values()
        assert len(balance.days) <= 63 and len(balance.months) <= 3
        ledger.settle(late, 0, 7)
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        days = dict(db.execute("SELECT day, nanodollars FROM spending").fetchall())
    assert days[NOON // DAY] == 17 and sum(days.values()) == 1507


def test_while_the_file_cannot_be_written_nothing_is_lost_and_in_the_end_nothing_passes(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writebehind, "PATIENCE_S", 0.5)
    key, _ = make(tmp_path, **ALL)
    with closing(SoleLedger(tmp_path)) as ledger, closing(keydb.connect(tmp_path, wait_s=1)) as other:
        with keydb.transaction(other):
            ledger.settle(ledger.reserve(key, "t", 1, 5), 1, 5)
            until(lambda: ledger._behind.late and "not written yet" in caplog.text)
            with pytest.raises(StoreError, match="cannot be written"):
                ledger.reserve(key, "t", 1, 5)
        until(lambda: not ledger._behind.late)
        ledger.settle(ledger.reserve(key, "t", 1, 5), 1, 5)
    with closing(Ledger(tmp_path)) as reader:
        assert (reader.used(key).day_requests, reader.used(key).day_nanodollars) == (2, 10)


def test_a_thread_that_does_not_write_stops_the_calls_too(tmp_path, monkeypatch):
    monkeypatch.setattr(writebehind, "PATIENCE_S", 0.1)
    monkeypatch.setattr(writebehind.WriteBehind, "start", lambda self: None)
    key, _ = make(tmp_path)
    with closing(SoleLedger(tmp_path)) as ledger:
        ledger.settle(ledger.reserve(key, "t", 1, 5), 1, 5)
        until(lambda: ledger._behind.late)
        ledger.flush()
        assert isinstance(ledger.reserve(key, "t", 1, 5), Hold)


def test_runs_that_are_not_written_yet_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(soleledger, "_MOST_RUNS", 3)
    key, _ = make(tmp_path, run_nanodollars=10)
    with (
        closing(SoleLedger(tmp_path)) as ledger,
        closing(keydb.connect(tmp_path, wait_s=1)) as other,
        keydb.transaction(other),
    ):
        for number in range(20):
            ledger.settle(ledger.reserve(key, f"run-{number}", 0, 9), 0, 9)
        for number in range(20):
            assert ledger.reserve(key, f"run-{number}", 0, 2).used == 9


_VICTIM = """
import sys, time
from pathlib import Path
from trimtab.gateway.keyring import Ring
from trimtab.gateway.soleledger import SoleLedger
folder = Path(sys.argv[1])
ledger, key = SoleLedger(folder), Ring(folder).get("k")
ledger.reserve(key, "under way", 1, 500)
for number in range(10**9):
    ledger.settle(ledger.reserve(key, f"run-{number % 50}", 1, 1), 1, 1)
    print(time.monotonic_ns(), flush=True)
    time.sleep(0.001)
"""


def test_a_killed_process_loses_at_most_what_ended_just_before(tmp_path):
    limits = dict.fromkeys(ALL, 10**9)
    key, _ = make(tmp_path, **limits)
    victim = subprocess.Popen([sys.executable, "-c", _VICTIM, str(tmp_path)], stdout=subprocess.PIPE)
    with closing(Ledger(tmp_path)) as reader:
        until(lambda: reader.used(key).day_requests > 100)
    victim.send_signal(signal.SIGKILL)
    killed = time.monotonic_ns()
    ended = [int(line) for line in victim.communicate()[0].split()]
    with closing(SoleLedger(tmp_path)) as ledger:
        used = ledger.used(key)
        # Twenty times the documented bound: this machine may be busy.
        sure = sum(at < killed - 20 * 50 * 10**6 for at in ended)
        assert sure <= used.day_requests <= len(ended) + 1
        assert used.day_requests == used.day_nanodollars
        assert used.held_nanodollars == 0, "who is alone gives back at once what a dead process held"
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (runs,) = db.execute("SELECT SUM(nanodollars) FROM runs").fetchone()
        (rates,) = db.execute("SELECT SUM(requests) FROM rates").fetchone()
    assert runs == used.day_nanodollars, "one transaction"
    assert rates is None or rates <= len(ended) + 2


def test_its_thread_keeps_the_file_tidy(tmp_path, monkeypatch):
    monkeypatch.setattr(writebehind, "_TIDY_EVERY", 2)
    key, _ = make(tmp_path, requests_per_minute=1000)
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        db.execute("INSERT INTO rates VALUES (1, 5, 1, 1)")
        db.commit()
        with closing(SoleLedger(tmp_path)) as ledger:

            def tidied():
                ledger.settle(ledger.reserve(key, "t", 1, 0), 1, 0)
                return db.execute("SELECT COUNT(*) FROM rates WHERE second = 5").fetchone() == (0,)

            until(tidied)


def test_calls_of_a_key_without_limits_count_too(tmp_path):
    key, _ = make(tmp_path)
    with closing(SoleLedger(tmp_path)) as ledger:
        ledger.settle(ledger.reserve(key, "t", 1, 5), 3, 4)
    key = Ring(tmp_path).limit("k", day_nanodollars=10)
    with closing(SoleLedger(tmp_path)) as ledger:
        assert ledger.reserve(key, "t", 0, 7) == Denial(Limit.DAY, 10, 4, 0, 7, pytest.approx(DAY, abs=DAY))


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(-200, 200) | st.sampled_from([-3, -1, 1, 58, 59, 60, 61])),
        st.tuples(st.just("add"), st.integers(0, 9)),
        st.tuples(st.just("give back"), st.integers(0, 130)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(MOVES)
def test_a_window_says_what_its_seconds_add_up_to_wherever_the_clock_goes(moves):
    window, now, took = Window(1), 1000, {}
    window.advance(now)
    for move, amount in moves:
        if move == "move":
            now += amount
            window.advance(now)
            # What left the window does not come back when the clock is set back.
            took = {at: held for at, held in took.items() if at >= now - spans.WINDOW_S}
        elif move == "add":
            window.add(1, amount)
            requests, tokens = took.get(now, (0, 0))
            took[now] = (requests + 1, tokens + amount)
        elif (at := now + amount - 65) in took:
            window.give_back(at, 1)
            took[at] = (took[at][0], took[at][1] - 1)
        inside = [held for at, held in took.items() if at <= now + spans.WINDOW_S]
        assert (window.requests, window.tokens) == (sum(r for r, _ in inside), sum(t for _, t in inside))
        rows = sorted((at, held[0]) for at, held in took.items() if at <= now + spans.WINDOW_S)
        for excess in (1, 3):
            assert window.wait("requests", excess, now * SECOND) == spans.wait(rows, excess, now * SECOND)


@given(st.sets(st.integers(-(2**63), 2**63 - 1), max_size=300))
def test_a_filter_never_forgets_and_seldom_errs(numbers):
    small = Bloom(first_bytes=64)
    for number in numbers:
        small.add(number)
    assert all(number in small for number in numbers)
    strangers = [hash((number, "stranger")) for number in range(400)]
    wrong = sum(number in small for number in strangers if number not in numbers)
    assert wrong < 40
