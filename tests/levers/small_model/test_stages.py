import json
import shutil

import msgspec
import pytest

from tests.levers.small_model import shop
from trimtab.errors import ConfigError, DiskFull, ModelError
from trimtab.levers.small_model import beginning, heldout, learn, options, prepare, stages, tokens


def quiet(text):
    pass


def prepared(its):
    return prepare.prepared(shop.traces(), its)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A base that the later stages begin from, and a teacher of the same vocabulary: itself."""
    its = options.read({**tiny, "steps": {"sft": 30}, "learning_rate": {"sft": 1e-2}})
    told = []
    folder, measured = stages.run(prepared(its), its, tmp_path_factory.mktemp("base"), told.append)
    return folder, measured, told


def test_a_stage_learns_and_is_measured_by_class(trained):
    folder, measured, told = trained
    losses = [entry["loss"] for entry in measured[0].log]
    assert losses[-1] < 0.8 * losses[0]
    assert set(measured[0].held_out.exact) == {"tool call", "words"}
    assert (folder / "model.safetensors").exists()
    assert any("held-out loss" in line for line in told)
    assert any("30/30" in line for line in told)


@pytest.mark.parametrize("trainer", ["plain", "trl"])
@pytest.mark.parametrize("lora", [0, 4])
def test_every_stage_runs_from_a_base(tiny, trained, tmp_path, trainer, lora):
    order = ["cpt", "sft", "dpo"] if trainer == "trl" else ["cpt", "sft", "distil", "onpolicy", "dpo"]
    if lora:
        order = ["sft"]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "tyres.md").write_text("Tyres wear.\n\nBrakes wear too.\n")
    its = options.read({**tiny, "base": str(trained[0]), "teacher": str(trained[0]), "stages": order, "lora": lora,
                        "trainer": trainer, "corpus": str(tmp_path / "corpus")})  # fmt: skip
    folder, measured = stages.run(prepared(its), its, tmp_path, quiet)
    assert [each.stage for each in measured] == [f"{place}-{name}" for place, name in enumerate(order, 1)]
    stages.publish(folder, tmp_path / "out")
    model, _ = beginning.loaded(tmp_path / "out")
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_run_that_was_broken_off_goes_the_way_of_one_that_was_not(tiny, tmp_path, data, monkeypatch):
    monkeypatch.setattr(learn, "SAVED_EVERY", 2)
    its = options.read(tiny)
    whole, _ = stages.run(data, its, tmp_path / "whole", quiet)
    real, seen = learn.Learner._advance, []

    def broken(self, chosen):
        seen.append(self.step)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(self, chosen)

    monkeypatch.setattr(learn.Learner, "_advance", broken)
    with pytest.raises(KeyboardInterrupt):
        stages.run(data, its, tmp_path / "broken", quiet)
    again, _ = stages.run(data, its, tmp_path / "broken", quiet)
    assert seen == [0, 1, 2, 3, 2, 3]
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_finished_stages_are_not_done_again(tiny, tmp_path, data, monkeypatch):
    its = options.read(tiny)
    stages.run(data, its, tmp_path, quiet)
    monkeypatch.setattr(learn.Learner, "run", lambda *args: pytest.fail("it was done"))
    _, measured = stages.run(data, its, tmp_path, quiet)
    assert [each.stage for each in measured] == ["1-sft"]
    (next((tmp_path / "small_model").iterdir()) / stages.RECORD).write_text("{")
    with pytest.raises(ModelError, match="delete"):
        stages.run(data, its, tmp_path, quiet)


def test_preferences_move_the_model_towards_the_chosen(trained, data):
    import torch

    model, tokenizer = beginning.loaded(trained[0])
    some = [tokens.Codec(tokenizer).preference(pair) for pair in data.pairs[:16]]

    def margin():
        with torch.no_grad():
            good, bad = learn.answer_logs(model, some, 0)
        return float((good - bad).mean())

    before = margin()
    task = learn.Task(name="dpo", steps=6, rate=1e-3, tokens=1, beta=0.1)
    learn.Learner(model, task, learn.Lessons([], some), 0).run(trained[0].parent / "x.pt", lambda step, loss: None)
    assert margin() > before + 0.2


def test_a_broken_checkpoint_is_told(trained, tmp_path, tiny, data):
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(trained[0], tmp_path / "nan")
    held = load_file(broken / "model.safetensors")
    held["model.norm.weight"] = torch.full_like(held["model.norm.weight"], float("nan"))
    save_file(held, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.norm\.weight.*no numbers"):
        beginning.loaded(broken)
    held.pop("model.norm.weight")
    save_file(held, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing"):
        beginning.loaded(broken)
    (broken / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="copy it again"):
        beginning.loaded(broken)


def test_a_teacher_of_another_vocabulary_is_refused(tiny, trained, tmp_path, data):
    other = shutil.copytree(trained[0], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 64}))
    its = options.read({**tiny, "base": str(trained[0]), "teacher": str(trained[0]), "stages": ["distil"]})
    student, _ = beginning.loaded(trained[0])
    student.config.vocab_size += 64
    with pytest.raises(ConfigError, match="same one"):
        beginning.teacher_of(its, student)


def test_a_disk_too_small_is_told_before_the_first_step(tiny, tmp_path, data, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(stages.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match="training needs"):
        stages.run(data, options.read(tiny), tmp_path, quiet)


def test_an_exact_answer_is_what_greedy_decoding_gives(trained, data):
    """The share by one pass over the recorded answer is the share by generating."""
    import torch

    model, tokenizer = beginning.loaded(trained[0])
    made = tokens.lines(data.validation[:3] or data.train[:3], tokens.Codec(tokenizer), 2048)
    found = heldout.measure(model, made, tokenizer.pad_token_id)
    model.eval()
    hits, n = 0, 0
    with torch.autocast("cpu", torch.bfloat16):
        for line in made:
            for start, end, _ in line.turns:
                out = model.generate(torch.tensor([line.ids[:start]]), do_sample=False, max_new_tokens=end - start)
                hits, n = hits + (out[0, start:].tolist() == line.ids[start:end]), n + 1
    assert sum(each.n for each in found.exact.values()) == n
    assert abs(sum(each.right for each in found.exact.values()) - hits) <= 1  # a tie in bf16
    assert msgspec.json.encode(found)
