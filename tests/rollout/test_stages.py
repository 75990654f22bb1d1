"""Plans and rollouts as values: what cannot be is refused with what to do."""

import pytest

from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError
from trimtab.rollout import stages
from trimtab.rollout.stages import Plan, Stage

OLD = Deployment(name="config", endpoints=(Endpoint(name="old", url="http://a/v1", model="old"),), routes={"m": "old"})
NEW = Deployment(name="config", endpoints=(Endpoint(name="new", url="http://a/v1", model="new"),), routes={"m": "new"})


def test_a_candidate_gets_a_name_of_its_own():
    rollout = stages.begun(OLD, NEW, Plan())
    assert rollout.stage is Stage.SHADOW and rollout.share == 0 and rollout.candidate.name == f"candidate-{rollout.id}"
    assert stages.same(rollout.candidate, NEW) and not stages.same(rollout.candidate, OLD)


def test_what_is_served_already_is_no_candidate():
    with pytest.raises(ConfigError, match="is served already"):
        stages.begun(OLD, Deployment(name="other", endpoints=OLD.endpoints, routes=OLD.routes), Plan())


def test_a_candidate_must_serve_something_that_is_asked_for():
    alone = Deployment(name="x", endpoints=NEW.endpoints)
    with pytest.raises(ConfigError, match="serves none of m, old"):
        stages.begun(OLD, alone, Plan())


@pytest.mark.parametrize(
    "text", ["margin = 0", "margin = 1.5", "canary = 1", "sampled = 2", "alfa = 0.1", "per_s = 0", "at_once = 0", "= 3"]
)
def test_a_plan_that_cannot_be_is_refused_with_its_line(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(f"errors = 0.1\n{text}\n")
    with pytest.raises(ConfigError, match=r"plan\.toml"):
        stages.read(path)


def test_a_plan_is_read_and_changed(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("margin = 0.03\njudge = { kind = 'normalised' }\n")
    plan = stages.changed(stages.read(path), {"canary": 0.25})
    assert (plan.margin, plan.canary, plan.judge) == (0.03, 0.25, {"kind": "normalised"})
    with pytest.raises(ConfigError, match="plan of the rollout"):
        stages.changed(plan, {"margin": 7.0})
    with pytest.raises(ConfigError, match="cannot read"):
        stages.read(tmp_path / "none.toml")
