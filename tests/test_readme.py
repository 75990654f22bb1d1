"""What the README tells a new user to type, typed: its configuration, commands and snippets before a real gateway."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.gateway.upstream import FakeUpstream, Script, usual
from trimtab import config

README = Path(__file__).parent.parent / "README.md"
HEADING = "## Put it in front of your service"


def section():
    """That section's text."""
    return README.read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]


def blocks(language):
    """Its fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", section(), re.DOTALL)


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def provider(seen):
    """Lists its model, and answers."""
    if seen.method == "GET":
        return Script(body=b'{"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]}')
    return usual(seen)


def replaced(text, old, new):
    assert old in text, f"the README no longer says {old!r}"
    return text.replace(old, new)


class User:
    """Somebody who follows the section in an empty folder, with a model server on loopback in place of the provider."""

    def __init__(self, folder, upstream):
        self.folder, self.upstream = folder, upstream
        self.port = str(free_port())
        self.environment = {**os.environ, "PATH": f"{self.bin()}{os.pathsep}{os.environ['PATH']}"}
        self.gateway = None

    def bin(self):
        """A folder with the command, as an installation would have it."""
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "trimtab").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m trimtab "$@"\n')
        (folder / "trimtab").chmod(0o755)
        return folder

    def type(self, text, **words):
        """Run a block in a shell, with `words` in place of what the user has to fill in; what it said."""
        text = text.replace("8400", self.port)
        for old, new in words.items():
            text = replaced(text, {"provider": "sk-...", "key": "tt-...", "trace": "TRACE"}[old], new)
        done = subprocess.run(
            ["sh", "-e", "-c", text], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, toml):
        text = replaced(replaced(toml, "https://api.openai.com/v1", self.upstream.url), "8400", self.port)
        (self.folder / "trimtab.toml").write_text(text)

    def serve(self):
        self.environment["OPENAI_API_KEY"] = "sk-of-the-provider"
        self.gateway = subprocess.Popen(["trimtab", "serve"], cwd=self.folder, env=self.environment)
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).close()
                return
            time.sleep(0.05)
        raise AssertionError("the gateway is not ready")

    def stop(self):
        if self.gateway is not None:
            self.gateway.terminate()
            assert self.gateway.wait(20) == 0


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The whole section typed from top to bottom; what was said on the way."""
    if shutil.which("curl") is None:
        pytest.skip("the README asks with curl")
    (toml,) = blocks("toml")
    _, checking, asking, looking = blocks("sh")
    (python,) = blocks("python")
    with FakeUpstream() as upstream:
        upstream.script = provider
        user = User(tmp_path_factory.mktemp("readme"), upstream)
        user.write(toml)
        checking, serving = checking.rstrip().rsplit("\n", 1)
        checked = user.type(checking, provider="sk-of-the-provider")
        key = re.search(r"^tt-\S+$", checked, re.MULTILINE)[0]
        assert serving == "trimtab serve"
        try:
            user.serve()
            curled = user.type(asking, key=key)
            (user.folder / "application.py").write_text(python.replace("8400", user.port))
            user.environment["TRIMTAB_KEY"] = key
            answered = user.type(f'"{sys.executable}" application.py')
            trace = re.search(r"^x-trimtab-trace-id: (\w+)", curled, re.MULTILINE)[1][:12]
            wait_until_recorded(user, trace)
            looked = user.type(looking, trace=trace)
            yield SimpleNamespace(
                checked=checked, curled=curled, answered=answered, looked=looked, trace=trace, seen=list(upstream.seen)
            )
        finally:
            user.stop()


def wait_until_recorded(user, trace):
    give_up = time.monotonic() + 10
    while trace not in user.type("trimtab traces list"):
        assert time.monotonic() < give_up, "the call was not recorded"
        time.sleep(0.1)


def test_the_configuration_is_one_as_it_stands(tmp_path):
    (toml,) = blocks("toml")
    (tmp_path / "trimtab.toml").write_text(toml)
    settings = config.read(tmp_path / "trimtab.toml")
    (endpoint,) = settings.endpoints
    assert endpoint.key_env
    assert settings.price_table().find(endpoint.model) is not None, "its model has no price"


def test_the_base_install_is_what_it_installs():
    assert blocks("sh")[0].splitlines()[-1] == "pip install ."


def test_the_doctor_finds_nothing_wrong(followed):
    assert "ok     config" in followed.checked
    assert "WRONG" not in followed.checked


def test_curl_gets_the_answer_and_what_it_cost(followed):
    assert followed.curled.startswith("HTTP/1.1 200")
    assert "x-trimtab-cost: 0." in followed.curled
    assert "how may I help?" in followed.curled


def test_the_provider_sees_its_own_key(followed):
    assert followed.seen
    assert all(one.headers["Authorization"] == "Bearer sk-of-the-provider" for one in followed.seen)


def test_the_application_gets_the_answer(followed):
    assert "how may I help?" in followed.answered


def test_both_calls_are_listed_and_the_trace_is_shown(followed):
    assert followed.looked.count(followed.trace) >= 2
    assert "hello" in followed.looked
    assert "complete" in followed.looked


def test_the_key_has_spent(followed):
    assert "requests_per_minute 600, day_usd 20.0" in followed.looked
    assert "day_requests 2" in followed.looked


def test_each_metric_that_it_names_is_on_the_page(followed):
    named = set(re.findall(r"`(trimtab_\w+)`", section()))
    assert named
    missing = {name for name in named if f"# TYPE {name} " not in followed.looked}
    assert not missing, f"not on /metrics: {missing}"


def test_each_page_that_it_links_is_there():
    pages = re.findall(r"\]\((docs/[\w./-]+)", section())
    assert pages
    assert all((README.parent / page).exists() for page in pages)
