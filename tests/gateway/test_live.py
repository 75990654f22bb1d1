"""Swaps of the live Deployment: all or nothing, steps found by name."""

import asyncio
import sys
import types

import pytest

from tests.gateway.test_chain import Tail, request
from trimtab.config import shipped_prices
from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError
from trimtab.gateway.live import Live, check

ONE = Endpoint(name="one", url="http://127.0.0.1:9/v1", model="m")
TWO = Endpoint(name="two", url="http://127.0.0.1:9/v1", model="m2")
GOOD = Deployment(name="good", endpoints=(ONE,))


@pytest.fixture
def lever(monkeypatch):
    """A lever named `marker` where a built-in one would be."""

    def make(spec, folder):
        async def step(request, call_next):
            request.notes.step_errors.append(f"{spec.options['mark']} {folder.name}")
            return await call_next(request)

        return step

    module = types.ModuleType("trimtab.levers.marker.serve")
    module.make = make
    monkeypatch.setitem(sys.modules, "trimtab.levers.marker.serve", module)
    raises = types.ModuleType("trimtab.levers.raises.serve")
    raises.make = lambda spec, folder: spec.options["absent"]
    monkeypatch.setitem(sys.modules, "trimtab.levers.raises.serve", raises)
    broken = types.ModuleType("trimtab.levers.broken.serve")
    monkeypatch.setitem(sys.modules, "trimtab.levers.broken.serve", broken)


@pytest.fixture
def live(tmp_path):
    return Live(GOOD, shipped_prices(), Tail(), tmp_path / "store")


def test_a_step_is_loaded_by_its_levers_name(live, lever):
    live.swap(Deployment(name="new", endpoints=(ONE,), steps=(StepSpec("marker", options={"mark": "x"}),)))
    asked = request()
    asyncio.run(live.serving.chain(asked))
    assert asked.notes.step_errors == ["x store"]
    assert live.serving.deployment.name == "new"


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (Deployment(name="bad", endpoints=()), "no endpoints"),
        (Deployment(name="bad", endpoints=(ONE,), steps=(StepSpec("nowhere"),)), "nowhere"),
        (Deployment(name="bad", endpoints=(ONE,), steps=(StepSpec("os.path"),)), "os.path"),
        (Deployment(name="bad", endpoints=(ONE,), steps=(StepSpec("broken"),)), "make"),
        (Deployment(name="bad", endpoints=(ONE,), steps=(StepSpec("raises"),)), "KeyError"),
        (Deployment(name="bad", endpoints=(Endpoint(name="e", url="ftp://x"),)), "http"),
        (Deployment(name="bad", endpoints=(Endpoint(name="e", url="http://x", key_env="TRIMTAB_NOT_SET"),)), "NOT_SET"),
    ],
)
def test_a_bad_deployment_is_refused_and_the_old_one_stays(live, lever, bad, word):
    before = live.serving
    with pytest.raises(ConfigError, match=word):
        live.swap(bad)
    assert live.serving is before


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://", "host"),
        ("http:///v1", "host"),
        ("http://x:99999/v1", "port"),
        ("http://x y/v1", "host"),
        ("http://x/v1\r\nHost: y", "host"),
        ("http://me:secret@x/v1", "key_env"),
        ("https://x/v1?api-version=1", "path"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused_and_tells_no_password(url, word):
    with pytest.raises(ConfigError, match=word) as refused:
        check(Endpoint(name="e", url=url))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["sk-one\r\nx-evil: 1", "sk-\u00fc", "sk-one\n"])
def test_a_key_that_would_begin_a_header_of_its_own_is_refused_and_not_told(monkeypatch, key):
    monkeypatch.setenv("TRIMTAB_ODD_KEY", key)
    with pytest.raises(ConfigError, match="TRIMTAB_ODD_KEY") as refused:
        check(Endpoint(name="e", url="http://x/v1", key_env="TRIMTAB_ODD_KEY"))
    assert "sk-" not in str(refused.value)


def test_a_split_shares_traffic_and_keeps_a_trace_together(live):
    live.swap(Deployment(name="split", endpoints=(ONE, TWO), split={"one": 0.8, "two": 0.2}))
    chosen = [live.serving.endpoint_for("m", f"trace-{number}").name for number in range(2000)]
    assert 0.15 < chosen.count("two") / 2000 < 0.25
    assert chosen[7] == live.serving.endpoint_for("m", "trace-7").name
    assert live.serving.endpoint_for("unknown", "t") is None
