"""Keys and limits as clients meet them, over real sockets; and what a call is estimated at."""

import asyncio
import base64
import http.client
import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.conftest import CONFIG, Running, running, write_config
from tests.gateway.upstream import TEXT, FakeUpstream, Script, answer, usual
from trimtab.config import GatewaySettings
from trimtab.errors import StoreError, TrimtabError
from trimtab.gateway import keydb, limits
from trimtab.gateway.admission import Hold
from trimtab.gateway.chain import Notes
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import Key, mint
from trimtab.gateway.ledger import Ledger
from trimtab.gateway.limits import LimitRefused, Limits, input_tokens, secret_of
from trimtab.gateway.metrics import Meter
from trimtab.gateway.process import GatewayProcess
from trimtab.money import Usage
from trimtab.trace import EndState

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}]}
# The fake upstream's answer: 400 fresh tokens at 2 dollars a million, 600 cached at 0.5, 10 out at 8.
COST = 400 * 2000 + 600 * 500 + 10 * 8000


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A gateway that requires keys."""
    folder = tmp_path_factory.mktemp("limits")
    text = CONFIG.replace("[gateway]", '[gateway]\nkeys = "required"')
    with running(folder, text) as pair:
        yield pair


@pytest.fixture
def gateway(strict):
    strict.upstream.script = usual
    strict.upstream.seen.clear()
    return strict


@pytest.fixture
def new_key(gateway, request):
    """Makes keys named after the test; gives headers that carry the secret."""

    def make(name="", **fields):
        name = f"{request.node.name.partition('[')[0][:50]}{name}"
        secret = Ring(gateway.store).create(Key(name=name, **fields))
        return {"Authorization": f"Bearer {secret}"}, name

    return make


def used(gateway, name):
    with closing(Ledger(gateway.store)) as ledger:
        return ledger.used(Ring(gateway.store).get(name))


def settled(gateway, name, requests):
    """What the key has used, once so many calls were settled: the answer leaves before its settlement."""
    give_up = time.monotonic() + 20
    while (now := used(gateway, name)).day_requests < requests:
        assert time.monotonic() < give_up, now
        time.sleep(0.02)
    return now


def error_of(body):
    return json.loads(body)["error"]


def test_a_call_with_a_key_is_served_charged_and_recorded_without_its_secret(gateway, new_key):
    headers, name = new_key(day_nanodollars=10**9, requests_per_minute=9, tokens_per_minute=10**6)
    status, answered, _ = gateway.ask(HELLO, {**headers, "x-trimtab-tags": "trimtab.key=boss,trimtab.other=1,a=1"})
    assert status == 200
    call, _ = gateway.call(answered)
    assert call.tags == {"a": "1", "trimtab.key": name}, "nobody else writes our own tags"
    now = settled(gateway, name, 1)
    assert (now.day_nanodollars, now.day_tokens, now.held_nanodollars) == (COST, 1010, 0)
    assert (now.minute_requests, now.minute_tokens) in ((1, 1010), (0, 0))
    secret = headers["Authorization"].removeprefix("Bearer ").encode()
    stored = b"".join(path.read_bytes() for path in gateway.store.rglob("*") if path.is_file())
    assert secret not in stored and secret not in gateway.get("/metrics")[2]


@pytest.mark.parametrize("name", ["Authorization", "x-api-key"])
@pytest.mark.parametrize("model", ["fake-model", "keyed-model"])
def test_a_virtual_key_never_goes_upstream(gateway, new_key, name, model):
    bearer, _ = new_key(f"-{name}-{model}")
    secret = bearer["Authorization"].removeprefix("Bearer ")
    own = {"x-api-key": secret, "Authorization": "Bearer sk-mine"} if name == "x-api-key" else bearer
    assert gateway.ask({**HELLO, "model": model}, own)[0] == 200
    seen = gateway.upstream.seen[0]
    assert not [held for held in seen.headers.values() if secret in held]
    if model == "keyed-model":
        assert seen.headers["Authorization"] == "Bearer sk-of-the-gateway"
    else:
        assert seen.headers.get("Authorization") == ("Bearer sk-mine" if name == "x-api-key" else None)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer sk-other"}, {"Authorization": f"Bearer {mint()}"}, {"x-api-key": "tt-"}]
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/scores"])
def test_without_a_good_key_nothing_is_served(gateway, headers, path):
    status, answered, body = gateway.ask(HELLO, headers, path=path, method="GET" if "models" in path else "POST")
    assert (status, error_of(body)["code"], answered["www-authenticate"]) == (401, "invalid_api_key", "Bearer")
    assert gateway.upstream.seen == []
    if "chat" in path:
        assert gateway.call(answered)[0].end is EndState.REFUSED


@pytest.mark.parametrize("end", ["revoke", "expire", "rotate"])
def test_an_ended_key_is_refused_at_once_and_by_name(gateway, new_key, end):
    headers, name = new_key(f"-{end}")
    assert gateway.ask(HELLO, headers)[0] == 200
    ring = Ring(gateway.store)
    {"revoke": ring.revoke, "rotate": ring.rotate, "expire": lambda it: ring.expire(it, time.time_ns())}[end](name)
    status, answered, body = gateway.ask(HELLO, headers)
    assert status == 401 and f"key '{name}'" in error_of(body)["message"]
    call, _ = gateway.call(answered)
    assert (call.end, call.status, call.tags["trimtab.key"]) == (EndState.REFUSED, 401, name)


def test_a_model_outside_the_allow_list(gateway, new_key):
    headers, name = new_key(models=("fake-*",))
    assert gateway.ask(HELLO, headers)[0] == 200
    status, answered, body = gateway.ask({**HELLO, "model": "nobody-knows"}, headers)
    assert (status, error_of(body)["code"], error_of(body)["param"]) == (403, "model_not_allowed", "model")
    assert gateway.call(answered)[0].tags["trimtab.key"] == name
    listed = json.loads(gateway.ask(b"", headers, "GET", "/v1/models")[2])["data"]
    assert {model["id"] for model in listed} == {"fake-model"}


def test_too_many_requests_say_when_to_come_again(gateway, new_key):
    headers, name = new_key(requests_per_minute=1)
    assert gateway.ask(HELLO, headers)[0] == 200
    status, answered, body = gateway.ask(HELLO, headers)
    assert (status, error_of(body)["type"], error_of(body)["code"]) == (429, "requests", "rate_limit_exceeded")
    assert 1 <= int(answered["retry-after"]) <= 61
    assert len(gateway.upstream.seen) == 1
    call, _ = gateway.call(answered)
    assert (call.end, call.status, call.tags["trimtab.key"]) == (EndState.REFUSED, 429, name)
    assert b'trimtab_refusals_total{reason="requests_per_minute"}' in gateway.get("/metrics")[2]


def test_more_tokens_than_a_minute_has_are_refused_without_a_wait(gateway, new_key):
    headers, _ = new_key(tokens_per_minute=1000)
    status, answered, body = gateway.ask({**HELLO, "max_tokens": 1000}, headers)
    assert (status, error_of(body)["type"], "retry-after" in answered) == (429, "tokens", False)
    assert gateway.ask({**HELLO, "max_tokens": 10}, headers)[0] == 200


def test_a_spent_budget_is_402_until_tomorrow(gateway, new_key):
    headers, name = new_key(day_nanodollars=COST + 1000)
    small = {**HELLO, "max_tokens": 1}
    assert gateway.ask(small, headers)[0] == 200
    settled(gateway, name, 1)
    status, answered, body = gateway.ask(small, headers)
    assert (status, error_of(body)["code"]) == (402, "budget_exceeded")
    assert 0 < int(answered["retry-after"]) <= 86_400
    assert len(gateway.upstream.seen) == 1


def test_a_runaway_loop_is_stopped_and_only_it(gateway, new_key):
    headers, name = new_key(run_nanodollars=2 * COST)
    loop = {**headers, "x-trimtab-session": f"loop of {name}"}
    ends = []
    for number in range(4):
        ends.append(gateway.ask({**HELLO, "max_tokens": 1}, loop)[0])
        settled(gateway, name, min(number + 1, 2))
    assert ends == [200, 200, 402, 402]
    assert gateway.ask({**HELLO, "max_tokens": 1}, {**headers, "x-trimtab-session": f"another of {name}"})[0] == 200


def test_calls_at_once_never_pass_the_budget(gateway, new_key):
    """The estimate of each covers its cost, so what is admitted fits; and what was held comes free again."""
    estimate = 8 * 1000 * 20 + 2000 * input_tokens(json.dumps({**HELLO, "max_tokens": 20}).encode())
    headers, name = new_key(day_nanodollars=3 * estimate)
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    gateway.upstream.script = Script(body=answer(usage=usage), wait_s=5)
    seen = []

    def ask():
        seen.append(gateway.ask({**HELLO, "max_tokens": 20}, headers))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(status for status, _, _ in seen)
    assert codes == [200] * 3 + [402] * 5
    assert all(answered["retry-after"] == "1" for status, answered, _ in seen if status == 402)
    assert settled(gateway, name, 3).day_nanodollars == 3 * (10 * 2000 + 20 * 8000)
    gateway.upstream.script = usual
    assert gateway.ask({**HELLO, "max_tokens": 1}, headers)[0] == 200


@pytest.mark.parametrize("status", [400, 429, 500, "dead"])
def test_an_upstream_that_did_nothing_costs_nothing(gateway, new_key, status):
    headers, name = new_key(f"-{status}", day_nanodollars=10**9, tokens_per_minute=10**5)
    gateway.upstream.script = Script(status=500 if status == "dead" else status, body=b'{"error": {"message": "no"}}')
    model = "dead-model" if status == "dead" else "fake-model"
    assert gateway.ask({**HELLO, "model": model}, headers)[0] == (502 if status == "dead" else status)
    now = settled(gateway, name, 1)
    assert (now.day_nanodollars, now.held_nanodollars, now.minute_tokens) == (0, 0, 0)


def test_a_stream_is_charged_its_usage_and_a_cut_one_by_its_size(gateway, new_key):
    headers, name = new_key(day_nanodollars=10**9)
    gateway.ask({**HELLO, "stream": True}, headers)
    assert settled(gateway, name, 1).day_nanodollars == COST
    gateway.upstream.script = Script(events=TEXT[:4], end="abort")
    gateway.ask({**HELLO, "stream": True}, headers)
    now = settled(gateway, name, 2)
    assert now.held_nanodollars == 0
    assert 1010 < now.day_tokens < 1010 + 200
    assert COST < now.day_nanodollars < COST + 200 * 8000


def test_a_client_that_hangs_up_gives_back_what_it_did_not_use(gateway, new_key):
    headers, name = new_key(day_nanodollars=10**12)
    gateway.upstream.script = Script(body=answer(), wait_s=30)
    connection = http.client.HTTPConnection(gateway.host, timeout=20)
    connection.request("POST", "/v1/chat/completions", json.dumps({**HELLO, "max_tokens": 10**6}), headers)
    give_up = time.monotonic() + 20
    while used(gateway, name).held_nanodollars < 8 * 10**9 or not gateway.upstream.seen:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    connection.close()
    now = settled(gateway, name, 1)
    assert now.held_nanodollars == 0
    # It was sent, so its input counts.
    assert 0 < now.day_nanodollars < 10**6


def test_a_complete_answer_without_usage_is_charged_by_its_size(gateway, new_key):
    headers, name = new_key(day_nanodollars=10**9)
    gateway.upstream.script = Script(body=answer(usage=None))
    assert gateway.ask(HELLO, headers)[0] == 200
    assert 20 < settled(gateway, name, 1).day_tokens < 400


def test_an_answer_that_no_upstream_gave_costs_nothing():
    """A step answered: the usage in its answer is of another call."""
    account = SimpleNamespace(notes=Notes(), usage=Usage(input_tokens=1000, output_tokens=10), response=b"{}")
    call = SimpleNamespace(end=EndState.COMPLETE, status=200, cost_nanodollars=COST)
    assert limits.charge(None, call, account) == (0, 0)


def test_an_unknown_price_reserves_nothing_and_says_so(gateway, new_key):
    headers, name = new_key(day_nanodollars=1)
    assert gateway.ask({**HELLO, "model": "nobody-knows"}, headers)[0] == 200
    assert settled(gateway, name, 1).day_nanodollars == 0
    assert b'trimtab_unpriced_reservations_total{endpoint="unpriced"}' in gateway.get("/metrics")[2]


def test_the_openai_client_understands_each_refusal(gateway, new_key):
    headers, name = new_key(models=("fake-model",), requests_per_minute=2, day_nanodollars=10**9)
    asked = {"model": "fake-model", "messages": HELLO["messages"], "max_tokens": 5}

    def client(key):
        return openai.OpenAI(base_url=gateway.url, api_key=key, max_retries=0, timeout=20)

    with client(headers["Authorization"].removeprefix("Bearer ")) as mine, client(mint()) as strange:
        assert mine.chat.completions.create(**asked).usage.total_tokens == 1010
        with pytest.raises(openai.AuthenticationError):
            strange.chat.completions.create(**asked)
        with pytest.raises(openai.PermissionDeniedError) as refused:
            mine.chat.completions.create(**{**asked, "model": "hasty-model"})
        assert refused.value.code == "model_not_allowed"
        with pytest.raises(openai.APIStatusError) as refused:
            mine.chat.completions.create(**{**asked, "max_tokens": 10**6})
        assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
        assert list(mine.chat.completions.create(**asked, stream=True))
        with pytest.raises(openai.RateLimitError) as refused:
            mine.chat.completions.create(**asked)
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
    assert settled(gateway, name, 2).day_nanodollars == 2 * COST


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A gateway of two worker processes, which records nothing."""
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    text = CONFIG.replace("[gateway]", '[gateway]\nkeys = "required"\nworkers = 2')
    text = text.replace("[store]", '[store]\nrecord = "off"')
    with FakeUpstream() as upstream, GatewayProcess(write_config(tmp_path, upstream, text)) as process:
        yield Running(upstream, process, tmp_path / "store")


