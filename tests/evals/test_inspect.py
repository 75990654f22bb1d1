"""Suites of inspect_ai, run as they are: offline, against a scripted endpoint, stopped early; and their logs."""

import asyncio
import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.upstream import FakeUpstream, Script, answer
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, FormatError, UpstreamError
from trimtab.evals import imported, inspect_bridge, inspect_logs, logs, serving
from trimtab.evals.imported import Choice, Result
from trimtab.evals.inspect_bridge import Plan
from trimtab.money import PriceTable
from trimtab.stats.sequential import Process

pytest.importorskip("inspect_ai", reason="suites of inspect_ai need the extra 'evals'")

TASK = str(Path(__file__).parent / "tasks" / "sums.py")
SUMS = TASK + "@sums"
N = 80


class Sums(FakeUpstream):
    """Adds one; `wrong` are the questions it gets wrong, to `broken` it gives an error."""

    wrong = broken = frozenset()

    def __enter__(self):
        self.script = self.say
        self.asked = []
        return super().__enter__()

    def say(self, seen):
        number = int(seen.json["messages"][-1]["content"].split("+")[0])
        self.asked.append(number)
        if number in self.broken:
            return Script(status=400, body=b'{"error": {"message": "this one is too hard"}}')
        said = str(number + (2 if number in self.wrong else 1))
        return Script(body=answer(message={"role": "assistant", "content": said}))


@pytest.fixture(scope="module")
def model():
    with Sums() as upstream:
        yield upstream


@pytest.fixture
def plan(model, tmp_path):
    model.wrong, model.broken, model.asked = set(), set(), []
    model.wrong = set(random.Random(1).sample(range(N), 8))
    return Plan(task=SUMS, url=model.url, model="adder", logs=tmp_path / "logs", limit=N)


@pytest.fixture(scope="module")
def baseline(model, tmp_path_factory):
    """The stored log of a baseline that gets 8 of 80 wrong, run through a real gateway."""
    model.wrong, model.broken = set(random.Random(1).sample(range(N), 8)), set()
    made = Deployment("base", (Endpoint(name="adder", url=model.url, model="adder-1"),))
    with serving.served(made, PriceTable("v", {})) as url:
        ran = inspect_bridge.run(Plan(task=SUMS, url=url, model="adder", logs=tmp_path_factory.mktemp("base"), limit=N))
    return logs.read(ran.log)


def test_a_task_runs_as_it_is_and_its_log_is_read(baseline):
    wrong = random.Random(1).sample(range(N), 8)
    assert len(baseline) == N
    assert {each.id for each in baseline if each.score == 0} == {str(number + 1) for number in wrong}
    assert {each.score for each in baseline} == {0, 1} and all(each.content for each in baseline)


def stopped(plan, baseline, **fields):
    return inspect_bridge.run(plan, baseline, Process(0.1, harm=0.0, **fields))


def test_an_equal_candidate_is_promoted_before_the_end(model, plan, baseline):
    ran = stopped(plan, baseline)
    assert ran.decision == "promote" and ran.n < 70
    assert ran.spared > 0 and ran.spared + len(ran.results) == N
    assert len(model.asked) == len(ran.results) <= ran.n + plan.at_once


def test_a_bad_candidate_is_stopped_much_earlier(model, plan, baseline):
    model.wrong |= set(random.Random(2).sample(range(N), 30))
    ran = stopped(plan, baseline)
    assert ran.decision == "reject" and ran.n < 50 and ran.spared > 30


def test_the_order_of_completion_changes_nothing(model, plan, baseline):
    """Slow and fast alike, with one or many under way: the same clusters are fed, in the order fixed by the seed."""
    model.wrong |= set(random.Random(2).sample(range(N), 30))
    one = stopped(Plan(**{**as_dict(plan), "at_once": 1}), baseline)
    many = stopped(Plan(**{**as_dict(plan), "at_once": 25}), baseline)
    assert one.decision == many.decision == "reject" and one.order == many.order
    # Who is under way when the test decides is still taken; until then they are the same.
    assert 0 < len(one.turns) <= len(many.turns) and many.turns[: len(one.turns)] == one.turns
    assert stopped(Plan(**{**as_dict(plan), "seed": 5}), baseline).order != one.order


@given(st.permutations(range(24)), st.sets(st.integers(0, 23), max_size=3), st.integers(0, 9))
def test_any_order_of_completion_gives_the_same_turns(finished, lost, seed):
    """Twelve clusters of two; scores come in as they like, some never."""
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import SampleScore, Score

    samples = [Sample(input=f"{n}+1?", target=str(n + 1), id=n, metadata={"s": f"s{n // 2}"}) for n in range(24)]
    before = {
        str(n): Result(str(n), 1.0, f"s{n // 2}", (), inspect_logs.content_of(sample))
        for n, sample in enumerate(samples)
    }
    plan = Plan(task="", url="", model="", logs=Path(), choice=Choice(cluster="s"), seed=seed)

    async def turns(order):
        stopper = inspect_bridge.Stopper(before, Process(0.1), plan)
        await stopper.start_task(SimpleNamespace(eval_id="x"), samples, 1)
        for n in order:
            if n in lost:
                stopper.lost(n, 1)
            else:
                await stopper.complete_sample(n, 1, {"exact": SampleScore(score=Score(value="CI"[n % 2]))})
        return stopper.turns, stopper.order

    given_order, straight = asyncio.run(turns(finished)), asyncio.run(turns(range(24)))
    assert given_order == straight and len(straight[0]) == 12
    assert sum(turn.missing for turn in straight[0]) == len(lost)
    assert {turn.difference for turn in straight[0]} <= {-0.5, 0.0, -1.0, None}


