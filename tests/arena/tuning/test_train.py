import json

import pytest

from trimtab.arena.tuning import train
from trimtab.arena.tuning.text import template
from trimtab.errors import ArenaError


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The training run with little data; returns the list that takes each step's loss."""
    losses, real = [], train.loss_of

    def noted(model, inputs, taught_by=None):
        loss = real(model, inputs, taught_by)
        losses.append(loss.detach())
        return loss

    monkeypatch.setattr(train, "loss_of", noted)
    monkeypatch.setattr(train, "WORK", tmp_path / "work")
    monkeypatch.setattr(train, "TOKENIZER_SESSIONS", 40)
    monkeypatch.setattr(train, "VALIDATION_SESSIONS", 3)
    return losses


def test_a_short_run_learns_and_a_second_one_is_the_same(small, tiny, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train.train(tiny, tmp_path / "one")
    train.train(tiny, tmp_path / "two")
    one, two = ([float(loss) for loss in part] for part in (small[:30], small[30:]))
    assert len(one) == 30
    assert one == two
    assert sum(one[-3:]) < 0.8 * sum(one[:3])
    record = json.loads((tmp_path / "one" / "training.json").read_text())
    assert (record["steps"], record["seed"], len(record["log"])) == (30, 1, 1)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert sum(p.numel() for p in model.parameters()) == record["parameters"]
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(tmp_path / "one").chat_template == template()
    assert not list((tmp_path / "work").glob("*"))


def test_a_resumed_run_goes_the_way_of_one_that_was_not_stopped(small, tiny, tokenizer):
    import torch

    def begin():
        torch.manual_seed(tiny.seed)
        return train.Run(tiny, tokenizer, 12)

    run = begin()
    for _ in range(12):
        if run.step == 6:
            run._checkpoint()
        run.advance()
    whole = [float(loss) for loss in small]
    small.clear()
    again = begin()
    again.resume()
    assert again.step == 6
    while again.step < 12:
        again.advance()
    assert [float(loss) for loss in small] == pytest.approx(whole[6:], rel=1e-5)
    assert (again.tokens, again.counted) == (run.tokens, run.counted)
    with pytest.raises(ArenaError, match="delete it"):
        train.Run(tiny, tokenizer, 9).resume()  # whose learning rate would have begun to fall
    longer = train.Run(tiny, tokenizer, 13)
    longer.resume()
    assert longer.step == 6


def test_the_learning_rate_warms_up_stays_and_falls_to_0(tiny):
    shares = [train.schedule(step, 100, tiny) for step in range(101)]
    assert shares[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert shares[60] == 1
    assert shares[80] == pytest.approx(0.5)
    assert shares[100] == 0
