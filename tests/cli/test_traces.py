"""`trimtab traces` as a user types it, in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

from tests.store.formats import samples
from tests.store.samples import make_record
from trimtab.store.traces import TraceWriter
from trimtab.trace import Payload, Record, Score


@pytest.fixture
def trimtab(tmp_path):
    def run(*words, code=0):
        command = [sys.executable, "-m", "trimtab", "traces", *map(str, words)]
        environment = {**os.environ, "COLUMNS": "150"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout

    return run


@pytest.fixture
def store(tmp_path):
    """A session of two agents with a tool, a hand-off and a score, where a config file says it is."""
    folder = tmp_path / "kept"
    (tmp_path / "trimtab.toml").write_text('[store]\nfolder = "kept"\n')
    with TraceWriter(folder) as writer:
        writer.append([_call(0, "triage", "transfer_to_sales"), _call(1, "sales", "find_vehicle", ttft_ms=42.0)])
        writer.append(
            [_call(2, "sales", None, before=[{"role": "tool", "tool_call_id": "c1", "content": "[red]4 cars"}])]
        )
        writer.append_scores("abcdef", [Score("success", 1.0, "oracle")])
    return folder


def _call(number, agent, tool, before=(), **fields):
    plain = make_record(number, trace="abcdef", agent=agent, body=False, response_model="dealer", **fields).call
    message = {"role": "assistant", "content": None if tool else "There are four cars."}
    if tool:
        message["tool_calls"] = [{"id": f"c{number}", "function": {"name": tool, "arguments": '{"make": "Volvo"}'}}]
    response = {"choices": [{"message": message, "finish_reason": "stop"}]}
    return Record(plain, Payload(plain.id, {"model": "dealer", "messages": list(before)}, response))


def test_list(trimtab, store):
    assert "abcdef" in trimtab("list") and "triage → sales" in trimtab("list", "--store", store)
    (summary,) = json.loads(trimtab("list", "--json", "--agent", "sales"))
    assert summary["id"] == "abcdef" and summary["calls"] == 3 and summary["cost_nanodollars"] == 3_000
    assert json.loads(trimtab("list", "--json", "--agent", "finance")) == []
    assert json.loads(trimtab("list", "--json", "--since", "2h")) == []
    assert "no traces in kept" in trimtab("list", "--workflow", "none")


def test_show_draws_agents_calls_tools_and_hand_offs(trimtab, store):
    drawn = trimtab("show", "abc")
    lines = [line.strip("│├└─ ") for line in drawn.splitlines()]
    order = [
        "agent triage",
        "hand-off ⇒ sales",
        "⇒ agent sales",
        "tool find_vehicle",
        "“There are four cars.”",
        "total",
    ]
    places = [next(i for i, line in enumerate(lines) if line.startswith(word)) for word in order]
    assert places == sorted(places)
    assert '{"make": "Volvo"} → [red]4 cars' in drawn and "TTFT 42 ms" in drawn and "750 ms until the next" in drawn
    assert "100 → 7 tokens" in drawn and "$0.000003" in drawn and "success 1" in drawn


def test_show_as_json(trimtab, store):
    tree = json.loads(trimtab("show", "abc", "--json"))
    assert tree["agents"][0]["calls"][0]["agents"][0]["name"] == "sales"


def test_export_and_import_and_import_again(trimtab, store, tmp_path):
    text = trimtab("export")
    assert len(text.splitlines()) == 3
    assert "wrote 3 calls" in trimtab("export", "--output", "calls.jsonl")
    assert (tmp_path / "calls.jsonl").read_text() == text
    assert trimtab("export", "--session", "nobody") == ""
    assert "3 new, 0 already there; 0 bad" in trimtab("import", "calls.jsonl", "--store", "other")
    with (tmp_path / "calls.jsonl").open("a") as file:
        file.write("not json\n")
    again = trimtab("import", "calls.jsonl", "--store", "other")
    assert "0 new, 3 already there; 1 bad" in again and "first bad: line 4: " in again
    assert json.loads(trimtab("import", "calls.jsonl", "--json"))["known"] == 3
    assert trimtab("export", "--store", "other") == text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("show", "nothing"), 5, "no trace 'nothing'"),
        (("import", "none.jsonl"), 5, "no such file"),
        (("list", "--since", "soon"), 2, "--since soon is no age"),
        (("list", "--config", "none.toml"), 2, "cannot read none.toml"),
        (("import", "trimtab.toml", "--store", "trimtab.toml"), 6, "cannot use trimtab.toml"),
    ],
)
def test_each_mistake_is_one_clear_line(trimtab, store, words, code, message):
    said = trimtab(*words, code=code)
    assert message in said and said.count("\n") == 1


def test_an_import_while_the_store_is_in_use_says_by_whom(trimtab, store, tmp_path):
    (tmp_path / "calls.jsonl").write_text(trimtab("export"))
    with TraceWriter(store):
        assert f"pid {os.getpid()}" in trimtab("import", "calls.jsonl", code=6)
        assert "abcdef" in trimtab("list")


def test_a_file_of_nothing_but_bad_lines_fails(trimtab, tmp_path):
    (tmp_path / "bad.jsonl").write_text("1\n2\n")
    done = subprocess.run(
        [sys.executable, "-m", "trimtab", "traces", "import", "bad.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5 and "2 bad" in done.stdout


def test_reprice(trimtab, store, tmp_path):
    """The three calls of 100 → 7 tokens with 40 of them cached were priced by a table that charged 1,000 each."""
    with (tmp_path / "trimtab.toml").open("a") as file:
        file.write('[prices]\nversion = "mine-2"\n')
    said = trimtab("reprice", "--dry-run")
    assert "3 calls, 0 would change" in said and "kept at their old cost: 3 calls of dealer," in said
    with (tmp_path / "trimtab.toml").open("a") as file:
        file.write("[prices.models]\ndealer = { input = 1, cache_read = 0, output = 2 }\n")
    assert "3 calls, 3 would change: $0.000003 before, $0.000222 after" in trimtab("reprice", "--dry-run")
    assert json.loads(trimtab("reprice", "--json", "--since", "1h"))["calls"] == 0
    report = json.loads(trimtab("reprice", "--json"))
    assert (report["changed"], report["new_nanodollars"], report["table"]) == (3, 222_000, "mine-2")
    assert json.loads(trimtab("list", "--json"))[0]["cost_nanodollars"] == 222_000


def test_erase_asks_or_is_told(trimtab, store):
    assert "give --yes" in trimtab("erase", "--session", "s", code=2)
    assert "nothing says what to erase" in trimtab("erase", "--yes", code=2)
    assert "there is no store" in trimtab("erase", "--user", "u", "--yes", "--store", "none", code=2)
    assert "erased 0 traces" in trimtab("erase", "--user", "nobody", "--yes")
    report = json.loads(trimtab("erase", "--session", "s", "--trace", "abcdef", "--yes", "--json"))
    assert (report["traces"], report["calls"], report["bodies"], report["scores"]) == (1, 3, 3, 1)
    assert "no traces" in trimtab("list")
    assert all(b"four cars" not in path.read_bytes() for path in store.rglob("*") if path.is_file())


def test_prune(trimtab, store):
    """The calls of the sample store are of November 2025."""
    assert "set store.keep_days" in trimtab("prune", code=2)
    assert "1 day files would go" in trimtab("prune", "--keep-days", "7", "--dry-run")
    assert json.loads(trimtab("prune", "--keep-days", "40000", "--json")) == {"keep_days": 40000, "days": []}
    (store.parent / "trimtab.toml").write_text('[store]\nfolder = "kept"\nkeep_days = 7\n')
    assert "calls-2025-11-22.sqlite" in trimtab("prune")
    assert "no traces" in trimtab("list")


def test_anyone_s_logs_can_be_imported(trimtab, tmp_path):
    spends = [samples.litellm(request_id="a"), samples.litellm(request_id="b", prompt_tokens="many")]
    (tmp_path / "spend.csv").write_bytes(samples.csv_of(*spends))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "spans.jsonl").write_bytes(samples.jsonl(samples.phoenix(), samples.phoenix(span_kind="TOOL")))
    said = trimtab("import", "spend.csv", "--store", "s")
    assert "1 calls read: 1 new" in said and "1 bad" in said and "first bad: row 3: " in said
    said = trimtab("import", "logs", "--format", "phoenix", "--store", "s")
    assert "1 new" in said and "1 spans that are no calls of a model" in said
    assert "2 calls read: 2 new" in trimtab("import", "s", "--store", "t")
    assert "no format is named 'csv'" in trimtab("import", "spend.csv", "--format", "csv", code=5)