def test_workers_know_what_others_on_the_same_file_admitted(two):
    ring = Ring(two.store)
    headers = {"Authorization": "Bearer " + ring.create(Key(name="counted", requests_per_minute=2))}
    with closing(Ledger(two.store)) as other:
        assert isinstance(other.reserve(ring.get("counted"), "t", 0, 0), Hold)
    assert [two.ask(HELLO, headers)[0] for _ in range(2)] == [200, 429]


def test_while_another_process_writes_a_call_waits_and_the_loop_does_not(two):
    headers = {"Authorization": "Bearer " + Ring(two.store).create(Key(name="k", requests_per_minute=100))}
    answers = []
    with closing(keydb.connect(two.store, wait_s=1)) as writer:
        with keydb.transaction(writer):
            thread = threading.Thread(target=lambda: answers.append(two.ask(HELLO, headers)[0]))
            thread.start()
            while b"trimtab_ledger_busy_total " not in two.get("/metrics")[2]:
                time.sleep(0.02)
            assert answers == []
        thread.join()
    assert answers == [200]


def test_gateways_with_workers_on_one_folder_share_what_a_key_may_do(two, tmp_path):
    """Two of them; of one a worker is killed in the middle of a call."""
    ring = Ring(two.store)
    counted = {"Authorization": "Bearer " + ring.create(Key(name="counted", requests_per_minute=5))}
    estimate = 2000 * input_tokens(json.dumps({**HELLO, "max_tokens": 20}).encode()) + 8000 * 20
    paying = {"Authorization": "Bearer " + ring.create(Key(name="paying", day_nanodollars=estimate))}
    with GatewayProcess(tmp_path / "trimtab.toml") as second:
        other = Running(two.upstream, second, two.store)
        codes = [gateway.ask(HELLO, counted)[0] for gateway in (two, other, other, two, other, two, other)]
        assert codes == [200] * 5 + [429] * 2
        two.upstream.script = Script(body=answer(), wait_s=30)
        connection = http.client.HTTPConnection(two.host, timeout=20)
        connection.request("POST", "/v1/chat/completions", json.dumps({**HELLO, "max_tokens": 20}), paying)
        while len(two.upstream.seen) < 6:
            time.sleep(0.02)
        for worker in Path(f"/proc/{two.process.pid}/task/{two.process.pid}/children").read_text().split():
            os.kill(int(worker), signal.SIGKILL)
        connection.close()
        status, answered, _ = other.ask({**HELLO, "max_tokens": 20}, paying)
        assert (status, answered["retry-after"]) == (402, "1")
        ring.limit("paying", day_nanodollars=2 * estimate)
        two.upstream.script = usual
        assert other.ask({**HELLO, "max_tokens": 20}, paying)[0] == 200


