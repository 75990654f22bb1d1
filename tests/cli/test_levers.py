"""`trimtab estimate`, `trimtab build` and a lever's own commands, on a recorded store."""

import json
import re
import tomllib

import pytest

from tests.levers import traffic
from trimtab.cli.main import main
from trimtab.gate import sides
from trimtab.levers.cache.entries import Answer, Entries
from trimtab.store.ledger import Ledger

CONFIG = """
endpoints = [{{ name = "e", url = "http://127.0.0.1:9/v1", model = "m" }}]
[store]
folder = "{store}"
"""


@pytest.fixture
def config(tmp_path):
    traffic.store(tmp_path / "store", 60)
    path = tmp_path / "trimtab.toml"
    path.write_text(CONFIG.format(store=tmp_path / "store"))
    return path


def test_a_forecast_is_drawn_and_noted(config, tmp_path, capsys):
    assert main(["estimate", "cache", "--config", str(config), "--option", "alpha=0.05"]) == 0
    said = capsys.readouterr().out
    assert "would have saved" in said
    assert "by workflow and agent" in said
    (entry,) = Ledger(tmp_path / "store").entries("estimate")
    assert (entry.body["lever"], entry.body["n"]) == ("cache", 30)
    assert main(["estimate", "cache", "--config", str(config), "--no-ledger", "--json", "--agent", "sales"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["saving"] < 1
    assert len(Ledger(tmp_path / "store").entries("estimate")) == 1


def test_a_candidate_is_written_that_serves_with_the_lever(config, tmp_path, capsys):
    new = tmp_path / "new.toml"
    words = ["build", "cache", "--config", str(config), "--candidate", str(new), "--option", "version='2'", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    (step,) = tomllib.loads(new.read_text())["steps"]
    assert (step["lever"], step["artifact"], step["options"]) == ("cache", told["artifact"], {"version": "2"})
    from trimtab import config as configs

    assert configs.read(new).deployment().steps[0].artifact == told["artifact"]


def test_what_build_says_to_type_next_can_be_typed(config, tmp_path, capsys):
    """The candidate serves the old name and the new one, and the gate takes only one of them."""
    new = tmp_path / "new.toml"
    assert main(["build", "speculation", "--config", str(config), "--candidate", str(new)]) == 0
    said = capsys.readouterr().out
    (side,) = re.findall(r"trimtab gate run --candidate (\S+)", said)
    assert sides.named(side).model == "m"
    (served,) = re.findall(r"serve it: trimtab engine serve (\S+)=MODEL --draft \S+ --port 9", said)
    assert tomllib.loads(new.read_text())["endpoints"][0]["model"] == served


def test_wrong_words_are_answered_in_one_line(config, capsys):
    for words in (["nowhere"], ["cache", "--option", "alpha"], ["cache", "--option", "alpha=7"]):
        assert main(["estimate", *words, "--config", str(config)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_what_the_cache_holds_is_listed_and_deleted(tmp_path, capsys):
    store = tmp_path / "store"
    rows = Entries(store / "cache")
    for number in range(4):
        answer = Answer(body=b"{}", version="v1" if number < 2 else "v2", sources=(f"doc{number}",))
        rows.add("p", f"k{number}", f"question {number}", None, answer)

    def run(*words):
        assert main(["cache", *words, "--store", str(store)]) == 0
        return capsys.readouterr().out

    assert "question 3" in run("list")
    assert json.loads(run("stats", "--json"))["entries"] == 4
    assert json.loads(run("delete", "--source", "doc0", "--json")) == {"deleted": 1}
    assert json.loads(run("invalidate", "v2", "--json")) == {"deleted": 2}
    (left,) = json.loads(run("list", "--json"))
    assert left["question"] == "question 1"
    assert "1 entries" in run("delete", "--entry", str(left["id"]))
    assert main(["cache", "stats", "--store", str(tmp_path / "nowhere")]) == 2
