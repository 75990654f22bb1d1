"""The rules across runs: staleness, portfolio, worn-out suites, scaling by the judge's calibration."""

import msgspec
import pytest

from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, FormatError, StoreError
from trimtab.evals import suite as suites
from trimtab.evals.calibration import Accuracy, Calibration, Share
from trimtab.evals.suite import Item, JudgeSpec
from trimtab.gate import portfolio, recompute, record, scaling, stale
from trimtab.gate.bets import Bet, Rule
from trimtab.gate.criteria import Criteria
from trimtab.store.ledger import Ledger
from trimtab.verdict import Criterion, Margin, Verdict, conclude, fingerprint

RULE = Rule(test="mean", margin=0.05, alpha=0.05, harm=-0.025)


def verdict(candidate, clusters, loss=0, **more):
    """A verdict on so many clusters without a difference, every `loss`th of them lost."""
    bet = Bet(Criterion("quality", Margin(0.05)), RULE)
    for at in range(clusters):
        bet.feed(-1.0 if loss and at % loss == 0 else 0.0)
    findings = (bet.finding(),)
    decision, reason = conclude(findings)
    terms = {"baseline": "b", "suite": "s", "order": "o", "seed": 0, "n": clusters, "made_at": candidate}
    return Verdict(decision=decision, reason=reason, findings=findings, candidate=candidate, **{**terms, **more})


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


ONE = Deployment(name="a", endpoints=(Endpoint(name="m", url="http://h/v1", model="x"),))
TWO = Deployment(name="b", endpoints=(Endpoint(name="m", url="http://h/v1", model="x"),), steps=(StepSpec("cache"),))


def test_a_verdict_holds_for_the_two_deployments_it_was_made_of():
    made = verdict(fingerprint(TWO), 90, baseline=fingerprint(ONE), prompts=("p1",), models={"candidate": "x 1"})
    assert stale.reopened(made, ONE, TWO, ["p1"], {"candidate": "x 1"}) == ""
    assert stale.reopened(made, msgspec.structs.replace(ONE, name="other"), TWO) == ""
    assert "baseline is not the one" in stale.reopened(made, TWO, TWO)
    other = msgspec.structs.replace(TWO, steps=(StepSpec("cache", artifact="2"),))
    assert "candidate is not the one" in stale.reopened(made, ONE, other)
    assert "prompts in use were not gated" in stale.reopened(made, ONE, TWO, ["p1", "p2"])
    assert "model behind the candidate changed" in stale.reopened(made, ONE, TWO, (), {"candidate": "x 2"})


def test_the_newest_verdict_on_each_candidate_is_in_flight_until_its_rollout_ends(ledger):
    hashes = [record.keep(ledger, made) for made in (verdict("c1", 90), verdict("c2", 90), verdict("c1", 400))]
    assert [(each.candidate, each.n) for _, each in portfolio.in_flight(ledger.entries())] == [("c2", 90), ("c1", 400)]
    ledger.append("rollout", {"rollout": "r1", "from": "shadow", "stage": "canary", "verdict": hashes[1]})
    assert len(portfolio.in_flight(ledger.entries())) == 2
    ledger.append("rollout", {"rollout": "r1", "from": "canary", "stage": "full", "verdict": hashes[1]})
    assert [each.candidate for _, each in portfolio.in_flight(ledger.entries())] == ["c1"]


def test_a_rollout_that_was_rolled_back_is_known_by_its_name(ledger):
    record.keep(ledger, verdict("c1", 90, names={"rollout": "r7", "stage": "canary"}))
    ledger.append("rollout", {"rollout": "r8", "stage": "rolled-back", "verdict": ""})
    assert len(portfolio.in_flight(ledger.entries())) == 1
    ledger.append("rollout", {"rollout": "r7", "stage": "rolled-back", "verdict": ""})
    assert portfolio.in_flight(ledger.entries()) == []


def test_more_levers_in_flight_ask_for_more_evidence(ledger):
    """Evidence 20 suffices alone at alpha 5 %; among ten others that fail it does not at a level of 10 %."""
    record.keep(ledger, verdict("weak", 85))
    record.keep(ledger, verdict("strong", 400))
    for number in range(10):
        record.keep(ledger, verdict(f"bad{number}", 85, loss=10))
    flights = portfolio.ships(ledger.entries(), 0.1)
    weak = next(flight for flight in flights if flight.verdict.candidate == "weak")
    assert 20 <= weak.e_value < 60
    assert [flight.verdict.candidate for flight in flights if flight.ships] == ["strong"]


