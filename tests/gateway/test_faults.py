"""The fault list, over real sockets: the answer is whole or the error clear, the trace has the right end, the cost is
that of who answered, the key pays that and holds nothing back, and no task or upstream connection is left over."""

import contextlib
import gzip
import json
import socket
import time
import zlib
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.gateway.conftest import Running
from tests.gateway.faults import CLOSE, HANG, LAST, RESET, FaultServer, Served, piece, plain, stream, until
from tests.gateway.upstream import DONE, TEXT, USAGE_CHUNK, WORDS, answer, chunk
from trimtab.deployment import BreakerPolicy
from trimtab.gateway import upstream as upstream_module
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import Key
from trimtab.gateway.ledger import Ledger
from trimtab.trace import EndState

CONFIG = """
endpoints = [
  {{ name = "alone", url = "{alone}", model = "alone", price = "dear", {hasty} }},
  {{ name = "first", url = "{first}", model = "first", price = "dear", {hasty} }},
  {{ name = "second", url = "{second}", model = "second", price = "cheap" }},
  {{ name = "patient", url = "{patient}", model = "patient", price = "dear" }},
  {{ name = "dead", url = "http://127.0.0.1:{closed}/v1", model = "dead" }},
  {{ name = "deaf", url = "http://127.0.0.1:{deaf}/v1", model = "deaf", connect_s = 0.5 }},
  {{ name = "gone", url = "http://127.0.0.1:{closed}/v1", model = "gone" }},
]
[fallbacks]
first = ["second"]
gone = ["second"]
[retry]
attempts = 3
deadline_s = 20
wait_s = 0.02
max_wait_s = 2
[breaker]
failures = 1000000
[gateway]
keys = "optional"
[store]
folder = "{store}"
[prices]
version = "test-1"
[prices.models]
dear = {{ input = 2.0, cache_read = 0.5, output = 8.0 }}
cheap = {{ input = 1.0, output = 1.0 }}
"""
HASTY = "timeout_s = 1.5, first_token_s = 1.5, stall_s = 1.0, stream_s = 4.0"
DEAR = 400 * 2000 + 600 * 500 + 10 * 8000
CHEAP = 1010 * 1000
ASKED = {"messages": [{"role": "user", "content": "hi"}]}
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\ntraceparent: 00-{}-{}-01\r\n\r\n"
GOOD = [plain(answer())]
GOOD_STREAM = [*stream(*TEXT, USAGE_CHUNK, DONE), LAST]
SHOWN = b"".join([*TEXT, DONE])
IN_BAND = b'data: {"error": {"message": "overloaded", "type": "overloaded_error"}}\n\n'
HTML = b"<html><body>Welcome to our new web site</body></html>"
ROLE, SPOKEN = TEXT[:1], TEXT[:4]


