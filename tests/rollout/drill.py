"""A gateway under traffic before a fake upstream whose models answer as a test tells them; and rollouts over it."""

import contextlib
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

from tests.gateway.upstream import FakeUpstream, Script, answer, chunk
from trimtab.gateway.process import GatewayProcess

DONE = b"data: [DONE]\n\n"
CONFIG = """
endpoints = [{{ name = "{model}", url = "{url}", model = "{model}" }}]
[routes]
assistant = "{model}"
[gateway]
workers = {workers}
{more}
[store]
folder = "{store}"
[prices]
version = "test-1"
[prices.models]
"old" = {{ input = 2.0, output = 8.0 }}
"new" = {{ input = 1.0, output = 4.0 }}
"""


def told(question):
    """What both models say as long as they are well."""
    return f"The answer to {question} is {sum(map(ord, question))}."


class Models:
    """The upstream's script. `wrong` and `failing` are the shares of calls by model that are answered so."""

    def __init__(self):
        self.wrong = {}
        self.failing = {}
        self.calls = {}
        self.hanging = ""
        self.unsteady = 0.0
        self._chance = random.Random(7)

    def __call__(self, seen):
        if not seen.body:
            return Script(status=404, body=b"{}")
        body = seen.json
        model, question = body["model"], body["messages"][-1]["content"]
        self.calls[model] = self.calls.get(model, 0) + 1
        wait_s = 60.0 if model == self.hanging else 0.0
        if self._chance.random() < self.failing.get(model, 0):
            return Script(status=503, body=b'{"error": {"message": "overloaded"}}')
        said = told(question)
        if self._chance.random() < self.wrong.get(model, 0):
            said = "I do not know."
        if self._chance.random() < self.unsteady:
            said += f" ({self._chance.random()})"
        if not body.get("stream"):
            return Script(body=answer(model, {"role": "assistant", "content": said}), wait_s=wait_s)
        words = [chunk({"content": f"{word} "}, model=model) for word in said.split(" ")]
        events = [chunk({"role": "assistant", "content": ""}, model=model), *words, chunk(finish="stop", model=model)]
        usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
        return Script(events=[*events, chunk(usage=usage, model=model), DONE], wait_s=wait_s)


class Traffic:
    """Clients that ask without end, two calls a session. `answers` are what `ask` gives, `faults` what broke."""

    def __init__(self, url, clients=4, pause_s=0.0):
        self.host = urlsplit(url).netloc
        self.answers = []
        self.faults = []
        self._clients = clients
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = []

    def __enter__(self):
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(self._clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, client):
        number = 0
        connection = http.client.HTTPConnection(self.host, timeout=30)
        while not self._stop.wait(self._pause_s):
            number += 1
            session = f"client {client} session {number // 2}"
            streamed = number % 3 == 0
            try:
                self.answers.append(ask(connection, session, f"question {client}-{number}", streamed))
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
                connection.close()
        connection.close()

    def since(self, mark):
        """The answers after the first `mark` ones."""
        return self.answers[mark:]


def ask(connection, session, question, streamed=False, headers=None):
    """(session, model, status, text, headers, time)"""
    body = {"model": "assistant", "messages": [{"role": "user", "content": question}], "stream": streamed}
    given = {"Content-Type": "application/json", "x-trimtab-session": session, **(headers or {})}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), given)
    response = connection.getresponse()
    content = response.read()
    told_by = {name.lower(): held for name, held in response.getheaders()}
    text = ""
    if response.status == 200 and not streamed:
        text = json.loads(content)["choices"][0]["message"]["content"]
    elif response.status == 200:
        assert content.endswith(DONE), content[-200:]
        events = [json.loads(line[6:]) for line in content.split(b"\n\n") if line[6:] not in (b"", b"[DONE]")]
        text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"]).strip()
    return session, told_by.get("x-trimtab-endpoint", ""), response.status, text, told_by, time.time()


class Gateway:
    """The processes of one drill."""

    def __init__(self, folder, models, upstream, process):
        self.folder = folder
        self.models = models
        self.upstream = upstream
        self.process = process
        self.store = folder / "store"

    def command(self, *words):
        return subprocess.run(
            [sys.executable, "-m", "trimtab", *words], capture_output=True, text=True, timeout=60, check=False
        )

    def rollout(self, *words, code=0):
        """`trimtab rollout WORDS --json`, decoded; or what it says on stderr where `code` is not 0."""
        done = self.command("rollout", *words, "--json", "--config", str(self.folder / "old.toml"))
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def start(self, *words, code=0):
        return self.rollout("start", "--candidate", str(self.folder / "new.toml"), *words, code=code)

    def page(self):
        """The metrics."""
        connection = http.client.HTTPConnection(urlsplit(self.process.url).netloc, timeout=20)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def stage(self):
        from trimtab.rollout import steps

        return steps.status(self.store).rollout.stage.value

    def counts(self):
        from trimtab.rollout import steps

        return steps.status(self.store).counts

    def ledger(self, kind=""):
        from trimtab.store.ledger import Ledger

        return [entry.body for entry in Ledger(self.store).entries(kind)]


def write(folder, upstream, model, workers=1, more=""):
    path = folder / f"{model}.toml"
    path.write_text(CONFIG.format(model=model, url=upstream.url, store=folder / "store", workers=workers, more=more))
    return path


@contextlib.contextmanager
def gateway(folder, workers=1, more=""):
    models = Models()
    with FakeUpstream() as upstream:
        upstream.script = models
        config = write(folder, upstream, "old", workers, more)
        write(folder, upstream, "new")
        with GatewayProcess(config) as process:
            yield Gateway(folder, models, upstream, process)


def until(true, patience_s=40):
    give_up = time.monotonic() + patience_s
    while not (found := true()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.02)
    return found
