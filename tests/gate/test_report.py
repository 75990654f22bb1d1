import xml.etree.ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.test_rules import verdict
from trimtab.evals.imported import Paired, Result
from trimtab.gate import plot, report
from trimtab.gate.criteria import Criteria
from trimtab.gate.fixed import verdict as fixed_verdict
from trimtab.verdict import Decision


def test_the_report_says_what_was_decided_and_on_what(tmp_path):
    made = verdict("cand", 90, names={"baseline": "a.toml", "candidate": "b.toml", "suite": "held out", "cap": "500"})
    path = report.write(made, tmp_path / "run" / "report.md", "f" * 64)
    text = path.read_text()
    for told in ("promote", "`a.toml`", "`b.toml`", "90 clusters of at most 500", "f" * 64, "trimtab ledger verify"):
        assert told in text
    assert "(evidence.svg)" in text
    assert text.count("| quality |") == 1


def test_the_picture_shows_both_paths_and_where_they_decide(tmp_path):
    finding = verdict("c", 300, loss=40).findings[0]
    root = ET.fromstring(plot.svg(finding))
    lines = [each for each in root.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 2
    points = [tuple(map(float, point.split(","))) for point in lines[0].attrib["points"].split()]
    assert len(points) == 301
    assert all(0 <= x <= 720 and 0 <= y <= 300 for x, y in points)
    assert "decides at 20" in plot.svg(finding)


def test_a_test_with_one_look_has_no_path():
    items = [Paired(Result(str(n), 1.0, str(n)), Result(str(n), 1.0, str(n))) for n in range(100)]
    made = fixed_verdict(items, Criteria(margin=0.05), {})
    assert plot.svg(made.findings[0]) == ""
    assert "evidence.svg" not in report.markdown(made)


@given(st.text())
def test_what_a_server_says_cannot_break_out_of_a_table(text):
    made = verdict("c", 30)
    findings = (msgspec.structs.replace(made.findings[0], reason=text, slice=text),)
    shown = report.markdown(msgspec.structs.replace(made, findings=findings, reason="r"))
    row = next(line for line in shown.split("\n") if line.startswith("| quality"))
    assert row.replace("\\|", "").count("|") == 10
    assert "<script" not in shown


@pytest.mark.parametrize("decision", list(Decision))
def test_every_decision_has_its_mark(decision):
    assert report._MARKS[decision].endswith(decision)


def test_a_spark_is_as_wide_as_asked():
    assert plot.spark([]) == ""
    assert plot.spark([1.0]) == "▁"
    assert len(plot.spark(list(range(500)))) == 40
    assert plot.spark([0, 1])[0] == "▁" and plot.spark([0, 1])[-1] == "█"
