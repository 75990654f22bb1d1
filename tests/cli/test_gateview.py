import io

import pytest
from rich.console import Console

from trimtab.cli.gateview import draw, line
from trimtab.gate.offline import Progress
from trimtab.verdict import Decision


def progress(**more):
    held = {
        "n": 120,
        "cap": 541,
        "answered": 124,
        "wealth": 3.25,
        "harm_wealth": 0.5,
        "needed": 20.0,
        "difference": -0.004,
        "low": -0.06,
        "high": 0.05,
        "left": 90,
        "missing": 0,
        "lines": (("quality", Decision.INCONCLUSIVE, 3.25), ("quality of '[b]x'", Decision.UNCERTIFIED, 1.0)),
    }
    return Progress(**{**held, **more})


def drawn(held):
    console = Console(file=io.StringIO(), width=110)
    console.print(draw("b#[one] against a", held))
    return console.file.getvalue()


@pytest.mark.parametrize("shown", [drawn, line])
def test_it_shows_evidence_clusters_interval_and_what_is_left(shown):
    text = shown(progress())
    for told in ("120", "541", "3.25", "of 20", "-0.4 pt", "[-6.0 pt, +5.0 pt]", "about 90 to go"):
        assert told in text
    assert "to go" not in shown(progress(left=None))
    assert "missing" not in text and "missing" in shown(progress(missing=3))


def test_names_are_never_taken_for_markup():
    assert "quality of '[b]x'" in drawn(progress()) and "b#[one]" in drawn(progress())


@pytest.mark.parametrize("wealth", [0.0, 1e-300, 1e300])
def test_extreme_evidence_is_drawn(wealth):
    assert "of 20" in drawn(progress(wealth=wealth, harm_wealth=wealth))
