import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.arena.dealership import world


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    first, again, other = (list(world.build(seed).iterdump()) for seed in (4, 4, 5))
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(20))
def test_every_goal_has_its_object(seed):
    db = world.build(seed)
    people = db.execute("SELECT id FROM customers").fetchall()
    assert len(people) == 10
    for table in ("orders", "applications", "appointments"):
        assert db.execute(f"SELECT count(DISTINCT customer_id) FROM {table}").fetchone()[0] == 10
    free = db.execute("SELECT count(DISTINCT kind || day) FROM bays").fetchone()[0]
    assert free == 2 * len(world.DAYS)
    assert db.execute("SELECT count(*) FROM vehicles WHERE status = 'available'").fetchone()[0] > 10


def test_state_does_not_depend_on_the_order_of_rows():
    one, two = world.build(1), world.build(1)
    rows = two.execute("SELECT * FROM customers").fetchall()
    two.execute("DELETE FROM customers")
    random.Random(0).shuffle(rows)
    two.executemany("INSERT INTO customers VALUES (?, ?, ?)", [tuple(row) for row in rows])
    assert world.state(one) == world.state(two)


def test_numbers_are_never_given_twice():
    db = world.build(1)
    assert len({world.number(db, "O") for _ in range(50)}) == 50


@settings(deadline=None)
@given(st.integers(0, 60_000), st.sampled_from(world.TERMS), st.integers(0, 60_000))
def test_instalments_pay_loan_and_interest_and_no_dollar_a_month_more(price, months, down):
    rate = world.monthly(price, months, down)
    owed = max(0, price - down) * (1 + 0.06 * months / 12)
    assert owed - 1e-6 <= rate * months < owed + months + 1e-6
