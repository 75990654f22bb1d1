"""Real runs: gateways as processes, answers over sockets, models whose truth is known."""

import json
import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from tests.gate import scripted
from tests.gate.scripted import Model, serving
from trimtab.errors import ConfigError, UpstreamError
from trimtab.gate import drifting, offline, recompute, sides, sources
from trimtab.gate.criteria import Criteria, Latency, Saving
from trimtab.gate.journal import ANSWERS, Answered
from trimtab.store.ledger import Entry
from trimtab.verdict import Decision


def plan(tmp_path, endpoint, candidate, /, **more):
    path = tmp_path / "suite.jsonl"
    if not path.exists():
        scripted.suite(path, 800)
    terms = {
        "baseline": sides.named(f"{endpoint.url}#base"),
        "candidate": sides.named(f"{endpoint.url}#{candidate}"),
        "source": sources.named(str(path)),
        "criteria": Criteria(margin=0.08, length=()),
        "folder": tmp_path / "run",
        **more,
    }
    return offline.Plan(**terms)


def written(folder):
    return [msgspec.json.decode(line, type=Answered) for line in (folder / ANSWERS).read_bytes().splitlines()]


def same_but_for_the_time(one, other):
    return msgspec.structs.replace(one, made_at="", facts={}) == msgspec.structs.replace(other, made_at="", facts={})


def test_a_harmless_candidate_is_promoted_and_a_harmful_one_rejected(tmp_path):
    seen = []
    with serving(base=Model(), same=Model(gained=0.05), bad=Model(lost=0.3)) as endpoint:
        good = offline.run(plan(tmp_path, endpoint, "same"), seen.append)
        bad = offline.run(plan(tmp_path, endpoint, "bad", folder=tmp_path / "bad"))
    assert (good.decision, bad.decision) == (Decision.PROMOTE, Decision.REJECT)
    assert good.n < 300 and bad.n < 200  # both stopped early
    assert seen[-1].n == good.n and seen[-1].wealth >= 20
    assert good.facts["baseline_score"] == pytest.approx(0.7, abs=0.12)
    for verdict in (good, bad):
        assert recompute.check(verdict) == []


def test_pairs_count_in_the_order_fixed_before_the_run(tmp_path):
    with serving(base=Model(), same=Model()) as endpoint:
        going = plan(tmp_path, endpoint, "same", concurrency=16)
        verdict = offline.run(going)
    places = {each.place: each.cluster for each in written(going.folder)}
    order = offline.suite.order(going.source.suite, 0)
    assert verdict.order == order.digest
    assert all(order.clusters[place] == cluster for place, cluster in places.items())
    assert set(range(verdict.n)) <= places.keys()


