from collections import Counter

import pytest

from trimtab.arena.dealership import goals, phrases, tasks
from trimtab.errors import ArenaError


def test_a_longer_list_begins_with_the_shorter_one():
    assert tasks.draw("test", 50, 3) == tasks.draw("test", 120, 3)[:50]
    assert tasks.draw("test", 50, 3) != tasks.draw("test", 50, 4)


def test_some_goals_recur_and_most_come_once():
    todo = tasks.draw("train", 600, 0)
    times = Counter(task.goal for task in todo)
    assert times.most_common(1)[0][1] >= 20
    assert sum(1 for count in times.values() if count == 1) > 0.5 * len(todo)
    assert len(times) > len(todo) / 2
    assert {task.recurring for task in todo} == {True, False}
    words = {task.enter()[1].open() for task in todo if task.goal == times.most_common(1)[0][0]}
    assert len(words) > 5


@pytest.mark.parametrize("split", phrases.SPLITS)
def test_every_family_comes_and_arrivals_go_forward(split):
    todo = tasks.draw(split, 600, 0)
    arrivals = [task.arrival_s for task in todo]
    assert {task.family for task in todo} == set(goals.FAMILIES)
    assert arrivals == sorted(arrivals)
    assert 400 < arrivals[-1] < 700
    assert len({task.id for task in todo}) == 600


@pytest.mark.parametrize(("split", "count"), [("exam", 5), ("test", 0), ("test", -1)])
def test_what_cannot_be_drawn_is_refused(split, count):
    with pytest.raises(ArenaError):
        tasks.draw(split, count)
