"""A gateway process before a fake upstream, one pair a test file."""

import contextlib
import http.client
import json
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from tests.gateway.upstream import FakeUpstream, usual
from trimtab.errors import FormatError
from trimtab.gateway.process import GatewayProcess
from trimtab.store.traces import TraceReader

CONFIG = """
endpoints = [
  {{ name = "main", url = "{url}", model = "fake-model" }},
  {{ name = "renamed", url = "{url}", model = "fake-model", price = "fake-model" }},
  {{ name = "unpriced", url = "{url}", model = "nobody-knows" }},
  {{ name = "keyed", url = "{url}", model = "keyed-model", key_env = "TRIMTAB_TEST_KEY" }},
  {{ name = "hasty", url = "{url}", model = "hasty-model", timeout_s = 1.5, stall_s = 1.5 }},
  {{ name = "dead", url = "http://127.0.0.1:9/v1", model = "dead-model" }},
]
[routes]
alias = "renamed"
[gateway]
max_body_bytes = 1000000
[store]
folder = "{store}"
[prices]
version = "test-1"
[prices.models]
"fake-model" = {{ input = 2.0, cache_read = 0.5, output = 8.0 }}
"""


class Running:
    """The pair, and the ways tests look at it."""

    def __init__(self, upstream, process, store):
        self.upstream = upstream
        self.process = process
        self.store = store
        self.url = process.url
        self.host = urlsplit(process.url).netloc

    def ask(self, body, headers=None, method="POST", path="/v1/chat/completions"):
        """(status, headers, body) of one request on a connection of its own."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def admin(self, body=b"", headers=None, method="GET", path="/admin/deployment"):
        """`ask`, of the admin port."""
        return Running.ask(SimpleNamespace(host=urlsplit(self.process.admin).netloc), body, headers, method, path)

    def get(self, path):
        return self.ask(b"", method="GET", path=path)

    def recorder(self):
        """The recorder's own figures, for what went wrong."""
        lines = self.get("/metrics")[2].decode().splitlines()
        return [line for line in lines if line.startswith("trimtab_recorder_")]

    def trace(self, trace_id, calls=1):
        """The recorded trace, once it has `calls` calls."""
        # The first write of a new store, on a machine whose disk and cores others have, took more than ten seconds.
        give_up = time.monotonic() + 40
        while True:
            try:
                trace = TraceReader(self.store).trace(trace_id)
                if len(trace.calls) >= calls:
                    return trace
            except FormatError:
                pass
            assert time.monotonic() < give_up, f"trace {trace_id} was not recorded: {self.recorder()}"
            time.sleep(0.05)

    def call(self, headers):
        """The one call of the trace that an answer's headers name, with its payload."""
        trace = self.trace(headers["x-trimtab-trace-id"])
        call = next(call for call in trace.calls if call.id == headers["x-trimtab-request-id"])
        return call, trace.payloads.get(call.id)


def write_config(folder: Path, upstream, text=CONFIG) -> Path:
    path = folder / "trimtab.toml"
    path.write_text(text.format(url=upstream.url, store=folder / "store"))
    return path


@contextlib.contextmanager
def running(folder: Path, text=CONFIG):
    """A gateway of the configuration `text` before a fake upstream; its endpoints' key is in the environment."""
    with pytest.MonkeyPatch.context() as patch, FakeUpstream() as upstream:
        patch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
        with GatewayProcess(write_config(folder, upstream, text)) as process:
            yield Running(upstream, process, folder / "store")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    with running(folder) as pair:
        yield pair


@pytest.fixture
def gateway(pair):
    pair.upstream.script = usual
    pair.upstream.seen.clear()
    return pair
