"""The live drill: real gateway processes under traffic; a candidate goes up, is rejected, turns bad, or fails."""

import http.client
import json
import os
import signal
import time
from urllib.parse import urlsplit

import pytest

from tests.rollout.drill import Traffic, ask, gateway, told, until
from trimtab.gateway.process import GatewayProcess
from trimtab.gateway.trial import CANDIDATE, SHADOW
from trimtab.rollout.register import Register
from trimtab.store.traces import TraceReader

# Margins so wide that few sessions decide: what is drilled is the machinery, not the statistics.
PLAN = "margin = 0.2\nerrors = 0.2\ncanary = 0.5\nsampled = 1.0\nper_s = 200.0\nat_once = 16\n"


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return str(path)


def verdicts(drill):
    """(stage, decision) of each in the ledger."""
    return [(body["names"]["stage"], body["decision"]) for body in drill.ledger("verdict")]


def step(drill, stage):
    """When the rollout came to `stage`, in Unix seconds, and why."""
    events = drill.rollout("status")["events"]
    event = next(event for event in events if event["kind"] == "step" and event["body"]["stage"] == stage)
    return event["at_ns"] / 1e9, event["body"]["reason"]


def promoted(drill, plan, stages=("canary", "full")):
    """A candidate brought to the last of `stages` by hand, each step on its own verdict."""
    drill.start("--plan", plan)
    before = "shadow"
    for stage in stages:
        until(lambda before=before: (before, "promote") in verdicts(drill))
        assert drill.rollout("advance")["rollout"]["stage"] == stage
        before = stage


def whole(answers):
    """Whether every answer came, and is what one of the models says."""
    texts = {text for _, _, _, text, _, _ in answers}
    assert {status for _, _, status, *_ in answers} == {200}
    return all(text.startswith("The answer to question") or text == "I do not know." for text in texts)


def test_up_to_all_the_traffic_and_back_by_itself_when_it_turns_bad(tmp_path, plan):
    """Two workers; good first, then 80 % of the candidate's answers are wrong."""
    with gateway(tmp_path, workers=2) as drill:
        with Traffic(drill.process.url, clients=2, pause_s=0.01) as traffic:
            until(lambda: len(traffic.answers) > 20)
            assert {model for _, model, *_ in traffic.answers} == {"old"}
            promoted(drill, plan, ("canary",))
            canary = len(traffic.answers)
            until(lambda: ("canary", "promote") in verdicts(drill))
            until(lambda: len(traffic.since(canary)) > 60)
            in_canary = traffic.since(canary)[10:-2]
            drill.rollout("advance")
            full = len(traffic.answers)
            until(lambda: len(traffic.since(full)) > 100)
            assert {model for _, model, *_ in traffic.since(full)[10:]} == {"new"}
            drill.models.wrong["new"] = 0.8
            until(lambda: drill.stage() == "rolled-back")
            alarm, reason = step(drill, "rolled-back")
            until(lambda: traffic.answers[-1][-1] > alarm + 1.2)
        status = drill.rollout("status")
        late = [process["at_ns"] / 1e9 - alarm for process in status["processes"]]
        assert "worse than the margin" in reason
        assert len(late) == 2 and max(late) < 1, "every worker is back on the baseline within a second of the alarm"
        assert {model for _, model, *_, at in traffic.answers if at > alarm + 1} == {"old"}
        assert not traffic.faults and whole(traffic.answers), "no request was lost"
        sides = {}
        for session, model, *_ in in_canary:
            sides.setdefault(session, set()).add(model)
        assert all(len(models) == 1 for models in sides.values()), "a session stays on its side"
        assert set.union(*sides.values()) == {"old", "new"}
        assert verdicts(drill) == [("shadow", "promote"), ("canary", "promote")]
        steps = [body["stage"] for body in drill.ledger("rollout")]
        assert steps == ["shadow", "canary", "full", "rolled-back"]
        done = drill.command("ledger", "verify", "--store", str(drill.store), "--json")
        assert json.loads(done.stdout)["verdicts"] == 2, done.stderr


def test_a_bad_candidate_is_rejected_in_its_shadow(tmp_path, plan):
    with gateway(tmp_path) as drill:
        drill.models.wrong["new"] = 0.6
        with Traffic(drill.process.url, clients=2, pause_s=0.01) as traffic:
            drill.start("--plan", plan)
            until(lambda: drill.stage() == "rolled-back")
        until(lambda: verdicts(drill) == [("shadow", "reject")])
        assert {model for _, model, *_ in traffic.answers} == {"old"} and not traffic.faults
        assert step(drill, "rolled-back")[1].startswith("rejected: quality")
        assert "no rollout is under way" in drill.rollout("advance", code=2)


