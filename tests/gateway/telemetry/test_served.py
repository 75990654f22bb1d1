"""A served gateway and its collector: one process or several, the same spans, figures and changes of the file."""

import http.client
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.gateway.conftest import CONFIG, Running, write_config
from tests.gateway.telemetry.receiver import Receiver, named, until
from tests.gateway.upstream import TEXT, FakeUpstream, Script
from trimtab.gateway.process import GatewayProcess

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "a private word"}]}
TELEMETRY = """
[telemetry]
url = "{collector}"
headers_env = {{ Authorization = "TRIMTAB_TEST_COLLECTOR" }}
service = "shop"
interval_s = 0.1
"""
KEY = "sk-of-the-collector-0123456789"


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


@pytest.fixture(params=[1, 2], ids=["one process", "workers"])
def served(request, tmp_path, monkeypatch, receiver):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    monkeypatch.setenv("TRIMTAB_TEST_COLLECTOR", f"Bearer {KEY}")
    with FakeUpstream() as upstream:
        path = write_config(tmp_path, upstream, CONFIG.replace("[gateway]", f"[gateway]\nworkers = {request.param}"))
        path.write_text(path.read_text() + TELEMETRY.format(collector=receiver.url))
        with GatewayProcess(path) as process:
            yield Running(upstream, process, tmp_path / "store"), path


def page(gateway):
    return gateway.get("/metrics")[2].decode()


