"""From records to a collector on loopback: bounded, patient, and without a word of its keys."""

import datetime
import email.utils
import logging
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.telemetry import samples
from tests.gateway.telemetry.receiver import Receiver, named, until
from trimtab.config import TelemetrySettings
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError
from trimtab.gateway.telemetry import collector, exporter
from trimtab.gateway.telemetry.exporter import Exporter, ExportingWriter
from trimtab.store.entry import Entry
from trimtab.store.errand import ServingWriter
from trimtab.store.spill import Spill

ENDPOINTS = (Endpoint(name=samples.ENDPOINT, url="http://10.0.0.1:8500/v1"),)
KEY = "sk-of-the-collector-0123456789"


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


@pytest.fixture
def make(receiver, monkeypatch):
    monkeypatch.setattr(exporter, "_FIRST_WAIT_S", 0.05)
    made = []

    def make(**given):
        settings = TelemetrySettings(**{"url": receiver.url, "interval_s": 0.05, "timeout_s": 5.0, **given})
        made.append(Exporter(settings, lambda: ENDPOINTS))
        return made[-1]

    yield make
    for one in made:
        one.close()


def counts(one):
    return {line.split(" ")[0]: float(line.split(" ")[1]) for line in one.lines() if not line.startswith("#")}


def lost(one, reason):
    return counts(one)[f'trimtab_telemetry_lost_total{{reason="{reason}"}}']


def records(count, **fields):
    return [samples.record(id=str(number), **fields) for number in range(count)]


def test_what_is_offered_arrives(receiver, make):
    one = make(headers={"x-tenant": "a"}, service="shop")
    one.offer(records(3))
    spans = receiver.wait(3)
    assert [named(span.attributes)["trimtab.call_id"] for span in spans] == ["0", "1", "2"]
    assert named(spans[0].attributes)["server.address"] == "10.0.0.1"
    _, path, headers = receiver.seen[0]
    assert (path, headers["x-tenant"], headers["Content-Type"]) == ("/v1/traces", "a", "application/json")
    until(lambda: counts(one)["trimtab_telemetry_exported_total"] == 3)
    assert counts(one)["trimtab_telemetry_waiting"] == 0


def test_without_a_collector_nothing_is_kept_and_nothing_shown(make):
    one = make(url="")
    one.offer(records(3))
    assert (len(one), one.lines()) == (0, [])


def test_keys_come_from_the_environment_and_are_in_no_message(receiver, make, monkeypatch, caplog):
    monkeypatch.setenv("TRIMTAB_TEST_COLLECTOR", f"Bearer {KEY}")
    receiver.answers = [(401, {}, KEY.encode())]
    one = make(headers_env={"Authorization": "TRIMTAB_TEST_COLLECTOR"}, url=f"{receiver.url}/{KEY}?token={KEY}")
    one.offer(records(1))
    until(lambda: lost(one, "refused") == 1)
    assert receiver.seen[0][2]["Authorization"] == f"Bearer {KEY}"
    assert receiver.seen[0][1] == f"/{KEY}/v1/traces?token={KEY}"
    assert "answered 401" in caplog.text and KEY not in caplog.text
    assert KEY not in repr(collector.target(TelemetrySettings(url=receiver.url, headers={"authorization": KEY})))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"headers_env": {"authorization": "TRIMTAB_ABSENT"}}, "TRIMTAB_ABSENT"),
        ({"headers": {"authorization": f"{KEY}\r\nx: y"}}, "authorization"),
        ({"headers": {"no name": KEY}}, "header"),
        ({"url": f"http://me:{KEY}@collector:4318"}, "headers_env"),
        ({"url": f"ftp://collector/{KEY}"}, "telemetry.url"),
        ({"url": f"http://collector:port{KEY}"}, "telemetry.url"),
        ({"url": f"http://collector/{KEY}\n"}, "telemetry.url"),
    ],
)
def test_bad_settings_are_refused_without_their_values(settings, word):
    with pytest.raises(ConfigError, match=word) as caught:
        Exporter(TelemetrySettings(**{"url": "http://collector:4318", **settings}), lambda: ENDPOINTS)
    assert KEY not in str(caught.value)


