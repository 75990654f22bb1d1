"""Evidence: rows in, a decision or an alarm out, the same in every process that reads the same rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ConfigError
from trimtab.rollout.evidence import Evidence, Row, Stream
from trimtab.rollout.stages import Plan, Stage
from trimtab.verdict import Decision

WIDE = Plan(margin=0.2, errors=0.2)


def taken(evidence, *rows):
    for row in rows:
        evidence.take(row)
    return evidence


def test_it_promotes_only_when_quality_and_errors_both_do():
    evidence = taken(Evidence(WIDE, Stage.SHADOW), Row(Stream.QUALITY, 0.0, 25))
    assert evidence.decision is None and not evidence.wants(Stream.QUALITY) and evidence.wants(Stream.ERRORS)
    assert taken(evidence, Row(Stream.ERRORS, 0.0, 30)).decision is Decision.PROMOTE


def test_late_answers_count_where_there_is_an_slo():
    plan = Plan(margin=0.2, errors=0.2, slo_ms=100.0, late=0.2)
    rows = (Row(Stream.QUALITY, 0.0, 25), Row(Stream.ERRORS, 0.0, 30))
    assert taken(Evidence(plan, Stage.SHADOW), *rows).decision is None
    assert taken(Evidence(plan, Stage.SHADOW), *rows, Row(Stream.LATE, 0.0, 30)).decision is Decision.PROMOTE
    assert taken(Evidence(plan, Stage.SHADOW), *rows, Row(Stream.LATE, 1.0, 30)).decision is Decision.REJECT


@pytest.mark.parametrize("row", [Row(Stream.QUALITY, -1.0, 10), Row(Stream.ERRORS, 1.0, 10)])
def test_one_rejection_rejects(row):
    assert taken(Evidence(WIDE, Stage.CANARY), row).decision is Decision.REJECT


def test_at_the_cap_it_is_inconclusive_and_wants_no_more():
    plan = Plan(margin=0.2, errors=0.2, cap=20)
    mixed = [Row(Stream.QUALITY, value) for value in (-1.0, 1.0, 0.0, -1.0, 0.0) * 4]
    evidence = taken(Evidence(plan, Stage.SHADOW), *mixed)
    assert evidence.decision is Decision.INCONCLUSIVE and not evidence.wants(Stream.QUALITY)


def test_pairs_without_a_judgement_keep_it_from_promoting():
    rows = (Row(Stream.MISSING, 0.0), Row(Stream.QUALITY, 0.0, 25), Row(Stream.ERRORS, 0.0, 30))
    evidence = taken(Evidence(Plan(margin=0.2, errors=0.2, cap=200), Stage.SHADOW), *rows)
    assert evidence.decision is None, "1 of 26 is more than 1 %"
    assert taken(evidence, Row(Stream.QUALITY, 0.0, 75)).decision is Decision.PROMOTE


def test_the_last_stage_alarms_and_never_concludes():
    evidence = taken(Evidence(WIDE, Stage.FULL), Row(Stream.QUALITY_ALARM, 0.0, 2000), Row(Stream.ERRORS_ALARM, 0.0, 9))
    assert not evidence.alarm and evidence.decision is None
    assert "worse than the margin" in taken(evidence, Row(Stream.QUALITY_ALARM, -1.0, 60)).alarm


def test_failures_in_a_row_trip_at_once_and_apart_they_do_not():
    plan = Plan()
    k = plan.run_of_failures
    assert plan.per * plan.errors**k <= plan.false_alarms < plan.per * plan.errors ** (k - 1)
    apart = [Row(Stream.ERRORS_ALARM, value, count) for _ in range(9) for value, count in ((-1.0, k - 1), (0.0, 400))]
    assert not taken(Evidence(plan, Stage.FULL), *apart[:2]).tripped
    assert taken(Evidence(plan, Stage.CANARY), Row(Stream.ERRORS_ALARM, -1.0, k)).alarm.startswith(f"{k} calls")


def test_a_slow_rise_of_failures_alarms_too():
    rows = [Row(Stream.ERRORS_ALARM, value) for value in (-1.0, 0.0, 0.0) * 100]
    assert "calls fail than the plan allows" in taken(Evidence(Plan(), Stage.FULL), *rows).alarm


STREAMS = st.sampled_from([Stream.QUALITY_ALARM, Stream.ERRORS_ALARM])
ROWS = st.lists(st.builds(Row, STREAMS, st.sampled_from([-1.0, -0.5, 0.0]), st.integers(1, 4)), max_size=30)


@given(ROWS, st.integers(0, 30))
def test_detectors_go_on_from_their_state_as_if_nothing_had_been(rows, cut):
    whole = taken(Evidence(WIDE, Stage.FULL), *rows)
    first = taken(Evidence(WIDE, Stage.FULL), *rows[:cut])
    second = Evidence(WIDE, Stage.FULL)
    second.resume(first.state())
    taken(second, *rows[cut:])
    assert second.alarm == whole.alarm
    assert second.state()["detectors"] == whole.state()["detectors"]


VALUES = st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.integers(1, 5)), max_size=20)


@given(VALUES)
def test_how_rows_are_bundled_makes_no_difference(values):
    bundled = taken(Evidence(WIDE, Stage.SHADOW), *(Row(Stream.QUALITY, value, count) for value, count in values))
    single = Evidence(WIDE, Stage.SHADOW)
    for value, count in values:
        taken(single, *[Row(Stream.QUALITY, value)] * count)
    findings = [each.tests[Stream.QUALITY].finding() for each in (bundled, single)]
    assert findings[0] == findings[1] and bundled.decision == single.decision


@pytest.mark.parametrize("stage", [Stage.FULL, Stage.ROLLED_BACK, Stage.ENDED])
def test_nothing_follows_the_last_stages(stage):
    with pytest.raises(ConfigError, match="goes no further"):
        _ = stage.next
