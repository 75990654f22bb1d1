import ast
import json

import pytest

from tests.levers.small_model import shop
from trimtab.cli.main import main
from trimtab.errors import ConfigError
from trimtab.levers.small_model import exports, options
from trimtab.store.writer import TraceWriter
from trimtab.trace import Record


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_axolotl_gets_chat_rows_with_what_is_taught_marked(data, tiny, tmp_path):
    files = exports.write("axolotl", data, options.read(tiny), tmp_path)
    assert [path.name for path in files] == ["train.jsonl", "validation.jsonl", "pairs.jsonl", "config.yml"]
    row = rows(tmp_path / "train.jsonl")[0]
    assert [message["train"] for message in row["messages"]] == [place in (2, 4, 6, 8) for place in range(9)]
    assert len(rows(tmp_path / "train.jsonl")) == len(data.train)
    assert isinstance(row["messages"][2]["tool_calls"][0]["function"]["arguments"], str)
    assert "message_field_training: train" in (tmp_path / "config.yml").read_text()


def test_llama_factory_gets_turns_that_alternate(data, tiny, tmp_path):
    exports.write("llama-factory", data, options.read(tiny), tmp_path)
    for row in rows(tmp_path / "train.jsonl"):
        ours = [turn["from"] in ("gpt", "function_call") for turn in row["conversations"]]
        assert ours == [at % 2 == 1 for at in range(len(ours))]
        assert {tool["name"] for tool in json.loads(row["tools"])} == {"check", "book", "transfer_to_sales"}
    assert set(json.loads((tmp_path / "dataset_info.json").read_text())) == {"trimtab", "trimtab_pairs"}
    pair = rows(tmp_path / "pairs.jsonl")[0]
    assert {pair["chosen"]["from"], pair["rejected"]["from"]} <= {"gpt", "function_call"}


def test_unsloth_gets_a_script_that_parses(data, tiny, tmp_path):
    exports.write("unsloth", data, options.read({**tiny, "max_length": 512}), tmp_path)
    text = (tmp_path / "train.py").read_text()
    ast.parse(text)
    assert "512" in text
    with pytest.raises(ConfigError, match="axolotl"):
        exports.write("else", data, options.read(tiny), tmp_path)


def test_the_command_writes_files_and_says_the_counts(tmp_path, capsys):
    with TraceWriter(tmp_path / "store") as writer:
        for trace in shop.traces():
            writer.append([Record(call, trace.payloads[call.id]) for call in trace.calls])
    words = ["small_model", "export", "--store", str(tmp_path / "store"), "--format", "axolotl", "--agent", "desk",
             "--output", str(tmp_path / "out"), "--option", 'licences={old="open"}']  # fmt: skip
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "turns put together" in told
    assert (tmp_path / "out" / "train.jsonl").exists()
    assert main([*words[:-2], "--json"]) == 5
    assert "no licence class" in capsys.readouterr().err
    assert main([*words[:-1], "=", "--json"]) == 2
    assert main(["small_model", "serve", "abc", "--store", str(tmp_path / "store")]) == 2
    assert "0 artefacts begin" in capsys.readouterr().err