@given(st.text(max_size=40), st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=2))
def test_any_address_and_header_is_taken_or_refused_in_one_line(url, headers):
    try:
        collector.target(TelemetrySettings(url=url, headers=headers))
    except ConfigError as error:
        assert "\n" not in str(error)


def test_addresses():
    def path(url):
        where = collector.target(TelemetrySettings(url=url))
        return where.secure, where.host, where.port, where.path

    assert path("http://c") == (False, "c", 4318, "/v1/traces")
    assert path("https://c/otlp/") == (True, "c", 443, "/otlp/v1/traces")
    assert path("http://c:1/v1/traces") == (False, "c", 1, "/v1/traces")


@given(st.text(max_size=40) | st.integers(-(10**12), 10**12).map(str) | st.datetimes().map(email.utils.format_datetime))
def test_any_retry_after_is_a_wait_of_two_minutes_at_most(text):
    assert 0 <= collector._wait_s(text) <= 120


def test_retry_after_may_be_a_date():
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    assert 50 < collector._wait_s(email.utils.format_datetime(soon, usegmt=True)) <= 60
    assert collector._wait_s("Sun, 06 Nov 1994 08:49:37 GMT") == 0


def test_retry_after_is_honoured(receiver, make):
    receiver.answers = [(503, {"Retry-After": "1"}, b""), (429, {}, b""), (200, {}, b"{}")]
    one = make()
    one.offer(records(2))
    receiver.wait(2)
    first, second, _ = [at for at, _, _ in receiver.seen]
    assert second - first >= 1.0
    until(lambda: counts(one)["trimtab_telemetry_exported_total"] == 2)
    assert counts(one)["trimtab_telemetry_retries_total"] == 2


@pytest.mark.parametrize("answer", [(400, {}, b"no"), (301, {"Location": "http://127.0.0.1:9/"}, b""), (500, {}, b"")])
def test_what_would_not_help_is_not_sent_again(receiver, make, answer):
    receiver.answers = [answer]
    one = make()
    one.offer(records(2))
    until(lambda: lost(one, "refused") == 2)
    one.offer(records(1))
    receiver.wait(1)
    assert len(receiver.seen) == 2


def test_spans_that_a_collector_rejects_are_lost(receiver, make):
    receiver.answers = [(200, {}, b'{"partialSuccess":{"rejectedSpans":"1"}}')]
    one = make()
    one.offer(records(3))
    until(lambda: lost(one, "refused") == 1)
    assert counts(one)["trimtab_telemetry_exported_total"] == 2


def test_a_dead_collector_delays_nobody_and_its_spans_are_counted(make, caplog):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        one = make(url=f"http://127.0.0.1:{closed.getsockname()[1]}", queue=10)
        began = time.process_time()
        for _ in range(50):
            one.offer(records(10))
        assert time.process_time() - began < 5
        until(lambda: "cannot be reached" in caplog.text)
        assert len(one) <= 10 and lost(one, "full") >= 490
        one.close()
    assert lost(one, "full") + lost(one, "closing") == 500
    assert caplog.text.count("cannot be reached") == 1, "one line, not one for each try"


def test_a_collector_that_does_not_answer_delays_nobody(receiver, make):
    receiver.hold_s = 3.0
    one = make(timeout_s=2.0, queue=5)
    one.offer(records(1))
    until(lambda: receiver.seen)
    began = time.monotonic()
    one.offer(records(50))
    assert time.monotonic() - began < 1.5
    assert len(one) <= 5


def test_large_bodies_fill_no_memory(make, monkeypatch):
    monkeypatch.setattr(exporter, "_MOST_BYTES", 300_000)
    bodies = ({"messages": [{"role": "user", "content": "x" * 100_000}]}, None)
    one = make(content=True, interval_s=60.0, semconv="v0.1.0")
    one.offer([samples.record(bodies, id=str(number)) for number in range(10)])
    assert len(one) == 3 and lost(one, "full") == 7


def test_what_waits_is_sent_at_the_end(receiver, make):
    one = make(interval_s=60.0)
    one.offer(records(2))
    one.close()
    assert len(receiver.spans) == 2 and len(one) == 0