def test_a_run_that_was_broken_off_goes_on_to_the_same_verdict_and_under_no_other_terms(tmp_path):
    with serving(base=Model(), near=Model(lost=0.05, gained=0.05)) as endpoint:
        whole = offline.run(plan(tmp_path, endpoint, "near", folder=tmp_path / "whole"))
        asked = len(endpoint.asked)
        going = plan(tmp_path, endpoint, "near")
        lines = (tmp_path / "whole" / ANSWERS).read_bytes().splitlines(keepends=True)
        going.folder.mkdir()
        (going.folder / "plan.json").write_bytes((tmp_path / "whole" / "plan.json").read_bytes())
        # Half of it, not in order, and the last line cut short.
        kept = lines[: len(lines) // 2]
        (going.folder / ANSWERS).write_bytes(b"".join(reversed(kept)) + lines[len(kept)][:40])
        again = offline.run(going)
        assert same_but_for_the_time(again, whole)
        assert len(endpoint.asked) - asked <= 2 * (len(lines) - len(kept) + 8)
        asked = len(endpoint.asked)
        assert offline.run(going) == again  # and when it has ended nobody is asked
        assert len(endpoint.asked) == asked
        for terms, told in (({"seed": 1}, "the order changed"), ({"criteria": Criteria()}, "the criteria changed")):
            with pytest.raises(ConfigError, match=told):
                offline.run(plan(tmp_path, endpoint, "near", **terms))


def test_a_killed_process_goes_on_to_the_same_verdict(tmp_path):
    """With models slow enough to be killed on the way."""
    slow = Model(delay_s=0.01)
    with serving(base=slow, near=Model(lost=0.04, gained=0.04, delay_s=0.01)) as endpoint:
        whole = offline.run(plan(tmp_path, endpoint, "near", folder=tmp_path / "whole"))
        command = [sys.executable, "-m", "trimtab", "gate", "run", "--suite", str(tmp_path / "suite.jsonl")]
        command += ["--baseline", f"{endpoint.url}#base", "--candidate", f"{endpoint.url}#near", "--json"]
        (tmp_path / "criteria.toml").write_text("margin = 0.08\nlength = []\n")
        command += ["--criteria", str(tmp_path / "criteria.toml"), "--store", str(tmp_path / "store")]
        command += ["--folder", str(tmp_path / "run")]
        for sign in (signal.SIGKILL, signal.SIGINT):
            lines = len(written(tmp_path / "run")) if (tmp_path / "run" / ANSWERS).exists() else 0
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            until = time.monotonic() + 60
            while time.monotonic() < until and process.poll() is None:
                held = tmp_path / "run" / ANSWERS
                if held.exists() and held.read_bytes().count(b"\n") >= lines + 20:
                    break
                time.sleep(0.01)
            os.kill(process.pid, sign)
            _, said = process.communicate(timeout=60)
            if sign == signal.SIGINT:
                assert process.returncode == 130
                assert b"goes on from" in said
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    told = json.loads(done.stdout)
    entry = told.pop("entry")
    verdict = msgspec.convert(told, type(whole))
    assert same_but_for_the_time(verdict, whole)
    assert done.returncode == {"promote": 0, "reject": 1, "inconclusive": 2}[whole.decision]
    assert len(entry) == 64


def test_a_baseline_that_changes_under_the_run_is_seen_by_its_answers(tmp_path):
    with serving(base=Model(), same=Model()) as endpoint:

        def swap(body):
            if body["model"] == "base" and len(endpoint.asked) > 60:
                endpoint.build = "2"
            return 0

        endpoint.broken = swap
        verdict = offline.run(plan(tmp_path, endpoint, "same"))
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "changed under the run" in verdict.reason


def test_a_model_list_that_changes_under_the_run_is_seen(tmp_path):
    with serving(base=Model(), same=Model()) as endpoint:
        going = plan(tmp_path, endpoint, "same")
        endpoint.listed = {"base": {"root": "weights-1"}}
        verdict = offline.run(going, lambda progress: endpoint.listed.update(base={"root": "weights-2"}))
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "baseline changed under the run" in verdict.halt


def test_a_configuration_that_is_edited_under_the_run_is_seen(tmp_path):
    with serving(base=Model(), same=Model()) as endpoint:
        file = tmp_path / "base.toml"
        text = f'[[endpoints]]\nname = "one"\nurl = "{endpoint.url}"\nmodel = "base"\n'
        file.write_text(text)
        going = plan(tmp_path, endpoint, "same", baseline=sides.named(str(file)))
        verdict = offline.run(going, lambda progress: file.write_text(text + "timeout_s = 5.0\n"))
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "was edited" in verdict.reason


@pytest.mark.parametrize(("side", "model"), [("baseline", "base"), ("candidate", "same")])
def test_a_side_that_never_answers_is_an_error_and_leaves_nothing_behind(tmp_path, side, model):
    with serving(base=Model(), same=Model()) as endpoint:
        endpoint.broken = lambda body: 404 if body["model"] == model else 0
        with pytest.raises(UpstreamError, match=f"the {side} gave no answer"):
            offline.run(plan(tmp_path, endpoint, "same"))
        endpoint.broken = lambda body: 0
        assert offline.run(plan(tmp_path, endpoint, "same")).decision is Decision.PROMOTE


def test_a_side_that_goes_down_under_the_run_is_an_outage_and_the_run_goes_on_later(tmp_path):
    with serving(base=Model(), same=Model(gained=0.02)) as endpoint:
        whole = offline.run(plan(tmp_path, endpoint, "same", folder=tmp_path / "whole"))
        down = len(endpoint.asked) + 40
        endpoint.broken = lambda body: 404 if body["model"] == "same" and len(endpoint.asked) > down else 0
        with pytest.raises(UpstreamError, match=r"the candidate gave no answer to \d+ clusters in a row"):
            offline.run(plan(tmp_path, endpoint, "same"))
        kept = written(tmp_path / "run")
        assert len(kept) >= 10 and not any(outcome.error for each in kept for outcome in each.candidate)
        endpoint.broken = lambda body: 0
        assert same_but_for_the_time(offline.run(plan(tmp_path, endpoint, "same")), whole)


def test_secrets_in_answers_do_not_reach_the_disk(tmp_path):
    secret = "sk-" + "a1B2c3D4e5F6g7H8" * 3
    with serving(base=Model(), same=Model()) as endpoint:
        endpoint.suffix = f" {secret}"
        verdict = offline.run(plan(tmp_path, endpoint, "same", criteria=Criteria(margin=0.2, length=())))
    files = [path for path in (tmp_path / "run").iterdir() if path.is_file()]
    assert verdict.n > 0 and len(files) >= 4
    assert not [path.name for path in files if secret in path.read_text()]
    assert "redacted" in (tmp_path / "run" / ANSWERS).read_text()
    assert (tmp_path / "run" / ANSWERS).stat().st_mode & 0o077 == 0


def test_a_candidate_that_often_fails_is_rejected_and_a_baseline_that_does_decides_nothing(tmp_path):
    with serving(base=Model(right=1.0), same=Model(right=1.0)) as endpoint:

        def fails(name):
            return lambda body: (
                404 if body["model"] == name and scripted.draw(body["messages"][-1]["content"]) < 0.3 else 0
            )

        endpoint.broken = fails("same")
        rejected = offline.run(plan(tmp_path, endpoint, "same"))
        endpoint.broken = fails("base")
        unclear = offline.run(plan(tmp_path, endpoint, "same", folder=tmp_path / "other"))
    assert rejected.decision is Decision.REJECT
    assert rejected.facts["candidate_errors"] > 0
    assert unclear.decision is Decision.INCONCLUSIVE
    assert "could not be told" in unclear.reason


def test_a_judge_that_is_offline_leaves_it_inconclusive(tmp_path):
    spec = '[judge]\nkind = "embedding"\noptions = { url = "http://127.0.0.1:9/v1", model = "e" }'
    scripted.suite(tmp_path / "suite.jsonl", 400, head=f"+++\n{spec}\n+++")
    with serving(base=Model(), same=Model()) as endpoint:
        verdict = offline.run(plan(tmp_path, endpoint, "same"))
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.n < 100
    assert "could not be told" in verdict.reason


def test_nothing_at_the_address_is_an_error_before_anything_is_asked(tmp_path):
    with serving(base=Model()) as endpoint:
        going = plan(tmp_path, endpoint, "base", candidate=sides.named("http://127.0.0.1:9/v1#gone"))
        with pytest.raises(UpstreamError, match="nothing answers at"):
            offline.run(going)
        assert endpoint.asked == []


def test_two_prompts_of_one_model_can_be_compared(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Be brief.")
    with serving(base=Model()) as endpoint:
        heard = []
        endpoint.broken = lambda body: heard.append(body["messages"]) or 0
        candidate = sides.named(f"{endpoint.url}#base", str(prompt))
        verdict = offline.run(plan(tmp_path, endpoint, "base", candidate=candidate))
    assert verdict.decision is Decision.PROMOTE
    assert verdict.baseline != verdict.candidate
    systems = [messages[0].get("content") for messages in heard if messages[0]["role"] == "system"]
    assert set(systems) == {"Be brief."} and len(systems) >= verdict.n


def test_a_slow_candidate_fails_its_latency(tmp_path):
    criteria = Criteria(margin=0.2, length=(), latency=Latency(ttft_s=0.15))
    with serving(base=Model(), slow=Model(delay_s=0.3)) as endpoint:
        verdict = offline.run(plan(tmp_path, endpoint, "slow", criteria=criteria, concurrency=8))
    found = {finding.criterion.metric: finding.decision for finding in verdict.findings}
    assert found["latency"] is Decision.REJECT
    assert verdict.decision is Decision.REJECT


def test_the_drift_of_a_run_is_kept_less_the_baselines_own_flips(tmp_path):
    with serving(base=Model(), near=Model(lost=0.1, gained=0.1)) as endpoint:
        going = plan(tmp_path, endpoint, "near", again=30)
        verdict = offline.run(going)
    found = drifting.kept(going.folder)
    assert found.n == verdict.n
    assert found.flips.noise == 0.0 and found.flips.noise_n == 30  # the same question has the same answer
    assert found.flips.share == pytest.approx(verdict.facts["gained"] + verdict.facts["lost"])
    text = "\n".join(drifting.lines(found))
    assert "the baseline against itself 0.0% of 30" in text and "self repetition" in text
    assert drifting.kept(tmp_path) is None


@pytest.mark.parametrize(("share", "decision"), [(0.3, Decision.PROMOTE), (0.7, Decision.REJECT)])
def test_a_saving_is_shown_by_the_prices_of_the_two_files(tmp_path, share, decision):
    """Half the price a token: a saving of 30 % is there, one of 70 % is not."""
    with serving(base=Model(tokens=40), same=Model(tokens=40)) as endpoint:
        for name in ("base", "same"):
            text = f'[[endpoints]]\nname = "one"\nurl = "{endpoint.url}"\nmodel = "{name}"\n'
            text += f'[prices.models."{name}"]\ninput = 0.0\noutput = {20.0 if name == "base" else 10.0}\n'
            (tmp_path / f"{name}.toml").write_text(text)
        both = {
            "baseline": sides.named(str(tmp_path / "base.toml")),
            "candidate": sides.named(f"{tmp_path / 'same.toml'}#same"),
            "criteria": Criteria(margin=0.2, length=(), cost=Saving(share=share)),
        }
        verdict = offline.run(plan(tmp_path, endpoint, "same", **both))
    cost = verdict.findings[1]
    assert cost.decision is verdict.decision is decision
    assert verdict.facts["cost_ratio"] == pytest.approx(0.5)
    assert cost.difference == pytest.approx(40 * 20e-6 * (1 - share - 0.5), rel=1e-6)
    assert recompute.check(verdict) == []


def test_the_criteria_of_a_run_must_fit_its_suite(tmp_path):
    with (
        serving(base=Model()) as endpoint,
        pytest.raises(ConfigError, match="no item of the suite is in the slice 'x'"),
    ):
        plan(tmp_path, endpoint, "base", criteria=Criteria(slices={"x": 0.1}))


def test_the_ledger_entry_of_a_run_can_be_recomputed_and_an_altered_one_cannot(tmp_path):
    with serving(base=Model(), bad=Model(lost=0.3)) as endpoint:
        verdict = offline.run(plan(tmp_path, endpoint, "bad"))
    body = msgspec.to_builtins(verdict)
    entry = Entry(number=1, previous="", at="", kind="verdict", made={}, body=body)
    assert recompute.check(recompute.verdict_of(entry)) == []
    forged = msgspec.structs.replace(verdict, decision=Decision.PROMOTE)
    assert "come to 'reject'" in recompute.check(forged)[0]
    first = msgspec.structs.replace(verdict.findings[0], decision=Decision.PROMOTE)
    forged = msgspec.structs.replace(
        verdict, findings=(first,), decision=Decision.PROMOTE, reason="the criterion passed"
    )
    assert recompute.check(forged)