def test_a_gateway_killed_and_started_again_goes_on_from_what_was_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    text = CONFIG.replace("[gateway]", '[gateway]\nkeys = "required"').replace("[store]", '[store]\nrecord = "off"')
    store = tmp_path / "store"
    headers = {"Authorization": "Bearer " + Ring(store).create(Key(name="k", day_nanodollars=3 * COST))}
    small = {**HELLO, "max_tokens": 1}
    with FakeUpstream() as upstream:
        config = write_config(tmp_path, upstream, text)
        with GatewayProcess(config) as process:
            first = Running(upstream, process, store)
            assert [first.ask(small, headers)[0] for _ in range(3)] == [200] * 3
            settled(first, "k", 3)
            os.kill(process.pid, signal.SIGKILL)
        with GatewayProcess(config) as process:
            assert Running(upstream, process, store).ask(small, headers)[0] == 402
            Ring(store).limit("k", day_nanodollars=5 * COST)
            assert Running(upstream, process, store).ask(small, headers)[0] == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_that_serves_alone_shares_its_keys_with_no_other(strict, tmp_path, monkeypatch, workers):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    text = CONFIG.replace("[gateway]", f'[gateway]\nkeys = "optional"\nworkers = {workers}')
    text = text.replace("[store]", '[store]\nrecord = "off"').replace("{store}", str(strict.store))
    config = write_config(tmp_path, strict.upstream, text)
    with pytest.raises(TrimtabError, match=r"another gateway keeps the keys.*workers"):
        GatewayProcess(config).start()