def test_a_collector_that_comes_back_gets_what_waited(receiver, make):
    receiver.answers = [(503, {}, b"")] * 3
    one = make()
    one.offer(records(1))
    until(lambda: receiver.seen)
    one.offer(records(2))
    receiver.wait(3)
    until(lambda: counts(one)["trimtab_telemetry_waiting"] == 0)
    assert counts(one)["trimtab_telemetry_exported_total"] == 3


def test_a_connection_that_rested_too_long_is_opened_again(receiver, make):
    one = make()
    one.offer(records(1))
    until(lambda: counts(one)["trimtab_telemetry_exported_total"] == 1)
    # The server's end is gone without a word; the next sending finds out.
    one._aim.collector._connection.sock.shutdown(socket.SHUT_RDWR)
    one.offer(records(1))
    receiver.wait(2)
    assert counts(one)["trimtab_telemetry_retries_total"] == 0


def test_changed_settings_are_taken_at_once_also_while_it_waits(receiver, make):
    with Receiver() as other:
        receiver.answers = [(503, {"Retry-After": "60"}, b"")] * 9
        one = make()
        one.offer(records(1))
        until(lambda: receiver.seen)
        one.take(TelemetrySettings(url=other.url, interval_s=0.05, semconv="v0.1.0"))
        one.offer(records(1))
        spans = other.wait(2)
        assert "gen_ai.system" in named(spans[0].attributes), "it was made before"
        assert "gen_ai.provider.name" in named(spans[1].attributes)
        urls = [scope.schema_url for request in other.requests for scope in request.resource_spans[0].scope_spans]
        assert urls == ["https://opentelemetry.io/schemas/1.36.0", "https://opentelemetry.io/schemas/gen-ai/0.1.0"]


def test_a_shorter_interval_does_not_wait_for_the_end_of_the_longer_one(receiver, make):
    one = make(interval_s=600.0)
    one.offer(records(1))
    one.take(TelemetrySettings(url=receiver.url, interval_s=0.05))
    receiver.wait(1)


def test_refused_settings_change_nothing(receiver, make):
    one = make()
    with pytest.raises(ConfigError):
        one.take(TelemetrySettings(url="nowhere"))
    one.offer(records(1))
    receiver.wait(1)


class Store:
    def __init__(self, new):
        self.new = new

    def append(self, given):
        if isinstance(self.new, Exception):
            raise self.new
        return self.new

    def close(self):
        pass


def test_only_what_the_store_took_is_exported(receiver, make):
    one = make(interval_s=60.0)
    ExportingWriter(Store(0), one).append(records(1))
    with pytest.raises(ValueError):
        ExportingWriter(Store(ValueError()), one).append(records(1))
    assert len(one) == 0
    ExportingWriter(Store(1), one).append(records(1))
    assert len(one) == 1


def test_what_was_spilled_is_exported_once_the_store_has_it(receiver, make, tmp_path):
    one = make()
    spill = Spill(tmp_path, 10**6)
    assert spill.append([Entry(each) for each in records(2)]) == 2
    with ServingWriter(tmp_path) as store:
        writer = exporter.exporting(store, one)
        spill.drain(writer)
        writer.append(records(2))
    receiver.wait(2)
    until(lambda: len(one) == 0)
    assert len(receiver.spans) == 2, "what came again was there already"


@pytest.mark.parametrize("version", ["v1.36", "v0.1.0"])
def test_secrets_and_if_wished_personal_data_are_struck_out(receiver, make, version):
    secret = "sk-abcdefghij0123456789abcdefghij"
    bodies = ({"messages": [{"role": "user", "content": f"{secret} me@example.org"}], "stop": [secret]}, None)
    one = make(content=True, semconv=version)
    one.offer([samples.record(bodies, error=secret, tags={"t": secret})], personal_data=True)
    one.take(TelemetrySettings(url=receiver.url, interval_s=0.05, semconv=version))
    one.offer([samples.record(bodies, error=secret, tags={"t": secret})])
    text = str(receiver.wait(2))
    assert secret not in text and "me@example.org" not in text
    assert "redacted:api-key" in text


def test_no_log_is_louder_than_an_error(receiver, make, caplog):
    with caplog.at_level(logging.DEBUG):
        one = make(headers={"authorization": KEY})
        one.offer(records(1))
        receiver.wait(1)
        until(lambda: len(one) == 0)
    assert KEY not in caplog.text
