import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError
from trimtab.verdict import Criterion, Decision, Finding, Margin, Verdict, conclude, digest, fingerprint


def finding(decision, metric="quality", **more):
    criterion = Criterion(metric, Margin(0.02))
    return Finding(decision=decision, criterion=criterion, difference=0.0, low=-0.01, high=0.01, n=10, **more)


def test_a_margin_is_a_share():
    assert Margin(0.02).value == 0.02


@pytest.mark.parametrize("value", [0, 1, -0.1, 2, float("nan")])
def test_a_margin_outside_the_open_unit_interval_is_refused(value):
    with pytest.raises(ConfigError, match="margin"):
        Margin(value)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_an_alpha_outside_the_open_unit_interval_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha"):
        Criterion("quality", Margin(0.02), alpha)


decisions = st.lists(st.sampled_from(list(Decision)), max_size=6)


@given(decisions, st.sampled_from(["", "the judge was offline"]))
def test_only_a_run_in_which_everything_passed_promotes(all_of_them, halt):
    decision, reason = conclude([finding(each) for each in all_of_them], halt)
    assert reason
    assert (decision is Decision.REJECT) == (Decision.REJECT in all_of_them and not halt)
    passed = bool(all_of_them) and not halt and set(all_of_them) == {Decision.PROMOTE}
    assert (decision is Decision.PROMOTE) == passed
    assert decision is not Decision.UNCERTIFIED


def test_the_reason_names_criterion_and_slice():
    some = [finding(Decision.PROMOTE), finding(Decision.UNCERTIFIED, slice="refund", reason="12 of 30 clusters")]
    assert conclude(some) == (Decision.INCONCLUSIVE, "quality of 'refund': 12 of 30 clusters")


def test_a_verdict_comes_back_from_its_json_as_it_was():
    held = finding(Decision.PROMOTE, path=((0.0, 9), (-1.0, 1)), counts={"wealth": 0.1 + 0.2}, digest="ab")
    verdict = Verdict(
        decision=Decision.PROMOTE, findings=(held,), baseline="b", candidate="c", suite="s", order="o", seed=1, n=10
    )
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict


ONE = Deployment(name="a", endpoints=(Endpoint(name="m", url="http://h/v1", model="x"),))


def test_a_fingerprint_is_of_what_is_served_and_not_of_its_name():
    assert fingerprint(ONE) == fingerprint(msgspec.structs.replace(ONE, name="b"))
    others = [
        fingerprint(msgspec.structs.replace(ONE, endpoints=(Endpoint(name="m", url="http://h/v1", model="y"),))),
        fingerprint(msgspec.structs.replace(ONE, steps=(StepSpec(lever="cache", artifact="1"),))),
        fingerprint(msgspec.structs.replace(ONE, steps=(StepSpec(lever="cache", artifact="2"),))),
        fingerprint(ONE, "You are kind."),
        fingerprint(ONE),
    ]
    assert len(set(others)) == len(others)


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [2, {"d": 3, "c": 4}]}) == digest({"b": [2, {"c": 4, "d": 3}], "a": 1})
