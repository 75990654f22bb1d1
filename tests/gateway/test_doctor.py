"""The doctor before real servers on loopback: well, and each thing that can be wrong with what to do."""

import asyncio
import contextlib
import os
import threading
from pathlib import Path

import pytest
from aiohttp import web

from tests.gateway.telemetry.receiver import Receiver
from tests.store.samples import make_record
from trimtab.gateway import doctor
from trimtab.store import schema
from trimtab.store.traces import TraceWriter


class Models:
    """A model server that only lists its models; `status`, `body` and `date` are set by the test."""

    def __init__(self):
        self.status, self.body, self.headers, self.seen = 200, '{"data": [{"id": "m"}, {"id": "n:latest"}]}', {}, []

    async def answer(self, request):
        self.seen.append(request.headers.get("Authorization"))
        self.asked = request
        if self.status == 0:
            await asyncio.sleep(30)
        return web.Response(status=self.status, text=self.body, headers=self.headers)


@contextlib.contextmanager
def serving(models):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    app = web.Application()
    app.router.add_get("/v1/models", models.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start():
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture(scope="module")
def running():
    models = Models()
    with serving(models) as url:
        yield models, url


@pytest.fixture
def server(running, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_FREE", 1)
    models, url = running
    Models.__init__(models)
    return models, url


CONFIG = """
[store]
folder = "{store}"
[prices.models]
m = {{ input = 1, output = 2 }}
[[endpoints]]
name = "here"
url = "{url}"
model = "{model}"
key_env = "{key_env}"
"""


def examine(tmp_path, url, more="", model="m", key_env=""):
    path = tmp_path / "trimtab.toml"
    path.write_text(CONFIG.format(url=url, store=tmp_path / "store", model=model, key_env=key_env) + more)
    return {check.name: check for check in doctor.examine(path)}


def wrong(checks):
    return {name: check.said for name, check in checks.items() if not check.ok}


def test_all_is_well(tmp_path, server, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-doctor")
    checks = examine(tmp_path, server[1], '[routes]\nfast = "here"\n', key_env="TRIMTAB_TEST_KEY")
    assert wrong(checks) == {}
    assert list(checks) == ["config", "endpoint here", "price here", "clock", "sqlite", "store", "disk"]
    assert "1 endpoints, 1 routes" in checks["config"].said and "2 models" in checks["endpoint here"].said
    assert "to here" in checks["clock"].said
    assert server[0].seen == ["Bearer sk-of-the-doctor"]
    assert not (tmp_path / "store").exists()
    assert not any("sk-of" in check.said for check in checks.values())


def test_a_server_of_messages_is_asked_in_its_own_way(tmp_path, server, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-doctor")
    path = tmp_path / "trimtab.toml"
    path.write_text(
        CONFIG.format(url=server[1], store=tmp_path / "store", model="m", key_env="TRIMTAB_TEST_KEY")
        + 'dialect = "messages"\n'
    )
    assert wrong({check.name: check for check in doctor.examine(path)}) == {}
    asked = server[0].asked
    assert (asked.headers["x-api-key"], asked.headers["anthropic-version"]) == ("sk-of-the-doctor", "2023-06-01")
    assert "Authorization" not in asked.headers and asked.query["limit"] == "1000"
    server[0].body = '{"data": [{"id": "x"}], "has_more": true}'
    assert wrong({check.name: check for check in doctor.examine(path)}) == {}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, "", "refuses the key in TRIMTAB_TEST_KEY"),
        (500, "", "with 500"),
        (301, "", "with 301"),
        (200, "<html>", "no list of models"),
        (200, '{"data": 3}', "no list of models"),
        (200, '{"data": [{"id": "x"}]}', "does not list its model 'm' (but x)"),
        (0, "", "did not answer within"),
    ],
)
def test_an_endpoint_that_is_not_well(tmp_path, server, monkeypatch, status, body, said):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "k")
    monkeypatch.setattr(doctor, "TIMEOUT_S", 0.5 if status == 0 else 20)
    server[0].status, server[0].body = status, body
    checks = examine(tmp_path, server[1], key_env="TRIMTAB_TEST_KEY")
    assert list(wrong(checks)) == ["endpoint here"] and said in wrong(checks)["endpoint here"]


@pytest.mark.parametrize(
    ("status", "body"), [(404, ""), (401, ""), (200, '{"data": []}'), (200, '{"data": [{"id": "m:7b"}]}')]
)
def test_what_looks_odd_and_is_well(tmp_path, server, status, body):
    server[0].status, server[0].body = status, body
    assert wrong(examine(tmp_path, server[1])) == {}


