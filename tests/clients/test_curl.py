"""`curl`, plain and with -N: what it prints is what the server sent, and streams come while they are made."""

import json
import shutil
import subprocess
import time

import pytest

from tests.gateway.dialects.answers import message, message_events, plain, response, response_events
from tests.gateway.upstream import DONE, TEXT, Script, answer

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")

HI = [{"role": "user", "content": "hi"}]
# path, request, plain answer, events
ASKED = {
    "chat": ("/chat/completions", {"model": "fake-model", "messages": HI}, answer(), [*TEXT, DONE]),
    "messages": (
        "/messages",
        {"model": "claude-fake", "max_tokens": 9, "messages": HI},
        plain(message()),
        message_events(),
    ),
    "responses": ("/responses", {"model": "gpt-fake", "input": "hi"}, plain(response()), response_events()),
}


def curl(gateway, path, body, *options):
    return ["curl", "-sS", *options, gateway.url + path, "-H", "Content-Type: application/json", "-d", json.dumps(body)]


@pytest.mark.parametrize("dialect", ASKED)
@pytest.mark.parametrize("stream", [False, True])
def test_bytes(gateway, dialect, stream):
    path, body, whole, events = ASKED[dialect]
    body = {**body, "stream": True} if stream else body
    ended = subprocess.run(curl(gateway, path, body, *(["-N"] if stream else [])), capture_output=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (0, b"".join(events) if stream else whole), ended.stderr


def test_events_come_as_they_are_made(gateway):
    """The first words are there long before the server is done."""
    gateway.upstream.script = Script(events=[*TEXT[:4], *TEXT[4:], DONE], pause_s=0.5)
    path, body, _, _ = ASKED["chat"]
    began = time.monotonic()
    with subprocess.Popen(curl(gateway, path, {**body, "stream": True}, "-N"), stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        first = time.monotonic() - began
        process.stdout.read()
        last = time.monotonic() - began
    assert last - first > 2


def test_a_refusal_is_one_line_of_json_and_fails_where_asked(gateway):
    words = curl(gateway, "/messages", {"model": "none", "max_tokens": 1, "messages": HI}, "--fail-with-body")
    ended = subprocess.run(words, capture_output=True, timeout=30)
    assert ended.returncode == 22
    assert json.loads(ended.stdout)["error"]["type"] == "not_found_error"