def as_dict(plan):
    return {name: getattr(plan, name) for name in plan.__struct_fields__}


def test_samples_that_fail_are_missing_and_do_not_hold_the_rest_up(model, plan, baseline):
    plan = Plan(**{**as_dict(plan), "limit": 60})
    model.broken = set(range(0, 60, 20))
    ran = stopped(plan, baseline)
    assert ran.decision == "inconclusive" and ran.spared == 0 and len(ran.results) == 60
    assert sum(each.score is None for each in ran.results) == 3


def test_clusters_are_those_of_the_metadata(model, plan, baseline):
    choice = Choice(cluster="session")
    plan = Plan(**{**as_dict(plan), "limit": 20, "choice": choice, "epochs": 2})
    first = inspect_bridge.run(plan)
    assert len(first.results) == 40 and {each.cluster for each in first.results} == {f"s{n}" for n in range(10)}
    assert {each.id for each in first.results} >= {"1", "1#2", "20", "20#2"}
    ran = stopped(plan, first.results)
    assert ran.n == 10 and ran.decision == "inconclusive"
    assert inspect_logs.read(ran.log, choice) == ran.results


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"task": TASK}, "has the tasks sums, two_scorers: name one"),
        ({"task": "nowhere.py"}, "there is no task file 'nowhere.py'"),
        ({"task": SUMS, "arguments": {"n": "many"}}, "cannot be made"),
    ],
)
def test_tasks_that_cannot_be_run(plan, fields, wanted):
    with pytest.raises(ConfigError) as caught:
        inspect_bridge.run(Plan(**{**as_dict(plan), **fields}))
    assert wanted in str(caught.value)


def test_a_baseline_of_another_version_is_refused(model, plan, baseline):
    twisted = Plan(**{**as_dict(plan), "arguments": {"twist": " Think."}, "limit": 5})
    with pytest.raises(FormatError, match="is another one in the baseline"):
        stopped(twisted, baseline)
    with pytest.raises(FormatError, match="the baseline has no sample"):
        stopped(Plan(**{**as_dict(plan), "limit": 5}), baseline[50:])
    assert not model.asked
    with pytest.raises(ConfigError, match="compares with a baseline"):
        inspect_bridge.run(plan, None, Process(0.05))


def test_several_scorers_need_a_name(plan):
    plan = Plan(**{**as_dict(plan), "task": TASK + "@two_scorers"})
    with pytest.raises(FormatError, match="the scorers are exact, includes: name the one"):
        inspect_bridge.run(plan)
    ran = inspect_bridge.run(Plan(**{**as_dict(plan), "choice": Choice(metric="includes")}))
    assert len(ran.results) == 3


def test_an_endpoint_that_always_fails_is_no_result(model, plan):
    model.broken = {0, 1, 2}
    with pytest.raises(UpstreamError, match=r"no sample was answered.*this one is too hard"):
        inspect_bridge.run(Plan(**{**as_dict(plan), "limit": 3}))


def test_logs_of_two_runs_are_paired(model, plan, baseline):
    model.wrong = set(range(20))
    plan = Plan(**{**as_dict(plan), "limit": 40})
    ran = inspect_bridge.run(plan)
    mine = [each for each in baseline if int(each.id) <= 40]
    pairs = imported.paired(mine, ran.results)
    assert sum(pair.candidate.score for pair in pairs) == 20 and len(pairs) == 40
    with pytest.raises(FormatError, match="lacks 40 items"):
        imported.paired(baseline, ran.results)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"PK\x05\x06" + bytes(18), b"[1]", json.dumps({"version": 2, "status": "success"}).encode()]
)
@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_what_is_no_log_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="cannot read the log"):
        inspect_logs.read(path)
    with pytest.raises(FormatError, match="cannot read the log"):
        inspect_logs.read(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_a_damaged_log_is_read_or_refused(plan, tmp_path, suffix):
    from inspect_ai.log import read_eval_log, write_eval_log

    ran = inspect_bridge.run(Plan(**{**as_dict(plan), "limit": 3}))
    whole, broken = tmp_path / f"whole{suffix}", tmp_path / f"broken{suffix}"
    write_eval_log(read_eval_log(str(ran.log)), str(whole))
    raw, draw, refused = whole.read_bytes(), random.Random(7), 0
    for _ in range(40):
        damaged, place = bytearray(raw), draw.randrange(len(raw))
        if draw.random() < 0.5:
            damaged[place] = draw.randrange(256)
        else:
            del damaged[place : place + draw.randrange(1, 300)]
        broken.write_bytes(damaged)
        try:
            assert len(inspect_logs.read(broken)) <= 3
        except FormatError:
            refused += 1
    assert refused and len(inspect_logs.read(whole)) == 3


def test_scores_of_inspect():
    def score(held, **choice):
        return inspect_logs.score_of(held, Choice(**choice), "x")

    assert [score(value) for value in ("C", "P", "I", "N", "yes", True, 0, 0.25)] == [1, 0.5, 0, 0, 1, 1, 0, 0.25]
    assert score(float("nan")) is None and score({"a": "C", "b": 0}, part="b") == 0
    for odd in ("7", "maybe", 3, -1, [1], {"a": 1}, float("inf")):
        with pytest.raises(FormatError):
            score(odd)
