import io
import json

import msgspec
from rich.console import Console

from tests.plan.conftest import call
from trimtab.plan import report
from trimtab.plan.audit import measure
from trimtab.plan.spending import Spend
from trimtab.trace import Score, Trace


def text(audit):
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(report.draw(audit))
    return console.file.getvalue()


def test_every_table_is_drawn_within_100_columns(session):
    drawn = text(measure([session]))
    assert max(map(len, drawn.splitlines())) <= 100
    for word in ("by agent", "critical path", "Tools", "Hand-offs", "find_vehicles", "transfer_to_sales", "to sales"):
        assert word in drawn
    assert "≥ $0.000001" in drawn
    assert "calls ended cut  1, unknown" in drawn
    assert "…" not in drawn


def test_large_numbers_still_fit(session):
    calls = tuple(msgspec.structs.replace(one, cost_nanodollars=4_567_890_123_456) for one in session.calls)
    drawn = text(measure([msgspec.structs.replace(session, calls=calls)]))
    assert "$4,567.89" in drawn
    assert "…" not in drawn
    assert max(map(len, drawn.splitlines())) <= 100


def test_what_is_not_known_is_said(session):
    drawn = text(measure([Trace("t", (call("c", 0, 1),))]))
    assert "not scored" in drawn
    assert "unknown" in drawn
    assert "1 calls were recorded without bodies" in drawn
    assert "Tools" not in drawn


def test_nothing_recorded_is_drawn_too():
    assert "0 calls" in text(measure([]))


def test_json_has_every_number_and_null_for_unknown(session):
    parsed = json.loads(report.to_json(measure([session])))
    assert parsed["totals"]["spend"] == {"nanodollars": 1000, "priced": 4, "unpriced": 1}
    assert parsed["stages"][0]["stage"] == "prefill"
    unsolved = Trace("t", (call("c", 0, 1),), {}, (Score("success", 0),))
    assert json.loads(report.to_json(measure([unsolved])))["totals"]["per_solved"] is None


def test_a_sum_with_unpriced_calls_is_marked_as_a_lower_bound():
    assert report.money(Spend(10**9, 1, 0)) == "$1.0000"
    assert report.money(Spend(10**9, 1, 1)) == "≥ $1.0000"
    assert report.money(Spend(0, 0, 1)) == "unknown"
