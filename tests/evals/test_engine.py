"""Replay of the real student on this machine's engine, through a real gateway: the same twice, and judged by itself."""

import asyncio

import aiohttp
import pytest

from tests.evals.items import item
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.evals import calibration, drift, replay, scorers, serving
from trimtab.evals.answer import Answer
from trimtab.evals.calibration import Label
from trimtab.evals.replay import Rates
from trimtab.evals.suite import JudgeSpec, of
from trimtab.money import Price, PriceTable

pytest.importorskip("openvino_genai", reason="the engine needs the extra 'engine'")
pytestmark = pytest.mark.engine

PRICES = PriceTable("t", {"student": Price(input=1.0, output=2.0)})
ASKED = ("When are you open?", "Where are you?", "I would like to buy a car")


@pytest.fixture(scope="module")
def deployment():
    with EmbeddedEngine(["dealer-student"], threads=1) as engine:
        yield Deployment("student", (Endpoint("engine", engine.url, engine.models[0], price="student"),))


def asked(deployment, judge):
    items = [
        item(body={"messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0}, name=str(n))
        for n, text in enumerate(ASKED)
    ]

    async def run(url):
        async with aiohttp.ClientSession() as http:
            rates = Rates.of(deployment, PRICES)
            return [
                await replay.ask(http, url, deployment.models[0], each, judge, rates)
                for each in of(items, name="talk").items
            ]

    with serving.served(deployment, PRICES) as url:
        return asyncio.run(run(url))


def test_a_model_against_itself_does_not_drift(deployment):
    judge = scorers.make(JudgeSpec("safety"))
    one, other = asked(deployment, judge), asked(deployment, judge)
    for outcome in one:
        assert outcome.error == "" and outcome.score == 1 and outcome.output_tokens and outcome.ttft_s > 0
        assert outcome.cost_nanodollars == outcome.input_tokens * 1000 + outcome.output_tokens * 2000
        assert outcome.fingerprint.startswith("engine/dealer-student")
    made = drift.report(list(zip(one, other, strict=True)))
    assert (made.same, made.flips.share, made.length) == (3, 0, 1)


def test_a_model_that_knows_no_grades_is_missing_and_never_in_the_middle(deployment):
    """The student was made to sell cars: as a judge it gives no grade, and calibration says so."""
    url = deployment.endpoints[0].url
    judge = scorers.make(JudgeSpec("model_graded", {"url": url, "model": deployment.models[0], "max_tokens": 8}))
    labels = [Label(item("9 to 6"), Answer("from 9 to 6"), True), Label(item("9 to 6"), Answer("never"), False)]
    made = asyncio.run(calibration.measure(judge, labels))
    assert made.overall.missing == 2 and made.overall.youden is None