def test_optional_keys_limit_those_who_show_one(tmp_path):
    settings = GatewaySettings(keys="optional")
    keeper = Limits(settings, tmp_path, Meter())
    secret = Ring(tmp_path).create(Key(name="k"))
    assert keeper.identify([]) is None
    assert keeper.identify([(b"authorization", b"Bearer sk-client")]) is None
    assert keeper.identify([(b"authorization", f"bearer  {secret}".encode())]).name == "k"
    with pytest.raises(LimitRefused) as refused:
        keeper.identify([(b"x-api-key", b"tt-unknown")])
    assert refused.value.status == 401
    kept = [(b"authorization", b"Bearer sk-client"), (b"x-other", b"tt-x")]
    assert keeper.without_keys([*kept, (b"x-api-key", secret.encode())]) == tuple(kept)
    keeper.close()


def test_off_is_as_if_there_were_no_keys(tmp_path):
    keeper = Limits(GatewaySettings(), tmp_path, Meter())
    headers = [(b"authorization", b"Bearer tt-unknown")]
    assert keeper.identify(headers) is None
    assert keeper.without_keys(headers) == tuple(headers)
    assert list(tmp_path.iterdir()) == [], "no database is made"
    keeper.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_database_that_fails_refuses_calls(tmp_path, shared):
    keeper = Limits(GatewaySettings(keys="required"), tmp_path, Meter(), shared=shared)
    secret = Ring(tmp_path).create(Key(name="k"))
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        db.execute("DROP TABLE secrets")
    with pytest.raises(LimitRefused) as refused:
        keeper.identify([(b"x-api-key", secret.encode())])
    assert (refused.value.status, refused.value.headers) == (503, ((b"retry-after", b"1"),))
    assert str(tmp_path) not in str(refused.value)
    keeper.close()