@pytest.fixture(scope="module")
def deaf():
    """The port of a server that takes no connection: its queue is full, and nobody empties it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def pair(tmp_path_factory, deaf):
    folder = tmp_path_factory.mktemp("faults")
    with FaultServer() as server, socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
        unused.close()
        path = folder / "trimtab.toml"
        urls = {name: server.url(name) for name in ("alone", "first", "second", "patient")}
        path.write_text(CONFIG.format(**urls, hasty=HASTY, closed=closed, deaf=deaf, store=folder / "store"))
        with Served(path) as served:
            running = Running(server, served, folder / "store")
            limits = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9, "day_nanodollars": 10**15}
            secret = Ring(running.store).create(Key(name="payer", **limits, run_nanodollars=10**15))
            running.payer = {"Authorization": f"Bearer {secret}"}
            yield running


@pytest.fixture
def gateway(pair):
    pair.upstream.clear()
    yield pair
    # What is still connected upstream waits in the pool, and nothing else.
    until(lambda: pair.process.quiet and pair.upstream.connections == pair.process.idle)


def asked(gateway, model, acts=None, streamed=False, second=None):
    """(status, headers, body, call) of one request to `model`, whose endpoint acts so."""
    if acts is not None:
        gateway.upstream.acts[model] = acts
    gateway.upstream.acts["second"] = second or (GOOD_STREAM if streamed else GOOD)
    body = {"model": model, **ASKED, **({"stream": True} if streamed else {})}
    before = paid(gateway)
    status, headers, content = gateway.ask(body, gateway.payer)
    call = gateway.call(headers)[0]
    until(lambda: paid(gateway).day_requests > before.day_requests)
    after = paid(gateway)
    charged = after.day_nanodollars - before.day_nanodollars
    assert after.held_nanodollars == 0
    if call.cost_nanodollars is not None:
        assert charged == call.cost_nanodollars
    elif call.end is EndState.UPSTREAM_ERROR and status >= 400 and status != 504:
        assert charged == 0
    else:
        # It was begun, and nobody said what it used: about what its bytes come to; 0 where it has no price.
        assert (charged > 0) is (model != "deaf")
        assert charged <= len(json.dumps(body)) * 2000 + len(content) * 8000
    return status, headers, content, call


def paid(gateway):
    """What the key has used, as the command line would see it."""
    with contextlib.closing(Ledger(gateway.store)) as ledger:
        return ledger.used(Ring(gateway.store).get("payer"))


def once(*acts, then):
    """The fault at the first request, a good answer after it."""
    return lambda number: list(acts) if number == 1 else then


# What breaks before a word of the answer is out: name -> (acts for a plain request, acts for a streamed one,
# what the client gets where there is no other endpoint: status, code; how often the endpoint is asked).
EARLY = {
    "429": ([plain(b'{"error":{"message":"slow down","code":"c"}}', 429)], 429, "c", 3),
    "429-come-tomorrow": ([plain(b"{}", 429, headers=["Retry-After: 86400"])], 429, "upstream_429", 1),
    "500": ([plain(b'{"error":{"message":"m","code":"c"}}', 500)], 500, "c", 3),
    "502": ([plain(HTML, 502, "text/html")], 502, "upstream_502", 3),
    "503": ([plain(b"", 503)], 503, "upstream_503", 3),
    "reset-before-headers": ([RESET], 502, "upstream_unreachable", 3),
    "closed-before-headers": ([CLOSE], 502, "upstream_unreachable", 3),
    "not-http": ([b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE], 502, "upstream_unreachable", 3),
    "hang-before-headers": ([HANG], 504, "upstream_timeout", 1),
    "truncated-json": ([plain(answer()[:-40])], 502, "upstream_not_json", 1),
    "html-page": ([plain(HTML, kind="text/html")], 502, "upstream_not_json", 1),
    "error-in-a-200": ([plain(b'{"error":{"message":"m","code":"c"}}')], 502, "c", 3),
    "redirect": ([plain(b"", 302, headers=["Location: /elsewhere"])], 502, "upstream_redirect", 1),
}
EARLY_PLAIN = {
    "reset-mid-body": ([plain(answer()[:50], length=400), RESET], 502, "upstream_cut", 3),
    "closed-mid-body": ([plain(answer()[:50], length=400), CLOSE], 502, "upstream_cut", 3),
    "slow-drip": (
        [plain(answer()[:9], length=400), *[part for _ in range(40) for part in (b"x", 0.1)]],
        504,
        "upstream_timeout",
        1,
    ),
}
EARLY_STREAMED = {
    "reset-after-the-role": ([*stream(*ROLE), RESET], 502, "stream_cut", 3),
    "cut-after-the-role": ([*stream(*ROLE), LAST], 502, "stream_cut", 3),
    "done-after-the-role": ([*stream(*ROLE, DONE), LAST], 502, "stream_cut", 3),
    "empty-stream": ([*stream(), LAST], 502, "stream_cut", 3),
    "silence-after-the-role": ([*stream(*ROLE), HANG], 504, "upstream_timeout", 1),
    "drip-of-comments": (
        [*stream(), *[part for _ in range(40) for part in (piece(b": ping\n\n"), 0.1)]],
        504,
        "upstream_timeout",
        1,
    ),
    "error-event-first": ([*stream(*ROLE, IN_BAND), LAST], 529, None, 3),
    "bad-chunk-size": ([*stream(*ROLE), 0.3, b"zz\r\n", CLOSE], 502, "stream_cut", 3),
    "stream-under-a-wrong-type": ([*stream(*TEXT, DONE, kind="text/plain"), LAST], 502, "upstream_not_json", 1),
}
EITHER = [
    *(
        pytest.param(*case, streamed, id=f"{name}-{kind}")
        for name, case in EARLY.items()
        for streamed, kind in ((False, "plain"), (True, "stream"))
    ),
    *(pytest.param(*case, False, id=name) for name, case in EARLY_PLAIN.items()),
    *(pytest.param(*case, True, id=name) for name, case in EARLY_STREAMED.items()),
]


@pytest.mark.parametrize(("acts", "status", "code", "tries", "streamed"), EITHER)
def test_alone_the_error_is_clear(gateway, acts, status, code, tries, streamed):
    got, headers, body, call = asked(gateway, "alone", acts, streamed)
    assert got == status
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["error"].get("code") == code
    assert (headers["x-trimtab-endpoint"], headers["x-trimtab-fallback"]) == ("alone", "false")
    assert len(gateway.upstream.hits["alone"]) == tries
    assert call.end is (EndState.CUT if code == "stream_cut" else EndState.UPSTREAM_ERROR)
    assert (call.status, call.cost_nanodollars, call.raw_usage) == (status, None, None)
    assert call.error
    assert call.tags.get("trimtab.attempts", "").count("alone:") == (tries if tries > 1 else 0)


@pytest.mark.parametrize(("acts", "status", "code", "tries", "streamed"), EITHER)
def test_with_a_fallback_the_answer_is_whole(gateway, acts, status, code, tries, streamed):
    got, headers, body, call = asked(gateway, "first", acts, streamed)
    assert (got, body) == (200, SHOWN if streamed else answer())
    assert (headers["x-trimtab-endpoint"], headers["x-trimtab-fallback"]) == ("second", "true")
    assert gateway.upstream.hits["second"][0].json["model"] == "second"
    assert (call.end, call.endpoint, call.cost_nanodollars) == (EndState.COMPLETE, "second", CHEAP)
    assert call.tags["trimtab.attempts"].endswith(", second:200")
    assert call.tags["trimtab.fallback"] == "true"


@pytest.mark.parametrize("streamed", [False, True])
def test_connection_refused(gateway, streamed):
    got, _, body, call = asked(gateway, "dead", streamed=streamed)
    assert (got, json.loads(body)["error"]["code"]) == (502, "upstream_unreachable")
    assert (call.end, call.cost_nanodollars) == (EndState.UPSTREAM_ERROR, None)
    got, _, body, call = asked(gateway, "gone", streamed=streamed)
    assert (got, body) == (200, SHOWN if streamed else answer())
    assert (call.endpoint, call.cost_nanodollars) == ("second", CHEAP)


def test_a_connection_that_is_not_taken(gateway):
    got, _, body, call = asked(gateway, "deaf")
    assert (got, json.loads(body)["error"]["code"]) == (504, "upstream_timeout")
    assert "took no connection within 0.5 s" in call.error
    assert (call.end, call.cost_nanodollars) == (EndState.UPSTREAM_ERROR, None)
    assert 500 <= call.duration_ms < 60_000


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["429", "500", "502", "503", "reset-before-headers", "closed-before-headers"])
def test_a_fault_that_passes_is_not_seen(gateway, name, streamed):
    good = GOOD_STREAM if streamed else GOOD
    got, headers, body, call = asked(gateway, "alone", once(*EARLY[name][0], then=good), streamed)
    assert (got, body) == (200, SHOWN if streamed else answer())
    assert headers["x-trimtab-fallback"] == "false"
    assert (call.end, call.cost_nanodollars) == (EndState.COMPLETE, DEAR)
    assert len(gateway.upstream.hits["alone"]) == 2


def test_retry_after_is_waited_for(gateway):
    busy = plain(b"{}", 429, headers=["Retry-After: 1"])
    got, _, _, call = asked(gateway, "alone", once(busy, then=GOOD))
    before, after = gateway.upstream.hits["alone"]
    assert got == 200 and after.at - before.at >= 1
    assert call.tags["trimtab.attempts"] == "alone:429, alone:200"
    assert call.overhead_ms < call.duration_ms - 1000


def test_a_longer_retry_after_goes_to_the_client_at_once(gateway):
    acts, *_ = EARLY["429-come-tomorrow"]
    assert asked(gateway, "alone", acts)[1]["retry-after"] == "86400"


@pytest.mark.parametrize("how", [[RESET], [CLOSE], [LAST]], ids=["reset", "closed", "ended"])
@pytest.mark.parametrize("said", range(2, len(TEXT)))
def test_a_stream_cut_after_any_word_never_looks_whole(gateway, said, how):
    _, _, body, call = asked(gateway, "first", [*stream(*TEXT[:said]), *how], streamed=True)
    assert body.startswith(b"".join(TEXT[:said])) and b"[DONE]" not in body
    assert json.loads(body.split(b"data: ")[-1])["error"]["code"] == "stream_cut"
    assert (call.end, call.endpoint, call.usage.estimated) == (EndState.CUT, "first", True)
    assert call.cost_nanodollars > 0
    assert "second" not in gateway.upstream.hits


LATE = {
    "stall": ([*stream(*SPOKEN), HANG], EndState.STALLED, "stream_stalled"),
    "error-event": ([*stream(*SPOKEN, IN_BAND, *TEXT[4:], DONE), LAST], EndState.UPSTREAM_ERROR, None),
    "half-event": ([*stream(*SPOKEN, TEXT[4][:25]), RESET], EndState.CUT, "stream_cut"),
    "done-without-finish": ([*stream(*SPOKEN, DONE), LAST], EndState.CUT, "stream_cut"),
    "bad-chunk-size": ([*stream(*SPOKEN), 0.3, b"zz\r\n", CLOSE], EndState.CUT, "stream_cut"),
    "drip-without-end": (
        [*stream(*SPOKEN), *[part for _ in range(40) for part in (piece(TEXT[3]), 0.2)]],
        EndState.CUT,
        "stream_cut",
    ),
}


@pytest.mark.parametrize(("acts", "end", "code"), LATE.values(), ids=LATE)
def test_what_breaks_after_the_first_word_is_an_error_event(gateway, acts, end, code):
    got, headers, body, call = asked(gateway, "first", acts, streamed=True)
    assert (got, headers["content-type"]) == (200, "text/event-stream")
    assert body.startswith(b"".join(SPOKEN)) and b"[DONE]" not in body
    assert json.loads(body.split(b"data: ")[-1])["error"].get("code") == code
    assert (call.end, call.endpoint, call.usage.estimated) == (end, "first", True)
    assert call.cost_nanodollars > 0
    assert call.error and "second" not in gateway.upstream.hits
    until(lambda: len(gateway.upstream.hits["first"]) == 1)


def test_a_malformed_line_in_a_healthy_stream_passes(gateway):
    broken = b"data: {not json\n\n"
    for place in (0, 3):
        events = [*TEXT[:place], broken, *TEXT[place:]]
        _, _, body, call = asked(gateway, "alone", [*stream(*events, USAGE_CHUNK, DONE), LAST], streamed=True)
        assert body == b"".join([*events, DONE])
        assert (call.end, call.cost_nanodollars) == (EndState.COMPLETE, DEAR)


def test_a_stream_that_comes_byte_by_byte_is_whole(gateway):
    whole = b"".join([*TEXT, USAGE_CHUNK, DONE])
    acts = [*stream(*(whole[at : at + 1] for at in range(len(whole)))), LAST]
    _, _, body, call = asked(gateway, "alone", acts, streamed=True)
    assert (body, call.end, call.cost_nanodollars) == (SHOWN, EndState.COMPLETE, DEAR)


def test_two_dones_are_one(gateway):
    _, _, body, call = asked(gateway, "alone", [*stream(*TEXT, USAGE_CHUNK, DONE, DONE), LAST], streamed=True)
    assert (body, call.end, call.cost_nanodollars) == (SHOWN, EndState.COMPLETE, DEAR)


def test_an_answer_under_a_wrong_content_type_passes(gateway):
    got, _, body, call = asked(gateway, "alone", [plain(answer(), kind="text/plain")])
    assert (got, body, call.end, call.cost_nanodollars) == (200, answer(), EndState.COMPLETE, DEAR)


def test_a_very_large_body_passes_and_a_larger_one_is_refused(gateway, monkeypatch):
    large = answer(message={"role": "assistant", "content": "x" * 2_000_000})
    got, _, body, call = asked(gateway, "patient", [plain(large)])
    assert (got, body == large, call.cost_nanodollars) == (200, True, DEAR)
    monkeypatch.setattr(upstream_module, "_MAX_ANSWER_BYTES", 1_000_000)
    got, _, body, call = asked(gateway, "patient", [plain(large)])
    assert (got, json.loads(body)["error"]["code"]) == (502, "upstream_too_large")
    assert (call.end, call.cost_nanodollars) == (EndState.UPSTREAM_ERROR, None)


@pytest.mark.parametrize("packed", [gzip.compress(answer()), zlib.compress(answer())], ids=["gzip", "deflate"])
def test_a_packed_answer_comes_unpacked(gateway, packed):
    name = "gzip" if packed.startswith(b"\x1f\x8b") else "deflate"
    got, headers, body, call = asked(gateway, "alone", [plain(packed, headers=[f"Content-Encoding: {name}"])])
    assert (got, body, call.cost_nanodollars) == (200, answer(), DEAR)
    assert "content-encoding" not in headers


def test_a_bomb_and_a_broken_pack_are_refused(gateway, monkeypatch):
    monkeypatch.setattr(upstream_module, "_MAX_ANSWER_BYTES", 1_000_000)
    for packed in (gzip.compress(b" " * 50_000_000), b"\x1f\x8b no such pack"):
        got, _, body, call = asked(gateway, "patient", [plain(packed, headers=["Content-Encoding: gzip"])])
        assert (got, call.end, call.cost_nanodollars) == (502, EndState.UPSTREAM_ERROR, None)
        assert json.loads(body)["error"]["code"] in ("upstream_too_large", "upstream_cut")


@pytest.mark.parametrize("usage", [None, "lots", [], {}, 7, {"prompt_tokens": "many"}, {"prompt_tokens": -5}], ids=str)
@pytest.mark.parametrize("streamed", [False, True])
def test_usage_that_is_missing_or_misshapen_costs_unknown_and_never_0(gateway, usage, streamed):
    acts = (
        [*stream(*TEXT, *([chunk(usage=usage)] if usage else []), DONE), LAST]
        if streamed
        else [plain(answer(usage=usage))]
    )
    got, headers, body, call = asked(gateway, "alone", acts, streamed)
    assert got == 200 and (DONE in body if streamed else body == answer(usage=usage))
    assert (call.end, call.cost_nanodollars, call.price_table) == (EndState.COMPLETE, None, "")
    assert "x-trimtab-cost" not in headers


@pytest.mark.parametrize("streamed", [False, True])
def test_primary_dead_and_fallback_slow(gateway, streamed):
    good = GOOD_STREAM if streamed else GOOD
    got, _, body, call = asked(gateway, "gone", streamed=streamed, second=[1.2, *good])
    assert (got, body) == (200, SHOWN if streamed else answer())
    assert (call.end, call.cost_nanodollars) == (EndState.COMPLETE, CHEAP)
    assert call.duration_ms >= 1200


def test_primary_hung_and_fallback_too_slow_share_one_deadline(gateway):
    live = gateway.process.gateway.services.live
    before = live.serving.deployment
    gateway.process.swap(msgspec.structs.replace(before, retry=msgspec.structs.replace(before.retry, deadline_s=2.5)))
    try:
        got, _, body, call = asked(gateway, "first", [HANG], second=[HANG])
    finally:
        gateway.process.swap(before)
    assert (got, json.loads(body)["error"]["code"]) == (504, "upstream_timeout")
    assert call.tags["trimtab.attempts"] == "first:upstream_timeout, second:deadline_exceeded"
    assert 2400 < call.duration_ms < 8000
    assert all(hits[0].gone.wait(5) for hits in gateway.upstream.hits.values())


def leaves(gateway, streamed, after_s=0.0):
    """Ask `patient` and hang up `after_s` later: its Hit, the call, and when the client left (monotonic, Unix)."""
    hits = gateway.upstream.hits.setdefault("patient", [])
    seen = len(hits)
    trace = f"{time.time_ns():032x}"
    body = json.dumps({"model": "patient", **ASKED, "stream": streamed}).encode()
    with socket.create_connection(urlsplit(gateway.url).netloc.split(":"), timeout=10) as client:
        client.sendall(POST.format(len(body), trace, "2" * 16).encode() + body)
        until(lambda: len(hits) > seen and time.monotonic() >= hits[seen].at + after_s)
        left, left_at = time.monotonic(), time.time()
    return hits[seen], gateway.trace(trace).calls[0], left, left_at


def ended_after_s(call, left_at):
    return call.started_ns / 1e9 + call.duration_ms / 1e3 - left_at


@pytest.mark.parametrize(
    ("streamed", "acts"),
    [(False, [HANG]), (True, [*stream(*SPOKEN), HANG]), (True, [*stream(*ROLE), HANG])],
    ids=["plain", "stream", "before-the-first-word"],
)
def test_a_hang_up_cancels_the_upstream_call_within_100_ms(gateway, streamed, acts):
    """The quickest of some: the machine may be busy with other things."""
    gateway.upstream.acts["patient"] = acts
    delays = []
    while len(delays) < 10 and min(delays, default=1.0) >= 0.1:
        hit, call, left, left_at = leaves(gateway, streamed)
        assert hit.gone.wait(10)
        assert call.end is EndState.CLIENT_GONE
        assert call.usage.estimated if call.cost_nanodollars else call.cost_nanodollars is None
        delays.append(max(hit.gone_at - left, ended_after_s(call, left_at)))
    assert min(delays) < 0.1


def test_a_client_that_leaves_while_a_retry_waits(gateway):
    gateway.upstream.acts["patient"] = [plain(b"{}", 503, headers=["Retry-After: 2"])]
    delays = []
    while len(delays) < 5 and min(delays, default=1.0) >= 0.1:
        _, call, _, left_at = leaves(gateway, False, after_s=0.5)
        assert call.end is EndState.CLIENT_GONE
        delays.append(ended_after_s(call, left_at))
    assert min(delays) < 0.1
    hits = gateway.upstream.hits["patient"]
    asked_before = len(hits)
    time.sleep(2.5)
    assert len(hits) == asked_before


def test_a_broken_endpoint_is_passed_over_until_a_probe_finds_it_well(gateway, monkeypatch):
    live = gateway.process.gateway.services.live
    before = live.serving.deployment
    breaker = live._tail.__self__.breakers.of(before.endpoint_for("first"), before.breaker)
    gateway.process.swap(msgspec.structs.replace(before, breaker=BreakerPolicy(failures=2, open_s=60)))
    try:
        acts = EARLY["500"][0]
        asked(gateway, "first", GOOD)
        gateway.upstream.clear()
        assert asked(gateway, "first", acts)[1]["x-trimtab-endpoint"] == "second"
        hits = gateway.upstream.hits["first"]
        assert len(hits) == 2
        assert b'trimtab_breaker_state{endpoint="first",state="open"} 1' in gateway.get("/metrics")[2]
        assert asked(gateway, "first", acts)[1]["x-trimtab-fallback"] == "true"
        assert len(hits) == 2
        monkeypatch.setattr(breaker, "_clock", lambda: time.monotonic() + 61)
        assert asked(gateway, "first", GOOD)[1]["x-trimtab-endpoint"] == "first"
        assert asked(gateway, "first", GOOD)[1]["x-trimtab-endpoint"] == "first"
    finally:
        gateway.process.swap(before)


def test_the_answer_that_is_recorded_is_the_fallbacks(gateway):
    _, headers, _, _ = asked(gateway, "first", [*stream(*ROLE), RESET], streamed=True)
    payload = gateway.call(headers)[1]
    assert payload.response["choices"][0]["message"]["content"] == "".join(WORDS)


def test_the_upstreams_connection_is_used_again_after_a_held_stream(gateway):
    asked(gateway, "alone", GOOD_STREAM, streamed=True)
    until(lambda: gateway.process.quiet)
    idle = gateway.process.idle
    for _ in range(4):
        asked(gateway, "alone", GOOD_STREAM, streamed=True)
        until(lambda: gateway.process.quiet)
    assert gateway.process.idle <= idle
