"""The demo's rows: every call in one of them, so that they add up; in full only customers' own sessions count."""

from hypothesis import given
from hypothesis import strategies as st

from tests.plan.conftest import SECOND, call
from tests.plan.test_moves import BEFORE, PRICES
from trimtab.gateway.trial import SHADOW
from trimtab.money import Usage
from trimtab.plan.spending import Moves
from trimtab.trace import Score, Trace
from trimtab.ui.gains import AT_FIRST, rows
from trimtab.ui.proving import Came

CAME = [
    Came("a", "full", 100 * SECOND, 150 * SECOND),
    Came("b", "not proven"),
    Came("c", "canary not passed", 200 * SECOND),
]


def trace(start_s, price="small", solved=1.0, **fields):
    usage = Usage(input_tokens=1000, output_tokens=100)
    cost = PRICES.cost(price, usage).nanodollars
    name = f"{start_s}"
    one = call(name, start_s, 2, trace_id=name, request_model="m", usage=usage, cost_nanodollars=cost, **fields)
    return Trace(name, (one,), {}, (Score("success", solved),))


def test_a_lever_in_full_is_looked_at_by_its_own_sessions():
    held = [trace(10, "large"), trace(120), trace(160), trace(170, solved=0.0), trace(180, tags={SHADOW: "r"})]
    first, a, c = rows([*held, trace(210)], CAME, BEFORE, PRICES)
    assert [each.lever for each in (first, a, c)] == [AT_FIRST, "a", "c"]
    assert (first.calls, first.sessions, first.nanodollars) == (1, 1, 0)
    assert (a.calls, a.sessions, a.solved) == (3, 2, 0.5)
    assert (a.p50_ms, a.cost_nanodollars) == (2000, 1_200_000)
    assert (c.stage, c.calls, c.sessions) == ("canary not passed", 1, 0)


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["large", "small"])), unique_by=lambda one: one[0]))
def test_the_rows_add_up(calls):
    held = [trace(start, price) for start, price in calls]
    moves = Moves(BEFORE, PRICES)
    for each in held:
        moves.add(each.calls[0])
    made = rows(held, CAME, BEFORE, PRICES)
    assert sum(row.nanodollars for row in made) == moves.moved().nanodollars
    assert sum(row.calls for row in made) == len(calls)