@pytest.mark.parametrize("end", ["the file comes free", "the gateway stops"])
def test_a_settlement_waits_for_the_file(tmp_path, monkeypatch, end):
    Ring(tmp_path).create(Key(name="k", day_nanodollars=100))
    key = Ring(tmp_path).get("k")
    monkeypatch.setattr(limits, "charge", lambda reservation, call, account: (1, 70))

    async def scenario():
        keeper = Limits(GatewaySettings(keys="required"), tmp_path, Meter(), shared=True)
        reservation = limits.Reservation(await keeper._take(key, "t", 1, 80), 1)
        with closing(keydb.connect(tmp_path, wait_s=1)) as writer, closing(Ledger(tmp_path)) as reader:
            with keydb.transaction(writer):
                for _ in range(3):
                    keeper.settle(reservation, None, None)
                    await asyncio.sleep(0.01)
                assert (reader.used(key).day_requests, reader.used(key).held_nanodollars) == (0, 80)
            give_up = time.monotonic() + 20
            while end == "the file comes free" and reader.used(key).day_requests < 3:
                assert time.monotonic() < give_up
                await asyncio.sleep(0.02)
        keeper.close()

    asyncio.run(scenario())
    with closing(Ledger(tmp_path)) as ledger:
        now = ledger.used(key)
    assert (now.day_requests, now.day_nanodollars, now.held_nanodollars) == (3, 210, 0)