@pytest.mark.parametrize(("twice", "decision"), [("true", "promote"), ("false", "reject")])
def test_models_that_never_say_the_same_twice_need_the_baseline_asked_twice(tmp_path, twice, decision):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.replace("0.2", "0.3") + f"twice = {twice}\nflips = 0.6\ncap = 600\n")
    with gateway(tmp_path) as drill:
        drill.models.unsteady = 0.35
        with Traffic(drill.process.url, clients=2, pause_s=0.01):
            drill.start("--plan", str(path))
            until(lambda: verdicts(drill))
        assert verdicts(drill) == [("shadow", decision)]


def test_nothing_goes_live_without_a_verdict(tmp_path, plan):
    with gateway(tmp_path) as drill:
        drill.start("--plan", plan)
        assert "there is no verdict on it yet" in drill.rollout("advance", code=11)
        assert "is under way (shadow)" in drill.start("--plan", plan, code=6)
        with Traffic(drill.process.url, clients=2, pause_s=0.01):
            until(lambda: verdicts(drill))
        # The baseline changes: what was compared is not what would be replaced.
        config = (drill.folder / "old.toml").read_text()
        changed = drill.folder / "changed.toml"
        changed.write_text(config.replace('model = "old" }]', 'model = "old", stall_s = 30 }]'))
        done = drill.command("rollout", "advance", "--config", str(changed))
        assert done.returncode == 11 and "is stale" in done.stderr
        changed.rename(drill.folder / "old.toml")
        until(lambda: drill.stage() == "ended")
        assert step(drill, "ended")[1] == "the baseline was changed under it"
        assert {"old"} == {asked(drill, f"s{n}")[1] for n in range(5)}


def asked(drill, session, **given):
    connection = http.client.HTTPConnection(urlsplit(drill.process.url).netloc, timeout=20)
    try:
        return ask(connection, session, "a question", **given)
    finally:
        connection.close()


def test_a_candidate_that_fails_costs_no_request(tmp_path, plan):
    """All its calls fail after promotion: the baseline answers them, and the candidate is gone after a few."""
    with gateway(tmp_path, more="[retry]\nattempts = 1") as drill:
        with Traffic(drill.process.url, clients=2, pause_s=0.01) as traffic:
            promoted(drill, plan)
            drill.models.failing["new"] = 1.0
            failing = len(traffic.answers)
            until(lambda: drill.stage() == "rolled-back")
            until(lambda: len(traffic.since(failing)) > 30)
        assert not traffic.faults and whole(traffic.answers)
        assert {model for _, model, *_ in traffic.since(failing)[4:]} == {"old"}
        assert "failed one after the other" in step(drill, "rolled-back")[1]


def test_a_promoted_candidate_outlives_a_kill_and_a_rollback_too(tmp_path, plan):
    with gateway(tmp_path) as drill:
        with Traffic(drill.process.url, clients=2, pause_s=0.01):
            promoted(drill, plan)
        seen = drill.rollout("status")
        os.kill(drill.process.pid, signal.SIGKILL)
        drill.process.stop()
        with GatewayProcess(drill.folder / "old.toml") as again:
            drill.process = again
            assert {asked(drill, f"s{n}")[1] for n in range(10)} == {"new"}, "from the first request on"
            now = drill.rollout("status")
            assert now["rollout"]["revision"] == seen["rollout"]["revision"]
            began = time.monotonic()
            found = drill.rollout("rollback", "--reason", "drill")
            assert time.monotonic() - began < 10 and len(found["processes"]) == 1
            assert {asked(drill, f"s{n}")[1] for n in range(10)} == {"old"}
            drill.process.stop()
        with GatewayProcess(drill.folder / "old.toml") as again:
            drill.process = again
            assert {asked(drill, f"s{n}")[1] for n in range(10)} == {"old"}
        assert step(drill, "rolled-back")[1] == "drill"


def test_shadows_are_recorded_and_priced_apart_and_charged_to_nobody(tmp_path, plan):
    with gateway(tmp_path, more='keys = "required"') as drill:
        made = drill.command("keys", "create", "ada", "--day", "5", "--store", str(drill.store), "--json")
        headers = {"x-trimtab-user": "ada"}
        secret = json.loads(made.stdout)["key"]
        drill.start("--plan", plan)
        for n in range(10):
            given = {**headers, "Authorization": f"Bearer {secret}"}
            assert asked(drill, f"s{n}", headers=given, streamed=n % 2 == 0)[2] == 200
        # While the watch is still being loaded, the event loop may be too busy for a shadow.
        until(lambda: sum(drill.counts().get(name, 0) for name in ("shadows", "dropped busy")) == 10)
        counts = drill.counts()
        asked_twice = counts["shadows"]
        assert asked_twice > 5
        cost = counts["shadow nanodollars"]
        assert cost == asked_twice * (1000 * 1000 + 10 * 4000), "at the candidate's own price"
        shown = drill.command("keys", "show", "ada", "--store", str(drill.store), "--json")
        assert json.loads(shown.stdout)["used"]["day_usd"] == pytest.approx(10 * (1000 * 2 + 10 * 8) / 1e6)
        calls = until(lambda: recorded(drill.store, 10 + asked_twice))
        shadows = [call for call in calls if SHADOW in call.tags]
        served = {call.id: call for call in calls if SHADOW not in call.tags}
        assert len(shadows) == asked_twice and all(call.workflow == "trimtab.shadow" for call in shadows)
        assert all(call.user == "ada" and "trimtab.key" not in call.tags for call in shadows)
        assert all(served[call.tags[f"{SHADOW}_of"]].endpoint == "old" for call in shadows)
        assert all(call.trace_id not in {one.trace_id for one in served.values()} for call in shadows)
        assert not any(CANDIDATE in call.tags for call in calls)
        sent = [seen for seen in drill.upstream.seen if seen.json["model"] == "new"]
        assert all("Authorization" not in seen.headers for seen in sent)


