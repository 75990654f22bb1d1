"""The gateway's benchmark can be believed: upstream and load keep time, what fails is told, and bars can fall short."""

import asyncio
import importlib
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    """The benchmark's modules, which find one another in their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        names = ("load", "systems", "peers", "rounds", "gateway")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def upstream(bench):
    with bench.systems.served(bench.systems.script("fake.py")) as url:
        yield url


def test_each_event_of_a_paced_stream_is_seen_with_how_late_it_came(bench, upstream):
    went = bench.load.listen(bench.load.Target(upstream), bench.rounds.PACED, 1, lambda: False, 0.0)
    sample = asyncio.run(went)
    assert len(sample.seconds) == 1
    assert len(sample.late_ms) == 62
    # A loop's timers count whole milliseconds: an event may leave a little before it is due.
    early_s = 0.002
    assert 63 * 0.02 - early_s < sample.seconds[0] < 5
    assert sample.late_ms[0] > -early_s * 1000


def test_a_server_that_answers_otherwise_stops_the_measurement(bench, upstream):
    target = bench.load.Target(upstream, headers={"Content-Length": "x"})
    with pytest.raises(bench.load.Wrong):
        asyncio.run(bench.load.ask(target, bench.rounds.PLAIN, 1, lambda: False))


def test_no_two_requests_are_alike(bench):
    assert bench.rounds.PLAIN.count(bench.load.NUMBER) == 1


def test_a_system_is_started_measured_frozen_and_ended(bench, upstream):
    system = bench.systems.System("floor", bench.peers.floor)
    system.start(upstream, None)
    try:
        assert system.cold_s > 0
        before = system.cpu_s
        sample = bench.rounds.run(bench.load.ask(system.target, bench.rounds.PLAIN, 2, bench.load.until(5, 98)))
        assert len(sample.seconds) == 100
        assert system.cpu_s > before
        assert system.rss_mb > 5
        system.freeze()
        system.thaw()
    finally:
        system.stop()


def test_a_system_that_does_not_start_is_absent_with_what_it_said(bench, upstream):
    command = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    system = bench.systems.System("none", lambda _url, _work: bench.systems.Recipe(command))
    with pytest.raises(bench.systems.Absent, match="no such thing"):
        system.start(upstream, None)


def test_a_peer_that_cannot_be_installed_is_absent(bench, tmp_path, monkeypatch):
    def fails(folder):
        bench.peers.run([sys.executable, "-c", "raise SystemExit('no network')"], folder)

    monkeypatch.setitem(bench.peers.PEERS, "litellm", ("1", fails, None))
    systems, absent = bench.gateway.found(["litellm", "floor"], tmp_path)
    assert [system.name for system in systems] == ["floor"]
    assert "no network" in absent["litellm"]
    assert not (tmp_path / "litellm" / "installed-1").exists()


def test_growth_is_the_slope_of_what_comes_after_the_start(bench):
    leak = [(n, 50.0 + (40 if n > 10_000 else 0) + n / 10_000) for n in range(0, 100_001, 2000)]
    assert bench.rounds.growth(leak) == pytest.approx(10, rel=0.01)
    assert bench.rounds.growth([(n, 80.0) for n in range(0, 100_001, 2000)]) == pytest.approx(0)
    assert math.isnan(bench.rounds.growth([(0, 1.0)]))


@pytest.mark.parametrize(
    ("limit", "value", "at_least", "verdict"),
    [
        (1, 1, False, "holds"),
        (1, 1.01, False, "falls short"),
        (300, 300, True, "holds"),
        (300, 200, True, "falls short"),
        (1, math.nan, False, "not measured"),
    ],
)
def test_a_bar_says_whether_it_holds(bench, limit, value, at_least, verdict):
    assert bench.gateway.Bar("a", limit, value, at_least).verdict == verdict


def test_ratios_are_taken_within_a_round(bench):
    seen = {name: bench.rounds.Seen() for name in ("direct", "trimtab", "tensorzero")}
    for own, other in ((1.0, 4.0), (2.0, 8.0), (30.0, 60.0)):
        seen["trimtab"].note("cpu_plain_ms", own)
        seen["tensorzero"].note("cpu_plain_ms", other)
    first = bench.gateway.bars(seen, {})[0]
    assert (first.value, first.verdict) == (0.25, "holds")
    missing = [bar for bar in bench.gateway.bars(seen, {}) if "LiteLLM" in bar.name]
    assert {bar.verdict for bar in missing} == {"not measured"}
