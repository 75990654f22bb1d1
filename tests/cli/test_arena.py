import json
import subprocess
import sys

import pytest
from aiohttp import web

from tests.arena.endpoint import Endpoint, in_thread
from trimtab.arena.dealership import goals


def run(*words):
    command = [sys.executable, "-m", "trimtab", "arena", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_run_as_json():
    with in_thread(Endpoint()) as endpoint:
        done = run("run", "--endpoint", endpoint.url, "--tasks", "10", "--trials", "2", "--seed", "5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["outcome"]["success"]["good"] == told["outcome"]["success"]["n"] == 20
    assert told["outcome"]["pass_k"] == [1.0, 1.0]
    assert told["outcome"]["handoffs"]["good"] == told["outcome"]["handoffs"]["n"] > 0
    assert told["outcome"]["calls"] == len(endpoint.asked)
    assert told["outcome"]["cost_nanodollars"] > 0
    assert [session["faults"] for session in told["sessions"]] == [[]] * 20


def test_a_run_as_a_table_with_an_unknown_price_and_whole_answers():
    with in_thread(Endpoint()) as endpoint:
        done = run("run", "--endpoint", endpoint.url, "--tasks", "4", "--price", "nobody", "--no-stream")
    assert done.returncode == 0, done.stderr
    assert "cost unknown" in done.stdout
    assert "100.0%" in done.stdout
    assert not any(body.get("stream") for _, body, _ in endpoint.asked)


def test_an_endpoint_that_fails_leaves_sessions_unsolved_and_says_why():
    async def broken(request, body):
        return web.json_response({"error": {"message": "no [/bold] memory"}}, status=500)

    with in_thread(Endpoint(broken)) as endpoint:
        done = run("run", "--endpoint", endpoint.url, "--tasks", "3")
    assert done.returncode == 0, done.stderr
    assert "no [/bold] memory" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--endpoint", "http://127.0.0.1:9/v1"], 7, "nothing answers at"),
        (["--endpoint", "localhost"], 7, "is no address"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--tasks", "0"], 10, "ask for one or more"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--concurrency", "0"], 10, "ask for one or more"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--trials", "0"], 10, "ask for one or more"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--speed", "-1"], 10, "no meaning"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--key-env", "NO_SUCH_VARIABLE"], 2, "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(words, code, told):
    done = run("run", *words)
    assert done.returncode == code
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_goals_lists_every_family():
    done = run("goals")
    assert done.returncode == 0
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    rows = [line for line in lines if line[0]]  # a long list of facts goes on in a line of its own
    assert [row[0] for row in rows] == list(goals.FAMILIES)
    assert all(int(row[1]) == goals.FAMILIES[row[0]].steps and int(row[2]) >= 200 for row in rows)
