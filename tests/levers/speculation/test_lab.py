"""The lever on a tiny target: a drafter learns the traffic, fits the engine, and is applied by name."""

import json
import shutil

import pytest

from tests.engines.serving import save_chat_model
from tests.levers.speculation import recorded
from trimtab.config import shipped_prices
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.engines.drafter import CARD, drafter
from trimtab.engines.prepared import prepare
from trimtab.errors import ConfigError, DiskFull, FormatError, ModelError
from trimtab.levers.speculation import conversations, distill, eagle, lab, options, training

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    pytest.importorskip("torch")
    return save_chat_model(tmp_path_factory.mktemp("models") / "target")


def made(target, **more):
    given = {"target": str(target), "epochs": 6, "inner": 64, "drafter": "model", "rate": 5e-3} | more
    return lab.make(given)


@pytest.fixture(scope="module")
def built(target, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return made(target).build(recorded.traces(60), store), store


def test_the_drafter_fits_the_engine_and_says_what_it_takes(built, target, tmp_path):
    artifact, _ = built
    card = json.loads((artifact.folder / CARD).read_text())
    assert card["drafter"] == "model"
    assert set(card["acceptance"]) == {"all", "sales", "triage"}
    assert all(0 <= share <= 1 for share in card["acceptance"].values())
    found = drafter(str(artifact.folder), "", prepare(str(target), "f32", tmp_path), tmp_path)
    assert found.folder is not None
    assert found.ladder[0][0] == 1


def test_training_makes_the_loss_fall_and_a_stopped_run_ends_as_one_that_was_not(target, tmp_path, monkeypatch):
    its = options.read({"target": str(target), "epochs": 4, "inner": 64, "rate": 5e-3})
    by = conversations.Reader(target)
    texts = [by.text(each) for each in conversations.spoken(recorded.traces(60), 1000)]
    monkeypatch.setattr(distill, "KEPT_EVERY", 5)
    losses = []
    whole = distill.Distilled(target, its)
    whole.train(texts, lambda step, steps, loss: losses.append(loss))
    assert losses[-1] < 0.7 * losses[0]
    kept = tmp_path / "run.state"

    class Stopped(Exception):
        pass

    def stop(step, steps, loss):
        if step == 8:
            raise Stopped

    with pytest.raises(Stopped):
        distill.Distilled(target, its).train(texts, stop, kept)
    assert kept.exists()
    again, steps = distill.Distilled(target, its), []
    again.train(texts, lambda step, of, loss: steps.append(step), kept)
    assert steps[0] == 6
    assert not kept.exists()
    assert all((a == b).all() for a, b in zip(again.drafter.parameters(), whole.drafter.parameters(), strict=True))


def test_a_full_disk_is_said_and_leaves_nothing_half(target, tmp_path, monkeypatch):
    its = options.read({"target": str(target), "epochs": 1})
    by = conversations.Reader(target)
    texts = [by.text(each) for each in conversations.spoken(recorded.traces(12), 1000)]
    monkeypatch.setattr(distill, "KEPT_EVERY", 1)
    (tmp_path / "full").mkdir()
    with pytest.raises(DiskFull, match="build again"):
        distill.Distilled(target, its).train(texts, lambda *_: None, tmp_path / "full" / "missing" / "state")


def test_the_baseline_deployment_and_store_stand_when_the_target_is_broken(target, tmp_path):
    broken = shutil.copytree(target, tmp_path / "broken")
    (broken / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        made(broken).build(recorded.traces(20), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_traffic_that_the_target_cannot_be_told_is_refused(target, tmp_path):
    no_template = shutil.copytree(target, tmp_path / "strict")
    (no_template / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    with pytest.raises(FormatError, match="tokens"):
        made(no_template).build(recorded.traces(20), tmp_path / "store")


def test_endpoints_are_swapped_by_name_and_keep_price_and_route(built):
    artifact, _ = built
    before = Deployment(
        name="d",
        endpoints=(
            Endpoint(name="a", url="http://127.0.0.1:1/v1", model="m", price="gpt-4o"),
            Endpoint(name="b", url="http://127.0.0.1:1/v1", model="n"),
        ),
    )
    after = lab.make({"endpoint": "a"}).apply(before, artifact)
    assert after.endpoints[1] == before.endpoints[1]
    assert after.endpoints[0].model == lab.served_name("m", artifact.digest)
    assert after.endpoints[0].price == "gpt-4o"
    assert after.endpoint_for("m") == after.endpoints[0]
    with pytest.raises(ConfigError, match="endpoint 'z'"):
        lab.make({"endpoint": "z"}).apply(before, artifact)


def test_lookup_alone_is_a_card_and_estimate_says_in_what_it_counts(tmp_path):
    lever = lab.make({})
    artifact = lever.build(recorded.traces(60), tmp_path)
    assert [path.name for path in artifact.folder.iterdir()] == [CARD]
    estimate = lever.estimate(recorded.traces(60), shipped_prices())
    assert "words" in estimate.method
    assert 0 <= estimate.low <= estimate.saving <= estimate.high < 1


def test_concurrency_is_what_overlapped():
    calls = conversations.spoken(recorded.traces(10), 100)
    live = [conversations.concurrency(calls)[each.call.id] for each in calls]
    assert live[0] == 2
    assert set(live[2:-1]) == {3}


def test_a_later_call_holds_the_turns_of_an_earlier_one():
    (first,) = conversations.spoken(recorded.traces(1), 10)
    more = [*first.messages, {"role": "user", "content": "and"}, {"role": "assistant", "content": "so"}]
    later = conversations.Spoken(first.call, more, [])
    other = conversations.Spoken(first.call, [{"role": "user", "content": "x"}, more[-1]], [])
    assert conversations.whole([first, later, other]) == [later, other]


def test_export_marks_what_the_assistant_said(target, tmp_path):
    calls = conversations.spoken(recorded.traces(8), 100)
    assert eagle.export(calls, str(target), tmp_path / "t") == 8
    rows = [json.loads(line) for line in (tmp_path / "t" / eagle.ROWS).read_text().splitlines()]
    by = conversations.Reader(target)
    for row in rows:
        assert len(row["input_ids"]) == len(row["loss_mask"])
        kept = [token for token, counted in zip(row["input_ids"], row["loss_mask"], strict=True) if counted]
        assert "is booked" in by._codec.decode(kept)
        assert "please" not in by._codec.decode(kept)
    eagle.export(calls, "", tmp_path / "c")
    row = json.loads((tmp_path / "c" / eagle.ROWS).read_text().splitlines()[0])
    assert [message["role"] for message in row["conversations"]] == ["user", "assistant"]
    assert "render-endpoint" in (tmp_path / "c" / eagle.RECIPE).read_text()


@pytest.mark.parametrize("given", [{"drafter": "model"}, {"drafter": "tree"}, {"layers": 0}, {"crossover": 0}])
def test_wrong_options(given):
    with pytest.raises(ConfigError):
        lab.make(given)


def test_parts_never_share_a_session():
    learnt, held = training.parted(conversations.spoken(recorded.traces(60), 100))
    assert not {each.cluster for each in learnt} & {each.cluster for each in held}
