"""Routes beside the chat: models, health, metrics, scores, and the swap of the live Deployment under load."""

import json
import threading

import pytest

from tests.gateway.upstream import FakeUpstream, Script, answer

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health(gateway, path):
    assert gateway.get(path)[0] == 200


def test_models(gateway):
    listed = json.loads(gateway.get("/v1/models")[2])
    names = [model["id"] for model in listed["data"]]
    assert names == ["alias", "fake-model", "nobody-knows", "keyed-model", "hasty-model", "dead-model"]


def test_metrics(gateway):
    gateway.ask(HELLO)
    _, headers, text = gateway.get("/metrics")
    assert headers["content-type"].startswith("text/plain")
    assert b'trimtab_calls_total{end="complete",status="200",endpoint="main",model="fake-model",agent=""}' in text
    assert b"trimtab_recorder_written_total" in text


@pytest.mark.parametrize(("path", "method", "status"), [("/nothing", "GET", 404), ("/v1/chat/completions", "GET", 405)])
def test_other_paths_and_methods_are_refused_in_openais_shape(gateway, path, method, status):
    got, _, body = gateway.ask(b"", method=method, path=path)
    assert got == status
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_a_score_joins_its_trace(gateway):
    trace_id = gateway.ask(HELLO)[1]["x-trimtab-trace-id"]
    gateway.trace(trace_id)
    score = {"trace_id": trace_id, "name": "success", "value": 1, "source": "oracle"}
    assert gateway.ask(score, path="/v1/scores")[0] == 202
    later = gateway.ask(HELLO, {"x-trimtab-session": "after"})[1]["x-trimtab-trace-id"]
    gateway.trace(later)
    scores = gateway.trace(trace_id).scores
    assert [(held.name, held.value, held.source) for held in scores] == [("success", 1.0, "oracle")]


@pytest.mark.parametrize("score", [{"trace_id": "t", "name": "n", "value": 2}, {"name": "n", "value": 1}, [], {"x": 1}])
def test_a_bad_score_is_refused(gateway, score):
    assert gateway.ask(score, path="/v1/scores")[0] == 400


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=x"}]
)
def test_admin_is_for_this_machine_alone(gateway, headers):
    assert gateway.admin(b"", headers)[0] == 403
    assert gateway.admin(b"{}", headers, "PUT")[0] == 403


def test_admin_paths_are_not_on_the_public_port(gateway):
    for method in ("GET", "PUT"):
        status, _, body = gateway.ask(b"{}", {"Host": "127.0.0.1"}, method, "/admin/deployment")
        assert status == 404 and b"admin_port" in body
    assert gateway.admin()[0] == 200
    assert gateway.admin(path="/health/ready")[0] == 200
    assert gateway.admin(HELLO, method="POST", path="/v1/chat/completions")[0] == 404


@pytest.mark.parametrize("bad", [b"{", b"{}", b'{"name":"x","endpoints":[]}', b'{"name":"x","endpoints":[],"y":1}'])
def test_a_bad_deployment_is_refused_and_the_old_one_stays(gateway, bad):
    before = gateway.admin()[2]
    status, _, body = gateway.admin(bad, method="PUT")
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_deployment")
    assert gateway.admin()[2] == before
    assert gateway.ask(HELLO)[0] == 200


def test_a_swap_under_load_loses_no_request(gateway):
    before = json.loads(gateway.admin()[2])
    gateway.upstream.script = Script(body=answer(), wait_s=0.02)
    answers, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            status, headers, _ = gateway.ask(HELLO)
            answers.append((status, headers.get("x-trimtab-endpoint")))

    threads = [threading.Thread(target=load) for _ in range(6)]
    with FakeUpstream() as other:
        after = {**before, "endpoints": [{"name": "new", "url": other.url, "model": "fake-model"}], "routes": {}}
        for thread in threads:
            thread.start()
        try:
            for wanted in (after, before, after):
                assert gateway.admin(wanted, method="PUT")[0] == 200
                enough = len(answers) + 30
                while len(answers) < enough:
                    stop.wait(0.01)
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
            assert gateway.admin(before, method="PUT")[0] == 200
    assert {status for status, _ in answers} == {200}
    assert {name for _, name in answers} == {"main", "new"}
    assert json.loads(gateway.admin()[2]) == before
