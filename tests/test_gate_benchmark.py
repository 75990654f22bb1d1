"""The gate's benchmark can be believed: streams are what they say, rivals decide as by hand, bars can fall short."""

import importlib
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("TRIMTAB_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def bench():
    """The benchmark's modules, which find one another in their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        names = ("gate", "gate_cells", "gate_real", "gate_rivals")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def test_the_streams_are_what_they_say(bench):
    x = bench.gate_cells.draws(np.random.default_rng(1), 200_000, -0.03, 0.1)
    assert x.mean() == pytest.approx(-0.03, abs=0.003)
    assert (x != 0).mean() == pytest.approx(0.1, abs=0.003)
    judged = bench.gate_cells.judgements(np.random.default_rng(1), 400_000, -0.02, 0.06, 0.9)
    assert judged.mean() == pytest.approx(-0.02 * 0.8, abs=0.004)


def test_a_case_has_its_own_stream_and_keeps_it(bench):
    first, again, other = (bench.gate_cells.source(case).random() for case in ("a", "a", "b"))
    assert first == again != other


def test_rivals_decide_as_by_hand(bench):
    rivals = bench.gate_rivals.Rivals(0.02, 3)
    rng = np.random.default_rng(2)
    scores = np.array([[0.0, -1.0, x] for x in bench.gate_cells.draws(rng, 300, -0.02, 0.2)])
    naive = wald = False
    for n, row in enumerate(scores, 1):
        rivals.feed(row)
        seen = scores[:n, 2]
        if n >= 100:
            naive |= seen.mean() >= -0.01
            wald |= seen.mean() + 0.02 >= 1.645 * seen.std() / math.sqrt(n)
    assert rivals.naive.tolist() == [True, False, naive]
    assert rivals.wald.tolist() == [True, False, wald]


def test_the_canary_passes_what_it_has_no_evidence_against(bench):
    rng = np.random.default_rng(3)
    assert bench.gate_rivals.canary(rng, 0.0, 600, 60) > 0.9
    assert bench.gate_rivals.canary(rng, -0.05, 600, 60) > 0.8, "five points worse, and it passes"
    assert bench.gate_rivals.canary(rng, -0.5, 600, 60) == 0


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "verdict"),
    [
        (0.05, 0.05, False, "holds"),
        (0.051, 0.05, False, "falls short"),
        (0.88, 0.88, True, "holds"),
        (0.87, 0.88, True, "falls short"),
        (0.5, math.nan, False, ""),
        (math.nan, math.nan, False, "not measured"),
    ],
)
def test_a_bar_says_whether_it_holds(bench, value, limit, at_least, verdict):
    row = bench.gate_cells.Row("a case", value, 0.01, limit, at_least)
    assert bench.gate.cells(row)[-1] == verdict
    assert len(bench.gate.cells(row)) == len(bench.gate.HEADS)


def test_a_bar_that_falls_short_is_the_exit_code(bench, monkeypatch, capsys, tmp_path):
    file = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["gate.py", "--quick", "--only", "rates", "--json", str(file)])
    for limit, code in ((0.5, 0), (0.1, 1)):
        row = bench.gate_cells.Row("a case", 0.2, limit=limit)

        def rates(_runs, row=row):
            yield row

        monkeypatch.setattr(bench.gate, "CELLS", (rates,))
        assert bench.gate.main() == code
    assert '"holds": false' in file.read_text()
    assert "a case" in capsys.readouterr().out


def test_a_cell_runs_the_shipped_test(bench):
    rng = np.random.default_rng(4)
    streams = [bench.gate_cells.draws(rng, 60, 0.0, 0.1) for _ in range(400)]
    row = bench.gate_cells.at_the_margin("equal", iter(streams), 0.05, 60)
    from trimtab.stats.sequential import Process

    def ever(scores):
        process, highest = Process(0.05), 0.0
        for x in scores:
            process.feed(x)
            highest = max(highest, process.wealth)
        return highest >= 20

    assert row.value == pytest.approx(np.mean([ever(scores) for scores in np.array(streams).T]))


def test_real_results(bench):
    routed, trials = (DATA / name for name in ("routellm/gsm8k_responses.csv", "tau_bench/gpt-4o-airline.json"))
    if not (routed.is_file() and trials.is_file()):
        pytest.skip(f"the real data is not there ({DATA}): set TRIMTAB_DATA to its folder")
    rows = [*bench.gate_real.routed(routed, 60), *bench.gate_real.trials(trials, 60)]
    assert all(row.holds in (True, None) for row in rows)
    told = {row.case: row.value for row in rows}
    assert told["tau-bench: design effect"] == pytest.approx(2.2, abs=0.05)
    assert rows[0].beside["true D"] == "-4.4"
