"""The lever on a tiny model: artefacts that the engine serves, tensors left alone, and what bad input gets."""

import json

import msgspec
import numpy as np
import pytest

from tests.levers.quantization import tiny
from trimtab.config import shipped_prices
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.engines import reference
from trimtab.engines.checkpoint import open_checkpoint
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.engines.prepared import prepare
from trimtab.errors import ConfigError, DiskFull, FormatError, MissingExtra, ModelError
from trimtab.levers.quantization import audit, embedded, lab, measure, options, samples
from trimtab.store import artifacts

pytestmark = pytest.mark.engine
SCHEMES = [
    {"scheme": "int8"},
    {"scheme": "int4"},
    {"scheme": "int4", "symmetric": False, "group": 64},
    {"scheme": "int4", "mixed": 0.5, "group": 32},
    {"scheme": "bf16", "kv": "bf16"},
    {"scheme": "int8", "calibrate": False, "kv": "f32", "keep": []},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def own(model):
    return samples.chosen(samples.Reader(open_checkpoint(model)).calls(tiny.traffic()), 20, 0)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: "-".join(map(str, scheme.values())))
def test_each_scheme_is_a_folder_that_the_engine_loads_and_that_is_near_the_model(model, own, tmp_path, scheme):
    lever = lab.make({"model": str(model), **scheme})
    artifact = lever.build(tiny.traffic(), tmp_path)
    its = options.read(lever.options)
    prepared = prepare(str(artifact.folder))
    assert (prepared.name, prepared.kv) == (its.served_name, options.KV[its.kv])
    kept = [] if its.scheme == "int8" and not its.keep else ["model.embed_tokens.weight"]
    assert set(kept) <= set(artifact.manifest["untouched, bit for bit"])
    got = measure.distances(
        measure.plain(open_checkpoint(model)), reference.Reference(str(artifact.folder / "openvino_model.xml")), own
    )
    limit = {"int8": 2e-4, "int4": 2e-2, "bf16": 1e-6}[its.scheme]
    assert sum(each.kl for each in got) / len(got) < limit
    words = artifact.manifest["formats"]
    if its.mixed:
        assert {"INT4 in groups of 32", "INT8 by row"} <= words.keys()


def test_one_bit_of_a_weight_left_alone_is_noticed(model, tmp_path):
    checkpoint = open_checkpoint(model)
    its = options.read({"model": str(model), "calibrate": False})
    made = embedded.encoded(checkpoint, embedded.plan(checkpoint, its, None), None)
    names = embedded.write(tmp_path, checkpoint, made, its)
    assert names == ["model.embed_tokens.weight"]
    path = tmp_path / "openvino_model.bin"
    data = bytearray(path.read_bytes())
    table = checkpoint.weight("model.embed_tokens.weight").tobytes()
    data[bytes(data).index(table) + 17] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="left alone"):
        embedded.untouched(tmp_path, checkpoint, names)


def test_calibrated_rounding_is_nearer_than_rounding_to_nearest(model, own):
    checkpoint = open_checkpoint(model)
    fit, check = own[:14], own[14:]
    rows = measure.compared(checkpoint, {"none": [], "own": fit}, check, lambda columns: lab.embedded.Format(3, 64))
    error = {name: np.mean([each.kl for each in rows if each.calibration == name]) for name in ("none", "own")}
    assert error["own"] < 0.9 * error["none"]
    assert all(0 <= each.clipped < 0.05 for each in rows)


def test_the_map_collapses_down_the_widths(model, own):
    rows = measure.collapse(open_checkpoint(model), own, None, ["model.embed_tokens.weight"])
    assert [row["bits"] for row in rows] == list(measure.BITS)
    errors = [float(row["KL, mean"]) for row in rows]
    assert errors == sorted(errors)
    assert rows[0]["tool call"] == "none"


def test_apply_routes_the_old_name_to_the_engine_s_new_one(tmp_path, model):
    lever = lab.make({"model": str(model), "calibrate": False, "price": "p"})
    artifact = lever.build(tiny.traffic(), tmp_path)
    one = Endpoint(name="a", url="http://127.0.0.1:1/v1", model="old", licence="ours", key_env="KEY")
    other = Endpoint(name="b", url="http://127.0.0.1:2/v1", model="b")
    after = lever.apply(Deployment(name="d", endpoints=(one,)), artifact)
    found = after.endpoint_for("old")
    assert (found.name, found.model, found.url, found.price) == ("a", "small-int8", "http://127.0.0.1:8401/v1", "p")
    assert (found.licence, found.key_env) == ("ours", "")
    with pytest.raises(ConfigError, match=r"which endpoint.*a, b"):
        lever.apply(Deployment(name="d", endpoints=(one, other)), artifact)
    named = lab.make({**lever.options, "endpoint": "b"})
    assert named.apply(Deployment(name="d", endpoints=(one, other)), artifact).endpoints[0] == one
    with pytest.raises(ConfigError, match="no endpoint 'c'"):
        lab.make({**lever.options, "endpoint": "c"}).apply(Deployment(name="d", endpoints=(one,)), artifact)