def test_the_file_is_tidied_while_calls_go_on(tmp_path, monkeypatch):
    Ring(tmp_path).create(Key(name="k", requests_per_minute=10**6))
    key = Ring(tmp_path).get("k")
    monkeypatch.setattr(limits, "charge", lambda reservation, call, account: (1, 1))
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        db.execute("INSERT INTO rates VALUES (1, 5, 1, 1)")
        db.commit()

    async def scenario():
        keeper = Limits(GatewaySettings(keys="required"), tmp_path, Meter(), shared=True)
        for _ in range(limits._TIDY_EVERY):
            keeper.settle(limits.Reservation(await keeper._take(key, "t", 1, 0), 1), None, None)
        while keeper._tidying is None:
            await asyncio.sleep(0.01)
        keeper.close()

    asyncio.run(scenario())
    with closing(sqlite3.connect(keydb.path_of(tmp_path))) as db:
        assert db.execute("SELECT COUNT(*) FROM rates WHERE second = 5").fetchone() == (0,)
        assert db.execute("SELECT SUM(requests) FROM spending").fetchone() == (limits._TIDY_EVERY,)


@pytest.mark.parametrize("shared", [False, True])
def test_a_damaged_file_stops_the_start(tmp_path, shared):
    keydb.path_of(tmp_path).write_bytes(b"not a database " * 100)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"keys\.sqlite"):
            Limits(GatewaySettings(keys="optional"), tmp_path, Meter(), shared=shared)


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"accept"]), st.binary(max_size=40))))
def test_any_header_bytes_give_a_key_or_none(headers):
    secret = secret_of(headers)
    assert secret is None or secret.startswith("tt-")


