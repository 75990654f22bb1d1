"""`trimtab rollout` without a gateway: what it says, and what it refuses."""

import json

import pytest

from trimtab.cli.main import main
from trimtab.rollout import steps
from trimtab.rollout.evidence import Row, Stream
from trimtab.rollout.register import Register

CONFIG = """
endpoints = [{{ name = "{model}", url = "http://127.0.0.1:9/v1", model = "{model}" }}]
[routes]
m = "{model}"
[store]
folder = "{store}"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for model, name in (("old", "trimtab.toml"), ("new", "new.toml")):
        (tmp_path / name).write_text(CONFIG.format(model=model, store=tmp_path / "store"))
    return tmp_path


def start(*words):
    return main(["rollout", "start", "--candidate", "new.toml", *words])


def test_it_says_what_it_began_and_how_it_stands(folder, capsys):
    assert start("--margin", "0.05", "--canary", "0.2", "--sampled", "0.5", "--json") == 0
    begun = json.loads(capsys.readouterr().out)["rollout"]
    assert begun["plan"] == {"margin": 0.05, "canary": 0.2, "sampled": 0.5} and begun["stage"] == "shadow"
    register = Register(folder / "store")
    rollout = register.latest()
    with register.change():
        register.add(rollout, Row(Stream.QUALITY, -1.0))
        register.count(rollout, {"shadows": 1, "shadow nanodollars": 1500, "dropped full": 4})
    register.close()
    assert main(["rollout", "status"]) == 0
    said = capsys.readouterr().out
    assert f"rollout {rollout.id} is shadow" in said and "n 1, missing 0, mean -1.0000" in said
    assert "1 calls asked twice for $0.000001" in said or "1 calls asked twice for $0.000002" in said
    assert "dropped full 4" in said and "no gateway serves from this store now" in said


def test_it_goes_no_further_without_a_verdict_and_can_be_taken_back(folder, capsys):
    start()
    assert main(["rollout", "advance"]) == 11
    assert "no verdict on it yet" in capsys.readouterr().err
    main(["rollout", "rollback", "--reason", "second thoughts"])
    assert "is rolled-back: second thoughts" in capsys.readouterr().out
    assert main(["rollout", "rollback"]) == 2
    assert "no rollout is under way" in capsys.readouterr().err
    start()
    assert steps.status(folder / "store").rollout.stage == "shadow"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["rollout", "status"], 2, "there is no rollout"),
        (["rollout", "start", "--candidate", "trimtab.toml"], 2, "is served already"),
        (["rollout", "start", "--candidate", "none.toml"], 2, "cannot read"),
        (["rollout", "start", "--candidate", "new.toml", "--margin", "3"], 2, "plan of the rollout"),
        (["rollout", "start", "--candidate", "new.toml", "--plan", "none.toml"], 2, "cannot read none.toml"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(folder, capsys, words, code, said):
    assert main(words) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