def test_the_artefact_is_served_by_name_and_audited_against_the_model(model, tmp_path):
    artifact = lab.make({"model": str(model)}).build(tiny.traffic(), tmp_path)
    asked = audit.items(tiny.traffic(12), 8)
    assert asked[0].slices == ("agent triage", "free text")
    asked = [msgspec.structs.replace(item, body={**item.body, "max_tokens": 4}) for item in asked]
    told = []
    found = audit.run(asked, str(model), artifact.folder, lambda: told.append(1))
    assert (found.n, found.missing, len(told)) == (8, 0, 8)
    rows = audit.rows(found)
    assert rows[0]["slice"] == "all"
    assert {row["slice"] for row in rows[1:]} == {"agent sales", "agent triage", "free text"}
    with EmbeddedEngine([str(artifact.folder)]) as engine:
        assert engine.models == ("small-int8",)


def refused(error, match, given, traces, folder):
    before = sorted(folder.rglob("*")) if folder.exists() else []
    with pytest.raises(error, match=match) as caught:
        lab.make(given).build(traces, folder)
    assert "\n" not in str(caught.value)
    after = [path for path in folder.rglob("*") if path.name != "artifacts"] if folder.exists() else []
    assert after == before, "nothing is left behind"


def test_bad_input_gets_one_line_and_leaves_nothing(model, tmp_path):
    store, three = tmp_path / "store", [each for n in range(40) if (each := tiny.trace(n))][:3]
    given = {"model": str(model)}
    refused(FormatError, "too few to round by", given, [*three, tiny.trace(7)], store)
    refused(
        FormatError,
        "no recorded call of finance.*sales, triage",
        {**given, "agents": ["finance"]},
        tiny.traffic(),
        store,
    )
    refused(FormatError, "leave the agent out", {**given, "agents": ["sales", "finance"]}, tiny.traffic(), store)
    odd = tiny.model(tmp_path / "odd", hidden_size=96, num_attention_heads=4, num_key_value_heads=2, head_dim=24)
    refused(
        ConfigError, "group 128 does not divide.*96", {"model": str(odd), "scheme": "int4", "group": 128}, [], store
    )
    refused(ConfigError, "groups of 128.*fp8_dynamic", {"model": str(odd), "scheme": "w4a16"}, [], store)
    refused(ConfigError, "no weights|which", {**given, "keep": ["nothing.weight"]}, tiny.traffic(), store)
    refused(ConfigError, "no checkpoint", {"model": str(tmp_path)}, tiny.traffic(), store)


def test_broken_checkpoints_get_one_line(tmp_path):
    nan = tiny.model(tmp_path / "nan")
    tiny.poison(nan)
    refused(ModelError, "NaN or infinity", {"model": str(nan)}, tiny.traffic(), tmp_path / "store")
    torn = tiny.model(tmp_path / "torn")
    index = {"weight_map": {"model.norm.weight": "a.safetensors"}}
    (torn / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(ModelError, "a.safetensors.*copy that shard", {"model": str(torn)}, tiny.traffic(), tmp_path / "store")


def test_a_full_disk_leaves_no_artefact(model, tmp_path, monkeypatch):
    def full(*given, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.shutil, "copytree", full)
    refused(DiskFull, "space|room", {"model": str(model), "calibrate": False}, tiny.traffic(), tmp_path / "store")
    monkeypatch.undo()
    assert lab.make({"model": str(model), "calibrate": False}).build(tiny.traffic(), tmp_path / "store").folder.is_dir()


def test_an_extra_that_is_not_there_is_named(model, tmp_path, monkeypatch):
    import trimtab.errors

    monkeypatch.setattr(trimtab.errors.importlib.util, "find_spec", lambda name: None)
    for verb in (lambda lever: lever.build([], tmp_path), lambda lever: lever.estimate([], shipped_prices())):
        with pytest.raises(MissingExtra, match=r"trimtab\[engine\]"):
            verb(lab.make({"model": str(model)}))


def test_the_forecast_is_of_the_named_agents_cost(model):
    whole = lab.make({"model": str(model)}).estimate(tiny.traffic(), shipped_prices())
    small = lab.make({"model": str(model), "scheme": "int4"}).estimate(tiny.traffic(), shipped_prices())
    assert 0 == whole.low < whole.saving < whole.high < small.high < 1
    assert whole.n == 60


@pytest.mark.parametrize(
    ("given", "match"),
    [({"scheme": "int3"}, "int3.*int8"), ({"group": 48}, "48"), ({"samples": 3}, "3 samples"), ({"kv": "u4"}, "kv")],
)
def test_options_that_are_wrong_are_refused(given, match):
    with pytest.raises(ConfigError, match=match):
        lab.make(given)