@given(st.text(max_size=3000))
def test_input_is_estimated_by_its_bytes(text):
    body = json.dumps({"content": text}, ensure_ascii=False).encode()
    if b"base64" not in body:
        assert len(body) / 3 <= input_tokens(body) <= len(body) / 3 + 1
    assert 0 < input_tokens(body) <= len(body)


def test_media_count_by_the_piece_and_not_by_their_bytes():
    image = "data:image/png;base64," + base64.b64encode(bytes(300_000)).decode()
    body = json.dumps({"messages": [{"content": [{"type": "image_url", "image_url": {"url": image}}] * 2}]}).encode()
    assert 3000 < input_tokens(body) < 3200
    prose = json.dumps({"content": "base64 is long. " * 3000}).encode()
    assert input_tokens(prose) == len(prose) // 3 + 1


@given(
    most=st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
    n=st.none() | st.integers() | st.booleans(),
)
def test_whatever_a_client_writes_as_bound_the_reserve_is_a_sane_number(most, n):
    keeper = Limits(GatewaySettings(assumed_output_tokens=100), None, Meter())
    head = limits.wire.Head(model="m", max_tokens=most, n=n)
    tokens = keeper._output_tokens(head)
    assert 100 <= tokens <= 2**31 if type(most) is not int or most <= 0 else min(most, 2**31) <= tokens <= 2**31


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"])
def test_clients_of_messages_read_a_refusal_in_their_own_shape(gateway, path):
    status, _, body = gateway.ask({**HELLO, "max_tokens": 5}, path=path)
    assert (status, json.loads(body)["type"], error_of(body)["type"]) == (401, "error", "authentication_error")
    assert not gateway.upstream.seen


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/responses"])
def test_every_dialect_is_limited_by_the_key(gateway, new_key, path):
    headers, name = new_key(path.replace("/", "-"), models=("fake-model",), requests_per_minute=1)
    body = {"model": "fake-model", "max_tokens": 5, "prompt": "hi", "input": "hi", "messages": HELLO["messages"]}
    wanted = {
        "/v1/completions": ("prompt", "max_tokens"),
        "/v1/embeddings": ("input",),
        "/v1/messages": ("messages", "max_tokens"),
        "/v1/responses": ("input",),
    }[path]
    body = {"model": "fake-model", **{field: body[field] for field in wanted}}
    assert gateway.ask({**body, "model": "keyed-model"}, headers, path=path)[0] == 403
    gateway.ask(body, headers, path=path)
    settled(gateway, name, 1)
    assert gateway.ask(body, headers, path=path)[0] == 429
    assert all("tt-" not in str(seen.headers) for seen in gateway.upstream.seen)


def test_what_is_passed_on_needs_a_key_that_could_hold_nothing_back(gateway, new_key):
    gateway.upstream.script = Script(body=b"{}")
    headers, name = new_key(requests_per_minute=1)
    answer = gateway.ask(b"", headers, method="GET", path="/v1/files")
    assert answer[0] == 200
    assert settled(gateway, name, 1).day_nanodollars == 0
    assert gateway.ask(b"", headers, method="GET", path="/v1/files")[0] == 429
    assert len(gateway.upstream.seen) == 1 and "tt-" not in str(gateway.upstream.seen[0].headers)
    assert gateway.call(answer[1])[0].tags["trimtab.key"] == name
    for number, limit in enumerate(({"models": ("m",)}, {"day_nanodollars": 10**9}, {"tokens_per_minute": 9})):
        limited, _ = new_key(f"-{number}", **limit)
        status, _, body = gateway.ask(b"", limited, method="GET", path="/v1/files")
        assert (status, error_of(body)["code"]) == (403, "passthrough_not_allowed")
