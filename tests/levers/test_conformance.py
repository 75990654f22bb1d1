"""What every lever must be, whichever it is: found by its folder, three verbs, pure apply, light half light."""

import importlib.util
import json
import subprocess
import sys

import msgspec
import pytest

from tests.levers import traffic
from trimtab.config import shipped_prices
from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, FormatError, StoreError
from trimtab.gateway import live
from trimtab.levers import finding, splitting
from trimtab.store.artifacts import ArtifactStore
from trimtab.store.traces import TraceReader

LEVERS = finding.names()
BEFORE = Deployment(
    name="before", endpoints=(Endpoint(name="e", url="http://127.0.0.1:9/v1", model="m"),), steps=(StepSpec("other"),)
)
HEAVY = {"torch", "transformers", "scipy", "trimtab.stats", "trimtab.evals", "trimtab.engines", "pandas"}
PROBE = """
import json, sys
__import__("trimtab.levers.NAME.serve")
print(json.dumps(sorted(sys.modules)))
"""


def test_levers_are_found_by_their_folders():
    assert "cache" in LEVERS
    with pytest.raises(ConfigError, match="cache"):
        finding.lever("nowhere", {})
    with pytest.raises(ConfigError, match="no lever"):
        finding.lever("../cache", {})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return traffic.store(tmp_path_factory.mktemp("levers") / "store")


@pytest.fixture(scope="module", params=LEVERS)
def built(request, store):
    """A lever, its forecast on all traces, and its artefact."""
    lever = finding.lever(request.param, getattr(finding.lab(request.param), "TRIAL", {}))
    estimate = lever.estimate(TraceReader(store).scan(), shipped_prices())
    return lever, estimate, lever.build(TraceReader(store).scan(), store)


def test_the_forecast_has_an_interval_and_says_how_it_was_made(built):
    lever, estimate, _ = built
    assert estimate.lever == lever.name
    assert 0 <= estimate.low <= estimate.saving <= estimate.high <= 1
    assert 0 < estimate.n <= 30
    assert estimate.method
    assert estimate.risk
    msgspec.json.encode(estimate)
    for rows in estimate.tables.values():
        assert all(row.keys() == rows[0].keys() for row in rows)


def test_the_artefact_is_in_the_store_whole_and_says_what_it_was_made_of(built, store):
    lever, _, artifact = built
    held = ArtifactStore(store).get(artifact.digest)
    assert held.manifest["lever"] == lever.name
    assert {"seed", "trimtab", "split"} <= held.manifest.keys()
    assert str(held.manifest["split"]).startswith("fit")


def test_building_reads_only_the_fit_split(built, store, tmp_path):
    """Other answers in what is held out change nothing in the artefact."""
    lever, _, artifact = built

    def altered():
        for trace in TraceReader(store).scan():
            if splitting.is_fit(trace):
                yield trace

    again = lever.build(altered(), tmp_path)
    assert again.digest == artifact.digest


def test_building_twice_gives_the_same_bytes(built, store, tmp_path):
    lever, _, artifact = built
    assert lever.build(TraceReader(store).scan(), tmp_path).digest == artifact.digest


def test_apply_is_pure_and_twice_is_once(built):
    lever, _, artifact = built
    before = msgspec.json.encode(BEFORE)
    after = lever.apply(BEFORE, artifact)
    assert msgspec.json.encode(BEFORE) == before
    assert after != BEFORE
    assert lever.apply(BEFORE, artifact) == after
    assert lever.apply(after, artifact) == after
    assert StepSpec("other") in after.steps


def test_the_step_that_it_applies_can_be_served_and_a_missing_artefact_is_refused(built, store, tmp_path):
    lever, _, artifact = built
    for spec in lever.apply(BEFORE, artifact).steps:
        if spec.lever == lever.name:
            assert callable(live.load(spec, store))
            with pytest.raises((ConfigError, StoreError)):
                live.load(spec, tmp_path)


def test_a_model_that_it_makes_is_served_under_a_name_that_is_asked_for(built, store):
    """What the engine is told: NAME=FOLDER, then options, with the endpoint's port; nothing where nothing is made."""
    lever, _, artifact = built
    words = finding.serving(lever.name, lever.apply(BEFORE, artifact), artifact)
    assert finding.serving(lever.name, BEFORE, artifact) == ()
    if not finding.serves(lever.name):
        assert words == ()
        return
    names = [word.partition("=")[0] for word in words[: words.index("--port")] if "=" in word]
    asked = {endpoint.model: endpoint.url for endpoint in lever.apply(BEFORE, artifact).endpoints}
    assert names
    assert set(names) <= set(asked) - {"m"}
    assert asked[names[0]].split("/")[2].endswith(f":{words[words.index('--port') + 1]}")
    assert str(artifact.folder) in " ".join(words)


def test_without_bodies_it_says_what_to_do(built, tmp_path):
    lever, _, _ = built
    with pytest.raises(FormatError, match="record"):
        lever.estimate([], shipped_prices())


@pytest.mark.parametrize("name", LEVERS)
def test_an_unknown_option_is_refused(name):
    with pytest.raises(ConfigError):
        finding.lever(name, {"no_such_option": 1})


@pytest.mark.parametrize("name", [name for name in LEVERS if importlib.util.find_spec(f"trimtab.levers.{name}.serve")])
def test_the_light_half_brings_nothing_heavy(name):
    run = subprocess.run(
        [sys.executable, "-c", PROBE.replace("NAME", name)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    modules = set(json.loads(run.stdout))
    assert not modules & HEAVY
    assert not any(module.split(".")[0] in ("numpy", "openvino") for module in modules), "not before it is used"


def test_a_session_is_on_one_side_of_the_split(store):
    sides = {}
    for trace in TraceReader(store).scan(bodies=False):
        session = trace.calls[0].session
        assert sides.setdefault(session, splitting.is_fit(trace)) == splitting.is_fit(trace)
    assert 12 <= sum(sides.values()) <= 28