def sample(gateway, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", page(gateway), re.MULTILINE)
    return float(found[1]) if found else None


def test_a_call_is_a_span_of_the_callers_trace_and_its_servers_spans_are_below_it(served, receiver):
    gateway, _path = served
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-trimtab-session": "s", "x-trimtab-agent": "sales"}
    assert gateway.ask({**HELLO, "temperature": 0.5}, headers)[0] == 200
    gateway.upstream.script = Script(events=TEXT[:3])
    gateway.ask({**HELLO, "stream": True}, headers)
    first, second = receiver.wait(2)
    assert first.trace_id.hex() == TRACE and first.parent_span_id.hex() == PARENT
    sent = {name.lower(): held for name, held in gateway.upstream.seen[0].headers.items()}
    assert sent["traceparent"] == f"00-{TRACE}-{first.span_id.hex()}-01"
    told = named(first.attributes)
    assert (told["gen_ai.conversation.id"], told["gen_ai.agent.name"]) == ("s", "sales")
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.request.temperature"]) == (1000, 0.5)
    assert told["server.address"] == "127.0.0.1" and f":{told['server.port']}/" in gateway.upstream.url
    assert named(second.attributes)["error.type"] == "cut"
    assert receiver.seen[0][2]["Authorization"] == f"Bearer {KEY}"
    assert "private" not in str(receiver.requests)
    until(lambda: sample(gateway, "trimtab_telemetry_exported_total") == 2)
    assert sample(gateway, "trimtab_telemetry_waiting") == 0
    assert KEY not in page(gateway)


def test_the_page_has_the_names_of_each_version(served):
    gateway, path = served
    gateway.ask(HELLO, {"x-trimtab-session": "never-a-label"})
    labels = 'gen_ai_request_model="fake-model",gen_ai_response_model="fake-model",server_address="127.0.0.1"'
    lines = until(lambda: (text := page(gateway)) and "gen_ai" in text and text)
    for name in (
        "gen_ai_client_operation_duration_seconds_count",
        "gen_ai_client_token_usage_sum",
        "gen_ai_client_inference_duration_seconds_count",
        "gen_ai_client_inference_usage_cache_read_input_tokens_total",
        "trimtab_calls_total",
    ):
        assert re.search(rf"^{name}{{", lines, re.MULTILINE), name
    assert labels in lines and "never-a-label" not in lines
    path.write_text(path.read_text() + 'metrics = ["v0.1.0"]\n')
    # Of several workers the one that is asked may not have heard of the call yet.
    newest = "gen_ai_client_inference_duration_seconds_count"
    until(lambda: newest in (text := page(gateway)) and "gen_ai_client_token_usage" not in text)


def test_a_changed_collector_is_swapped_in_and_a_bad_one_refused(served, receiver):
    gateway, path = served
    gateway.ask(HELLO)
    receiver.wait(1)
    good = path.read_text()
    path.write_text(good.replace("TRIMTAB_TEST_COLLECTOR", "TRIMTAB_ABSENT"))
    error = until(lambda: json.loads(gateway.get("/health/ready")[2])["config"]["error"])
    assert "TRIMTAB_ABSENT" in error and re.search(r"trimtab.toml:\d+: ", error)
    with Receiver() as other:
        path.write_text(good.replace(receiver.url, other.url).replace("interval_s", 'semconv = "v0.1.0"\ninterval_s'))

        def moved():
            gateway.ask(HELLO)
            return any("gen_ai.provider.name" in named(span.attributes) for span in other.spans)

        until(moved)
        state = json.loads(gateway.get("/health/ready")[2])["config"]
        assert (state["error"], state["restart_needed"]) == ("", [])
        gateway.process.stop()


def test_what_waits_is_sent_at_the_end(served, receiver):
    gateway, path = served
    path.write_text(path.read_text().replace("interval_s = 0.1", "interval_s = 60"))
    until(lambda: json.loads(gateway.get("/health/ready")[2])["config"]["loads"] == 1)
    for _ in range(3):
        assert gateway.ask(HELLO)[0] == 200
    assert gateway.process.stop() == 0
    assert len(receiver.spans) == 3


def test_a_deployment_put_by_hand_is_known_to_the_exporter(served, receiver):
    gateway, _path = served
    before = json.loads(gateway.admin()[2])
    moved = [{**each, "name": "moved"} for each in before["endpoints"][:1]]
    assert gateway.admin({**before, "endpoints": moved, "routes": {}}, method="PUT")[0] == 200

    def told():
        gateway.ask(HELLO)
        return [held for span in receiver.spans if (held := named(span.attributes)).get("trimtab.endpoint") == "moved"]

    until(lambda: any("server.address" in held for held in told()))


@pytest.mark.parametrize("served", [2], indirect=True, ids=["workers"])
def test_a_recording_process_that_died_exports_again(served, receiver):
    gateway, _path = served
    gateway.ask(HELLO)
    receiver.wait(1)
    until(lambda: sample(gateway, "trimtab_telemetry_exported_total") == 1)
    pid = gateway.process.pid
    recording = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(recording, signal.SIGKILL)
    gateway.ask(HELLO)
    receiver.wait(2)
    # What the dead one had counted stays counted.
    until(lambda: sample(gateway, "trimtab_telemetry_exported_total") == 2)


def test_a_dead_collector_delays_no_request(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    monkeypatch.setenv("TRIMTAB_TEST_COLLECTOR", f"Bearer {KEY}")
    with FakeUpstream() as upstream:
        path = write_config(tmp_path, upstream)
        path.write_text(path.read_text() + TELEMETRY.format(collector="http://127.0.0.1:9") + "queue = 5\n")
        with GatewayProcess(path) as process:
            gateway = Running(upstream, process, tmp_path / "store")
            connection = http.client.HTTPConnection(gateway.host, timeout=20)
            for _ in range(50):
                connection.request("POST", "/v1/chat/completions", json.dumps(HELLO))
                answer = connection.getresponse()
                assert answer.status == 200 and answer.read()
            connection.close()
            until(lambda: (sample(gateway, 'trimtab_telemetry_lost_total{reason="full"}') or 0) >= 45)
            assert sample(gateway, "trimtab_telemetry_waiting") <= 5
            assert sample(gateway, "trimtab_recorder_written_total") == 50


def test_without_telemetry_a_callers_traceparent_goes_on_as_it_came(gateway):
    traceparent = f"00-{TRACE}-{PARENT}-00"
    assert gateway.ask(HELLO, {"traceparent": traceparent})[0] == 200
    sent = {name.lower(): held for name, held in gateway.upstream.seen[0].headers.items()}
    assert sent["traceparent"] == traceparent
    assert "trimtab_telemetry" not in page(gateway)


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"session_id": "s1", "User-Agent": "codex_cli_rs/0.144"}, ("codex", "s1", "")),
        ({"langfuse_session_id": "s2", "langfuse_trace_user_id": "u"}, ("", "s2", "u")),
        ({"Helicone-Session-Id": "s3", "Helicone-Session-Name": "w", "Helicone-User-Id": "u"}, ("w", "s3", "u")),
        ({"X-Claude-Code-Session-Id": "s4", "User-Agent": "claude-cli/2.1 (cli)"}, ("claude-code", "s4", "")),
    ],
)
def test_vendors_headers_over_http_name_the_call_and_go_on_upstream(gateway, headers, named):
    body = {**HELLO, "messages": [{"role": "system", "content": "You sell cars."}, *HELLO["messages"]]}
    call, _ = gateway.call(gateway.ask(body, headers)[1])
    assert (call.workflow, call.session, call.user) == named
    assert call.derived and call.agent.startswith("fp-")
    sent = {name.lower(): held for name, held in gateway.upstream.seen[0].headers.items()}
    assert {name.lower(): held for name, held in headers.items()}.items() <= sent.items()