def test_nothing_that_was_not_promoted_has_any_evidence():
    assert portfolio.e_value(verdict("c", 30)) == 0
    assert portfolio.e_value(verdict("c", 60, loss=2)) == 0
    promoted = verdict("c", 90)
    assert portfolio.e_value(promoted) == promoted.findings[0].counts["wealth"]
    assert portfolio.e_value(msgspec.structs.replace(promoted, halt="changed")) == 0


def test_a_suite_is_retired_after_its_uses(ledger):
    for number in range(3):
        portfolio.check_suite(ledger.entries(), "s", 3)
        record.keep(ledger, verdict(f"c{number}", 30))
    with pytest.raises(ConfigError, match="been a gate 3 times"):
        portfolio.check_suite(ledger.entries(), "s", 3)
    portfolio.check_suite(ledger.entries(), "other", 3)


def test_a_suite_that_something_was_developed_on_is_no_gate(ledger):
    ledger.append("estimate", {"lever": "cache", "suites": ["s"]})
    with pytest.raises(ConfigError, match="used in development"):
        portfolio.check_suite(ledger.entries(), "s", 3)


def test_a_verdict_is_kept_once_and_found_again(ledger):
    made = verdict("c", 90)
    entry = record.keep(ledger, made)
    assert record.keep(ledger, msgspec.structs.replace(made, made_at="later")) == entry
    other = record.keep(ledger, verdict("d", 90))
    assert ledger.verify() == 2
    assert record.found(ledger) == (other, verdict("d", 90))
    assert record.found(ledger, entry[:12]) == (entry, made)
    with pytest.raises(StoreError, match="0 entries"):
        record.found(ledger, "zz")


def test_an_empty_ledger_says_how_to_fill_it(ledger):
    with pytest.raises(StoreError, match="trimtab gate run"):
        record.found(ledger)


def test_an_entry_that_holds_no_verdict_is_named(ledger):
    ledger.append("verdict", {"decision": "promote"})
    with pytest.raises(FormatError, match="entry 1 of the ledger holds no verdict"):
        recompute.verdict_of(ledger.entries()[0])


def accuracy(sens, spec, n=1000):
    return Accuracy(Share(int(n * sens), n, 0.0, 1.0), Share(int(n * spec), n, 0.0, 1.0))


GRADED = suites.of(
    [Item("1", "1", {"messages": [{}]}, "x", ("s",))],
    name="s",
    head=suites._Head(judge=JudgeSpec("model_graded", {"url": "http://h/v1", "model": "m"})),
)


def test_a_grading_model_must_be_calibrated():
    with pytest.raises(ConfigError, match="gate calibrate"):
        scaling.of(GRADED, "j", Criteria(), None)
    plain = suites.of([Item("1", "1", {"messages": [{}]}, "x")], name="s")
    assert scaling.of(plain, "j", Criteria(), None) == {}


def test_the_margin_shrinks_by_what_the_judge_may_miss():
    held = Calibration("j", 0.95, accuracy(0.9, 0.8), {"s": accuracy(0.7, 0.6)})
    found = scaling.of(GRADED, "j", Criteria(slices={"s": 0.1}), held)
    assert 0.6 < found[""] < 0.7 and 0.2 < found["s"] < 0.3  # below what was seen, by what it may be off
    few = Calibration("j", 0.95, accuracy(0.9, 0.8), {"s": accuracy(0.7, 0.6, 20)})
    assert scaling.of(GRADED, "j", Criteria(slices={"s": 0.1}), few)["s"] == found[""]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (Calibration("other", 0.95, accuracy(0.9, 0.8)), "is of the judge 'other'"),
        (Calibration("j", 0.95, accuracy(0.5, 0.5)), "may be chance"),
        (Calibration("j", 0.95, accuracy(0.9, 0.8, 5)), "may be chance"),
        (Calibration("j", 0.95, Accuracy(Share(0, 0, 0.0, 1.0), Share(9, 9, 0.0, 1.0))), "may be chance"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(held, told):
    with pytest.raises(ConfigError, match=told):
        scaling.of(GRADED, "j", Criteria(), held)


@pytest.mark.parametrize("text", ["{", '{"judge": 1}'])
def test_a_calibration_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot read the calibration"):
        scaling.read(path)
