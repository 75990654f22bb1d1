"""Proof: which verdicts in the ledger let a rollout go on."""

import msgspec
import pytest

from tests.rollout.test_stages import NEW, OLD
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.errors import NotProven
from trimtab.gate import recompute
from trimtab.rollout import proof, stages
from trimtab.rollout.evidence import Evidence, Row, Stream
from trimtab.rollout.stages import Plan, Stage
from trimtab.store.ledger import Ledger

WELL = (Row(Stream.QUALITY, 0.0, 25), Row(Stream.ERRORS, 0.0, 30))
BADLY = (Row(Stream.QUALITY, -1.0, 25),)


@pytest.fixture
def rollout():
    return stages.begun(OLD, NEW, Plan(margin=0.2, errors=0.2))


def verdict(rollout, rows=WELL, **seen):
    evidence = Evidence(rollout.plan, rollout.stage)
    for row in rows:
        evidence.take(row)
    return proof.verdict(rollout, evidence, proof.Seen(calls=["a", "b"], judge="agreement-1", **seen))


def enter(folder, said):
    return Ledger(folder).append("verdict", proof.plain(said))


def test_a_stage_goes_on_by_its_own_verdict(tmp_path, rollout):
    said = verdict(rollout)
    assert said.decision == "promote" and said.n > 0 and recompute.check(said) == []
    enter(tmp_path, said)
    assert proof.of(tmp_path, rollout) == Ledger(tmp_path).entries()[-1].hash
    canary = msgspec.structs.replace(rollout, stage=Stage.CANARY)
    with pytest.raises(NotProven, match="no verdict on it yet"):
        proof.of(tmp_path, canary)


def test_the_newest_verdict_counts(tmp_path, rollout):
    enter(tmp_path, verdict(rollout))
    enter(tmp_path, verdict(rollout, BADLY))
    with pytest.raises(NotProven, match="its verdict is reject"):
        proof.of(tmp_path, rollout)


def test_a_verdict_of_the_gate_opens_the_canary_and_no_more(tmp_path, rollout):
    offline = msgspec.structs.replace(verdict(rollout), names={"candidate": "new.toml"})
    name = enter(tmp_path, offline)
    assert proof.of(tmp_path, rollout) == name
    with pytest.raises(NotProven):
        proof.of(tmp_path, msgspec.structs.replace(rollout, stage=Stage.CANARY))


def test_a_verdict_on_another_baseline_is_stale(tmp_path, rollout):
    enter(tmp_path, msgspec.structs.replace(verdict(rollout), names={}))
    other = Deployment(name="c", endpoints=(Endpoint(name="old", url="http://b/v1", model="old"),), routes=OLD.routes)
    with pytest.raises(NotProven, match="stale"):
        proof.of(tmp_path, msgspec.structs.replace(rollout, baseline=other))


def test_a_verdict_that_does_not_follow_from_its_counts_is_none(tmp_path, rollout):
    bad = verdict(rollout, BADLY)
    findings = tuple(msgspec.structs.replace(each, decision="promote", reason="") for each in bad.findings)
    enter(tmp_path, msgspec.structs.replace(verdict(rollout), findings=findings))
    with pytest.raises(NotProven, match="does not follow from its counts"):
        proof.of(tmp_path, rollout)


def test_what_is_met_after_promotion_and_was_not_compared_makes_it_stale():
    gated = {"candidate": {"new": ["new-1"]}, proof.PROMPTS: {"": ["a", "b"]}}
    assert proof.reopened_by(gated, gated) == "" == proof.reopened_by(gated, {"candidate": {"other": ["x"]}})
    assert "is new-2 now" in proof.reopened_by(gated, {"candidate": {"new": ["new-1", "new-2"]}})
    assert "1 system prompts" in proof.reopened_by(gated, {proof.PROMPTS: {"": ["a", "c"]}})
    many = {proof.PROMPTS: {"": [str(n) for n in range(proof.MOST_PROMPTS)]}}
    assert proof.reopened_by(many, {proof.PROMPTS: {"": ["c"]}}) == ""


def test_a_model_that_changes_under_the_stage_concludes_nothing(tmp_path, rollout):
    steady = {"baseline": {"old": ["old-1"]}, "candidate": {"new": ["new-1"]}}
    assert verdict(rollout, met=steady).decision == "promote"
    said = verdict(rollout, met={"candidate": {"new": ["new-1", "new-2"]}})
    assert said.decision == "inconclusive" and "the model behind the candidate's 'new' changed" in said.reason
    enter(tmp_path, said)
    with pytest.raises(NotProven, match="inconclusive"):
        proof.of(tmp_path, rollout)
