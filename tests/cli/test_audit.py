"""`trimtab audit` as it is typed: what it prints, what it writes, and that no file from outside makes it crash."""

import gzip
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.cli.main import main
from trimtab.errors import ConfigError, FormatError


def line(index, **more):
    asked = [
        {"role": "system", "content": "Sort it."},
        {"role": "user", "content": f"number {index % 7}, ada@example.org"},
    ]
    answer = {
        "index": 0,
        "message": {"role": "assistant", "content": "odd" if index % 2 else "even"},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return {
        "timestamp": 1_700_000_000 + index,
        "workflow": "sorting",
        "agent": "north" if index % 3 else "south",
        "request": {"model": "gpt-4o", "messages": asked},
        "response": {
            "id": f"c{index}",
            "object": "chat.completion",
            "model": "gpt-4o",
            "choices": [answer],
            "usage": usage,
        },
        **more,
    }


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(f"{json.dumps(line(index))}\n" for index in range(60)) + "{broken\n")
    return path


def run(*words):
    return main(["audit", "--seconds", "0", *map(str, words)])


def test_prints_where_the_money_goes(log, capsys):
    assert run(log) == 0
    told = capsys.readouterr().out
    assert "60 calls" in told
    # 60 calls of 1,000 tokens at $2.50 and 100 at $10 a million.
    assert "$0.21" in told
    assert "1 could not be read" in told
    assert "--html" in told


def test_json_is_the_survey_and_nothing_else(log, capsys):
    assert run(log, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["audit"]["totals"]["calls"] == 60
    assert found["audit"]["totals"]["spend"]["nanodollars"] == 60 * 3_500_000
    assert found["reading"][0]["bad"] == 1
    assert found["weighed"]["worths"]


def test_only_calls_of_one_agent(log, capsys):
    assert run(log, "--agent", "south", "--workflow", "sorting", "--json") == 0
    assert json.loads(capsys.readouterr().out)["audit"]["totals"]["calls"] == 20
    assert run(log, "--agent", "east") == FormatError.exit_code
    assert "none of 60 calls" in capsys.readouterr().err


def test_several_files_of_which_some_calls_are_the_same(log, tmp_path, capsys):
    more = tmp_path / "more.jsonl.gz"
    more.write_bytes(gzip.compress("".join(f"{json.dumps(line(index))}\n" for index in range(50, 70)).encode()))
    assert run(log, more, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["audit"]["totals"]["calls"] == 70
    assert [one["known"] for one in found["reading"]] == [0, 10]


def test_the_page_masks_what_is_personal(log, tmp_path):
    pytest.importorskip("vl_convert", reason="the extra `audit` is not installed")
    page = tmp_path / "report.html"
    assert run(log, "--html", page) == 0
    text = page.read_text()
    assert "60 calls" in text
    assert "ada@example.org" not in text
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize(
    ("page", "words"), [("gone/report.html", "a folder that is there"), (".", "a folder that is there")]
)
def test_a_page_that_cannot_be_written_is_said_before_the_reading(log, tmp_path, capsys, page, words):
    pytest.importorskip("vl_convert", reason="the extra `audit` is not installed")
    assert run(log, "--html", tmp_path / page) == ConfigError.exit_code
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""


def test_a_log_that_is_not_there(tmp_path, capsys):
    assert run(tmp_path / "none.jsonl") == FormatError.exit_code
    assert "name a file" in capsys.readouterr().err


def test_a_format_that_is_not_known(log, capsys):
    assert run(log, "--format", "wax") == FormatError.exit_code
    assert "no format is named 'wax'" in capsys.readouterr().err


def torn(name, data):
    """The bytes of a log, spoiled in a way that the issue names."""
    whole = "".join(f"{json.dumps(line(index))}\n" for index in range(30)).encode()
    spoilt = {
        "gzip": lambda: gzip.compress(whole)[: len(gzip.compress(whole)) * 2 // 3],
        "encodings": lambda: whole + "ünïcode".encode("utf-16") + b"\xff\xfe\x00\n" + whole,
        "long": lambda: whole + b'{"request": "' + b"x" * 10_000_000 + b'"}\n' + whole,
        "deep": lambda: whole + b'{"request": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n" + whole,
        "twice": lambda: whole + whole,
        "clock": lambda: b"".join(
            json.dumps(line(index, timestamp=1_700_000_000 - index)).encode() + b"\n" for index in range(30)
        ),
        "negative": lambda: whole.replace(b'"prompt_tokens": 1000', b'"prompt_tokens": -5'),
        "random": lambda: whole[:900] + data + whole[900:],
    }
    return spoilt[name]()


@pytest.mark.parametrize("name", ["gzip", "encodings", "long", "deep", "twice", "clock", "negative"])
def test_a_spoilt_log_is_counted_and_never_a_crash(name, tmp_path, capsys):
    path = tmp_path / f"calls.jsonl{'.gz' if name == 'gzip' else ''}"
    path.write_bytes(torn(name, b""))
    code = run(path, "--json")
    told = capsys.readouterr()
    if code:
        assert (code, name) == (FormatError.exit_code, "negative"), told.err
        assert "30 bad" in told.err
        return
    (reading,) = json.loads(told.out)["reading"]
    assert reading["read"] >= 5
    assert reading["bad"] or reading["known"] or reading["remarks"] or name == "clock"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000), cut=st.integers(0, 6000), seed=st.integers(0, 2**32))
def test_garbage_through_the_command(data, cut, seed, tmp_path, capsys):
    """Whatever the bytes: a count or one clear line."""
    held = bytearray(torn("random", data)[cut:])
    chance = random.Random(seed)
    for _ in range(chance.randrange(40)):
        if held:
            held[chance.randrange(len(held))] = chance.randrange(256)
    path = tmp_path / "garbage.jsonl"
    path.write_bytes(held)
    code = run(path, "--json")
    told = capsys.readouterr()
    assert code in (0, FormatError.exit_code)
    assert code == 0 or told.err.startswith("trimtab: ")
    assert "Traceback" not in told.err