def recorded(store, count):
    reader = TraceReader(store)
    calls = [call for summary in reader.traces(limit=1000) for call in reader.trace(summary.id).calls]
    return calls if len(calls) >= count else None


def test_shadows_are_dropped_before_they_are_in_the_way(tmp_path):
    """The candidate hangs: no more than `at_once` are under way, the rest are counted, and nobody waits for them."""
    plan = tmp_path / "plan.toml"
    plan.write_text("sampled = 1.0\nat_once = 2\nper_s = 1000.0\n")
    with gateway(tmp_path) as drill:
        drill.models.hanging = "new"
        drill.start("--plan", str(plan))
        began = time.monotonic()
        for n in range(20):
            assert asked(drill, f"s{n}")[2] == 200
        assert time.monotonic() - began < 10
        until(lambda: drill.counts().get("dropped full", 0) >= 17)
        assert drill.models.calls["new"] <= 2
        page = drill.page()
        assert 'trimtab_shadow_dropped_total{reason="full"} 1' in page
        assert 'trimtab_rollout_processes{stage="shadow"} 1' in page


def test_a_candidate_that_cannot_be_served_is_rolled_back_and_says_why(tmp_path):
    with gateway(tmp_path) as drill:
        path = drill.folder / "new.toml"
        path.write_text(path.read_text().replace('model = "new" }]', 'model = "new", key_env = "NOT_THERE" }]'))
        drill.start()
        until(lambda: drill.stage() == "rolled-back")
        assert "wants its key in NOT_THERE" in step(drill, "rolled-back")[1]
        assert asked(drill, "s")[1] == "old"


def test_it_goes_on_by_itself_where_the_plan_says_so(tmp_path, plan):
    with gateway(tmp_path) as drill, Traffic(drill.process.url, clients=2, pause_s=0.01) as traffic:
        drill.start("--plan", plan, "--automatic")
        until(lambda: drill.stage() == "full")
        until(lambda: {model for _, model, *_ in traffic.answers[-20:]} == {"new"})
        assert [body["stage"] for body in drill.ledger("rollout")] == ["shadow", "canary", "full"]
        assert all(body["verdict"] for body in drill.ledger("rollout")[1:])


def test_a_register_that_is_out_of_order_stops_no_rollback(tmp_path, plan):
    """Another process holds the register; what this one sees is enough, and it is told afterwards."""
    with gateway(tmp_path) as drill, Traffic(drill.process.url, clients=2, pause_s=0.01) as traffic:
        promoted(drill, plan)
        holder = Register(drill.store)
        with holder.change():
            drill.models.wrong["new"] = 1.0
            until(lambda: {model for _, model, *_ in traffic.answers[-10:]} == {"old"})
            assert holder.latest().stage == "full"
        holder.close()
        until(lambda: drill.stage() == "rolled-back")
        assert not traffic.faults and whole(traffic.answers)


SIDES = (("baseline", "old"), ("candidate", "new"))


def test_a_verdict_of_the_gate_opens_the_canary(tmp_path):
    """What is gated is what is rolled out: the same two files, one ledger."""
    item = '{{"id": "{0}", "body": {{"messages": [{{"role": "user", "content": "{0}"}}]}}, "expected": "{1}"}}\n'
    suite = tmp_path / "suite.jsonl"
    suite.write_text("".join(item.format(f"q{n}", told(f"q{n}")) for n in range(40)))
    (tmp_path / "criteria.toml").write_text("margin = 0.2\nlength = []\n")
    with gateway(tmp_path) as drill:
        sides = [f"--{side}={tmp_path}/{model}.toml#assistant" for side, model in SIDES]
        words = [*sides, f"--suite={suite}", f"--criteria={tmp_path}/criteria.toml", f"--store={drill.store}", "--json"]
        done = drill.command("gate", "run", *words)
        assert done.returncode == 0, done.stderr
        drill.start()
        assert drill.rollout("advance")["rollout"]["stage"] == "canary"
        assert "no verdict on it yet" in drill.rollout("advance", code=11)
        assert {asked(drill, f"s{n}")[1] for n in range(100)} == {"old", "new"}
