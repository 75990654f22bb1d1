import random

import pytest

from trimtab.arena.dealership import goals, world


def test_there_are_twelve_families_and_more_of_up_to_eight_tool_calls():
    steps = {family.steps for family in goals.FAMILIES.values()}
    assert len(goals.FAMILIES) >= 12
    assert set(range(1, 6)) <= steps
    assert (max(steps), min(steps)) == (8, 0)


@pytest.mark.parametrize("family", goals.FAMILIES)
def test_a_goal_has_the_facts_of_its_family_and_the_same_seed_the_same_goal(family):
    db = world.build(3)
    for seed in range(20):
        goal, again = (goals.draw(family, db, random.Random(seed)) for _ in range(2))
        assert goal == again
        spec = goals.FAMILIES[family]
        assert set(goal.slots) == {*spec.slots, *(("phone", "name", "new") if spec.account else ())}
        assert goal.at_once <= set(goal.slots)
        assert "name" not in goal.at_once
        assert (goal.second is not None) == bool(spec.second)


def test_a_second_wish_is_of_the_same_customer():
    db = world.build(3)
    for family in ("buy_on_credit", "service_and_drive"):
        goal = goals.draw(family, db, random.Random(1))
        assert goal.second.slots["phone"] == goal.slots["phone"]


def test_minds_facts_left_out_and_new_customers_all_happen():
    db = world.build(3)
    drawn = [goals.draw("test_drive", db, random.Random(seed)) for seed in range(200)]
    assert {goal.mind for goal in drawn} == {"yes", "no", "change"}
    assert {"day" in goal.at_once for goal in drawn} == {True, False}
    known = {row["phone"] for row in db.execute("SELECT phone FROM customers")}
    assert {goal.slots["new"] for goal in drawn} == {True, False}
    assert all((goal.slots["phone"] in known) is not goal.slots["new"] for goal in drawn)
    assert all(goal.changed and goal.changed["day"] != goal.slots["day"] for goal in drawn if goal.mind == "change")
