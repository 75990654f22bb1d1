"""Shadows: what is asked a second time, with whose keys, how much of it, and what is heard of it."""

import asyncio
import json
import time

import pytest

from tests.gateway.upstream import DONE, TEXT
from trimtab.config import GatewaySettings
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.gateway import attribution, wire
from trimtab.gateway.chain import Reply, UpstreamFailed
from trimtab.gateway.chat import Services
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.embeddings import EMBEDDINGS
from trimtab.gateway.limits import Limits
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Meter
from trimtab.gateway.recorder import Recorder
from trimtab.gateway.serving import Serving
from trimtab.gateway.shadow import SHADOW, WORKFLOW, Bounds, Shadows
from trimtab.gateway.trial import Finished, Trial
from trimtab.money import Price, PriceTable
from trimtab.trace import Call, EndState

TABLE = PriceTable(version="1", prices={"new": Price(input=1.0, output=2.0), "old": Price(input=9.0, output=9.0)})
PLAIN = json.dumps(
    {
        "model": "new",
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5},
    }
).encode()


def deployment(name):
    return Deployment(
        name=name, endpoints=(Endpoint(name=name, url=f"http://{name}/v1", model=name),), routes={"m": name}
    )


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine that others use must not look like an event loop that is busy."""
    monkeypatch.setattr("trimtab.gateway.shadow._BUSY_S", 5.0)


class Wall:
    """Shadows before an upstream call that keeps what it was asked and answers as `outcome` says."""

    def __init__(self, folder, outcome=PLAIN, **bounds):
        meter = Meter()
        live = Live(deployment("old"), TABLE, self.tail, folder)
        recorder = Recorder(None, limit=1, keeps=lambda model: "off")
        self.services = Services(live, recorder, meter, Limits(GatewaySettings(), folder, meter))
        self.outcome = outcome
        self.asked = []
        self.pairs = []
        self.shadows = Shadows(self.services, self.tail, Bounds(**{"sampled": 1.0, **bounds}), self.pairs.append)
        self.trial = Trial("r", live.serving, Serving(deployment("new"), self.tail), 0.0, lambda finished: None)

    async def tail(self, request):
        self.asked.append(request)
        request.notes.endpoint = request.endpoint
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if isinstance(self.outcome, bytes):
            return Reply(200, body=self.outcome)
        if self.outcome is None:
            await asyncio.sleep(60)
        return Reply(200, chunks=self.chunks())

    async def chunks(self):
        for event in self.outcome:
            yield event

    def run(self, *finished, settle_s=0.05):
        async def all_of_it():
            for each in finished:
                self.shadows.ask(self.trial, each)
                await asyncio.sleep(0)
            await asyncio.sleep(settle_s)
            self.shadows.close()
            await asyncio.sleep(0)

        asyncio.run(all_of_it())
        return self.pairs


def finished(session="s", dialect=CHAT, end=EndState.COMPLETE, size=0, by_candidate=False, endpoint="old", **head):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * size}], **head}).encode()
    headers = ((b"authorization", b"Bearer sk-of-the-client"), (b"x-trimtab-session", session.encode()))
    read = wire.head(body)
    who = attribution.of((*headers, (b"x-trimtab-user", b"ada"), (b"x-trimtab-workflow", b"sales")), read)
    ids = {"id": f"{hash(session) & 0xFFFFFFFF:032x}", "trace_id": who.trace_id, "span_id": who.span_id}
    call = Call(
        **ids, started_ns=1, duration_ms=1.0, end=end, endpoint=endpoint, operation=dialect.operation, session=session
    )
    return Finished(call, body, read, headers, who, dialect, "", b"{}", by_candidate)


def test_the_other_side_is_asked_the_same_and_priced_apart(tmp_path):
    wall = Wall(tmp_path)
    (pair,) = wall.run(finished())
    shadow = pair.candidate.call
    assert wall.asked[0].body == finished().body and wall.asked[0].endpoint.name == "new"
    assert (shadow.end, shadow.cost_nanodollars, shadow.deployment) == (EndState.COMPLETE, 5000, "new")
    assert shadow.tags[SHADOW] == "r" and shadow.tags[f"{SHADOW}_of"] == pair.baseline.call.id
    assert (shadow.workflow, shadow.user, shadow.session) == (WORKFLOW, "ada", "s")
    assert shadow.trace_id != pair.baseline.call.trace_id
    assert wall.shadows.nanodollars == 5000
    page = wall.services.meter.text({})
    assert 'trimtab_shadow_calls_total{end="complete"} 1' in page and "trimtab_shadow_cost_usd_total 5e-06" in page
    assert "trimtab_calls_total{" not in page


def test_the_clients_key_stays_at_home(tmp_path):
    wall = Wall(tmp_path)
    wall.run(finished())
    assert b"authorization" not in dict(wall.asked[0].headers)


def test_a_stream_is_put_together(tmp_path):
    wall = Wall(tmp_path, outcome=[*TEXT, DONE])
    (pair,) = wall.run(finished(stream=True))
    assert pair.candidate.response["choices"][0]["message"]["content"] == "Hello, how may I help?"
    assert pair.candidate.call.end is EndState.COMPLETE and pair.candidate.call.ttft_ms is not None


@pytest.mark.parametrize("outcome", [UpstreamFailed("gone", status=502, code="x"), TEXT[:2]])
def test_a_shadow_that_fails_is_heard_of_too(tmp_path, outcome):
    (pair,) = Wall(tmp_path, outcome=outcome).run(finished(stream=True))
    assert pair.candidate.call.end in (EndState.UPSTREAM_ERROR, EndState.CUT) and pair.candidate.call.error


def test_what_the_candidate_served_is_asked_of_the_baseline(tmp_path):
    wall = Wall(tmp_path, twice=True)
    (pair,) = wall.run(finished(by_candidate=True))
    assert [request.endpoint.name for request in wall.asked] == ["old", "old"]
    assert pair.baseline.call.deployment == "old" and pair.again.call.id != pair.baseline.call.id


@pytest.mark.parametrize(
    "odd",
    [
        finished(dialect=EMBEDDINGS),
        finished(end=EndState.CLIENT_GONE),
        finished(end=EndState.REFUSED, endpoint=""),
        finished(end=EndState.UPSTREAM_ERROR),
    ],
)
def test_what_cannot_be_compared_is_not_asked(tmp_path, odd):
    wall = Wall(tmp_path)
    assert wall.run(odd) == [] and not wall.shadows.dropped


def test_what_leans_on_an_earlier_answer_of_the_same_server_is_not_asked_of_another(tmp_path):
    wall = Wall(tmp_path)
    wall.run(finished("a", previous_response_id="resp_1"), finished("b", previous_response_id=None))
    assert wall.shadows.dropped == {"state": 1} and len(wall.asked) == 1


def test_a_session_is_asked_about_once(tmp_path):
    wall = Wall(tmp_path)
    assert len(wall.run(finished("a"), finished("a"), finished("b"))) == 2


@pytest.mark.parametrize(
    ("bounds", "reason", "kept"),
    [({"body_bytes": 1000}, "large", 0), ({"per_s": 2.0}, "rate", 2), ({"at_once": 1}, "full", 1)],
)
def test_what_there_is_no_room_for_is_dropped_and_counted(tmp_path, bounds, reason, kept):
    wall = Wall(tmp_path, outcome=None if reason == "full" else PLAIN, **bounds)
    size = 2000 if reason == "large" else 0
    wall.run(*(finished(f"session {n}", size=size) for n in range(6)))
    assert len(wall.asked) == kept and wall.shadows.dropped[reason] == 6 - kept
    assert f'trimtab_shadow_dropped_total{{reason="{reason}"}} {6 - kept}' in wall.services.meter.text({})


def test_a_busy_event_loop_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("trimtab.gateway.shadow._BUSY_S", 0.02)
    wall = Wall(tmp_path)

    async def ask_while_busy():
        wall.shadows.ask(wall.trial, finished())
        asyncio.get_running_loop().call_soon(time.sleep, 0.05)
        await asyncio.sleep(0.2)

    asyncio.run(ask_while_busy())
    assert wall.shadows.dropped == {"busy": 1} and wall.asked == []


def test_what_is_under_way_at_the_end_is_broken_off(tmp_path):
    wall = Wall(tmp_path, outcome=None)
    assert wall.run(finished()) == [] and wall.shadows.dropped == {"stopped": 1}
    wall.shadows.ask(wall.trial, finished("later"))
    assert len(wall.asked) == 1


def test_about_the_share_that_is_sampled_is_asked(tmp_path):
    wall = Wall(tmp_path, sampled=0.25, per_s=10_000.0, at_once=10_000)
    wall.run(*(finished(f"session {n}") for n in range(600)), settle_s=1.0)
    assert 90 <= wall.shadows.asked + wall.shadows.dropped["busy"] <= 210
