import pytest

from trimtab.arena import outcome
from trimtab.arena.dealership.tasks import Task
from trimtab.arena.run import Session
from trimtab.money import Price, PriceTable

PRICES = PriceTable("t1", {"m": Price(input=2.0, output=10.0, cache_read=1.0)})


def session(task=0, trial=0, faults=(), family="info", **fields):
    values = {
        "trace_id": f"{task}.{trial}",
        "why": "left",
        "path": ("triage",),
        "expected": ("triage",),
        "calls": 2,
        "tool_calls": 1,
        "input_tokens": 1000,
        "output_tokens": 100,
        "cached_tokens": 400,
        "seconds": 1.0,
    }
    made = Task(f"t{task}", "test", family, 0, 0, 0, "plain", 0.0)
    return Session(task=made, trial=trial, faults=tuple(faults), **(values | fields))


def of(sessions, price="m"):
    return outcome.of(sessions, 3.0, PRICES, price)


def test_pass_k_by_hand():
    # Task 0: 4 of 4 solved; task 1: 2 of 4; task 2: 0 of 4.
    sessions = [
        session(task, trial, () if trial < solved else ("wrong orders",))
        for task, solved in ((0, 4), (1, 2), (2, 0))
        for trial in range(4)
    ]
    # C(2, k) / C(4, k) = 2/4, 1/6, 0, 0
    assert outcome.pass_hat(sessions) == pytest.approx(((1 + 2 / 4) / 3, (1 + 1 / 6) / 3, 1 / 3, 1 / 3))


def test_pass_1_is_the_share_of_solved_sessions():
    sessions = [session(task, 0, () if task % 3 else ("x",)) for task in range(9)]
    assert outcome.pass_hat(sessions) == pytest.approx((6 / 9,))


def test_success_comes_with_wilsons_interval():
    result = of([session(task, 0, () if task < 8 else ("wrong orders",)) for task in range(10)])
    # p = 0.8, n = 10, z = 1.959964: (0.8 + 0.19207 ± 0.31050) / 1.38415
    assert (result.success.good, result.success.n, result.success.value) == (8, 10, 0.8)
    assert result.success.low == pytest.approx(0.4902, abs=1e-4)
    assert result.success.high == pytest.approx(0.9433, abs=1e-4)


def test_families_are_counted_apart():
    result = of([session(0), session(1, family="recall"), session(2, faults=("x",), family="recall")])
    assert {name: (share.good, share.n) for name, share in result.families.items()} == {
        "info": (1, 1),
        "recall": (1, 2),
    }


def test_cost_by_hand():
    result = of([session(0), session(1, faults=("not told: 4",))])
    # Two sessions of 600 fresh tokens at $2, 400 cached at $1, 100 out at $10 a million: 2 × $0.0026.
    assert result.cost_nanodollars == 2 * 2_600_000
    assert result.nanodollars_per_solved == 2 * 2_600_000
    assert (result.calls, result.tool_calls, result.cached_tokens) == (4, 2, 800)


def test_an_unknown_price_is_none_and_never_0():
    result = of([session()], "another")
    assert result.cost_nanodollars is None
    assert result.nanodollars_per_solved is None


def test_tokens_that_nobody_counted_cost_none_and_never_0():
    result = of([session(input_tokens=0, output_tokens=0, cached_tokens=0)])
    assert result.cost_nanodollars is None


def test_nothing_solved_has_no_price_a_solved_session():
    result = of([session(faults=("x",))])
    assert result.cost_nanodollars == 2_600_000
    assert result.nanodollars_per_solved is None


def test_hand_offs_are_right_in_the_oracles_place_and_direction():
    result = of(
        [
            session(0, path=("triage", "sales", "finance"), expected=("triage", "sales", "finance")),
            session(1, path=("triage", "service"), expected=("triage", "sales", "finance")),
            session(2, path=(), expected=("triage", "service")),
            session(3),
        ]
    )
    assert (result.handoffs.good, result.handoffs.n) == (2, 5)


def test_faults_are_counted_by_their_first_kind():
    result = of([session(0, faults=("not told: 4", "wrong orders")), session(1, faults=("not told: 9",)), session(2)])
    assert result.faults == {"not told": 2}


def test_no_sessions_at_all():
    result = of([])
    assert (result.success.n, result.pass_k, result.session_s_median, result.cost_nanodollars) == (0, (), 0.0, 0)
    assert (result.success.low, result.success.high) == (0.0, 1.0)