def test_an_endpoint_that_is_not_there_or_has_no_key(tmp_path, server):
    assert "cannot be reached" in wrong(examine(tmp_path, "http://127.0.0.1:9/v1"))["endpoint here"]
    assert "must begin with http" in wrong(examine(tmp_path, "127.0.0.1:9"))["endpoint here"]
    os.environ.pop("TRIMTAB_NO_KEY", None)
    assert "export it first" in wrong(examine(tmp_path, server[1], key_env="TRIMTAB_NO_KEY"))["endpoint here"]
    assert not server[0].seen


def test_a_price_that_is_missing(tmp_path, server):
    server[0].body = '{"data": []}'
    assert wrong(examine(tmp_path, server[1], model="nobody-knows")) == {
        "price here": "no price for nobody-knows: add it under [prices.models], or set the endpoint's `price`"
    }
    routed = examine(tmp_path, server[1], '[routes]\nm = "here"\nslow = "here"\n', model="")
    assert "no price for slow:" in wrong(routed)["price here"]
    assert "by the model that answers" in examine(tmp_path, server[1], model="")["price here"].said


def test_a_bad_file_is_one_line(tmp_path):
    (config, sqlite) = doctor.examine(tmp_path / "none.toml")
    assert not config.ok and "--config" in config.said and sqlite.ok
    (tmp_path / "trimtab.toml").write_text("[gateway]\n")
    assert "no [[endpoints]]" in doctor.examine(tmp_path / "trimtab.toml")[0].said


def test_the_clock(tmp_path):
    now = 1_800_000_000.0
    assert doctor.clock(now, {}, []).ok and doctor.clock(now, {"a": -2.0, "b": 900.0}, []).ok
    assert "900 s behind endpoint a" in doctor.clock(now, {"a": 900.0}, []).said
    assert "40 s ahead of endpoint b" in doctor.clock(now, {"a": -90.0, "b": -40.0}, []).said
    assert "years behind" in doctor.clock(1_000.0, {}, []).said
    future = tmp_path / "calls-2031-01-01.sqlite"
    assert "of a day to come" in doctor.clock(now, {}, [future]).said
    assert doctor.clock(now, {}, [schema.day_path(tmp_path, int(now * 1e9))]).ok


def test_an_endpoint_whose_time_is_another(tmp_path, server):
    server[0].headers = {"Date": "Tue, 01 Jan 2036 00:00:00 GMT"}
    assert "behind endpoint here" in wrong(examine(tmp_path, server[1]))["clock"]
    server[0].headers = {"Date": "yesterday"}
    assert wrong(examine(tmp_path, server[1])) == {}


def test_the_store_and_the_disk(tmp_path, server, monkeypatch):
    with TraceWriter(tmp_path / "store") as writer:
        writer.append([make_record(1)])
        assert "1 day files, kept for ever" in examine(tmp_path, server[1])["store"].said
    schema.day_files(tmp_path / "store")[0].write_bytes(b"this is no database at all" * 100)
    assert "is damaged" in wrong(examine(tmp_path, server[1]))["store"]
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").write_text("a file")
    assert "cannot be written" in wrong(examine(tmp_path, server[1]))["store"]
    assert not doctor.disk(tmp_path / "not" / "there", 1 << 60).ok and doctor.disk(tmp_path / "not", 1).ok
    assert not doctor.sqlite_version((3, 7, 15)).ok


def test_from_the_command_line(tmp_path, server, capsys, monkeypatch):
    from trimtab.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.startswith("WRONG  config")
    examine(tmp_path, server[1])
    assert main(["doctor", "--config", str(Path("trimtab.toml"))]) == 0
    assert capsys.readouterr().out.count("ok     ") == 7
    assert main(["doctor", "--json"]) == 0
    assert '"name":"disk","ok":true' in capsys.readouterr().out


def test_the_collector_is_asked_too(tmp_path, server):
    assert "telemetry" not in examine(tmp_path, server[1])
    telemetry = '[telemetry]\nurl = "{}"\n'
    with Receiver() as receiver:
        well = examine(tmp_path, server[1], telemetry.format(receiver.url))
        assert well["telemetry"].ok and receiver.requests and not receiver.spans
        receiver.answers = [(401, {}, b"")]
        refused = examine(tmp_path, server[1], telemetry.format(receiver.url))
        assert "answered 401" in wrong(refused)["telemetry"]
    assert "cannot be reached" in wrong(examine(tmp_path, server[1], telemetry.format(receiver.url)))["telemetry"]
    absent = telemetry.format(receiver.url) + 'headers_env = { authorization = "TRIMTAB_ABSENT" }\n'
    assert "TRIMTAB_ABSENT" in wrong(examine(tmp_path, server[1], absent))["telemetry"]
