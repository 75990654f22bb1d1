"""The drift watch: quiet on traffic as built, loud when acceptance falls; and its command."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.levers.speculation import recorded
from trimtab.cli.main import main
from trimtab.levers.speculation import lab, watch
from trimtab.store.artifacts import ArtifactStore
from trimtab.store.writer import TraceWriter
from trimtab.trace import Record

BUILT = {"all": 0.9, "sales": 0.9, "triage": 0.9}


def test_as_built_no_alarm():
    healthy = recorded.traces(3000, usage=recorded.drafted(9, 1))
    assert {seen.said for seen in watch.watch(healthy, BUILT)} == {"as built"}


def test_prompts_that_changed_raise_it():
    """From .90 to .55, as it was measured when prompts changed."""
    after = recorded.traces(300, usage=recorded.drafted(9, 1)) + recorded.traces(400, 1, usage=recorded.drafted(11, 9))
    seen = watch.watch(after, BUILT)
    assert [each.said for each in seen] == [watch.RETRAIN] * 3
    assert seen[0].now == pytest.approx(0.55)


def test_undrafted_calls_say_nothing():
    assert [each.calls for each in watch.watch(recorded.traces(20), BUILT)] == [0, 0, 0]


NUMBERS = st.one_of(st.none(), st.integers(-3, 99), st.text(max_size=2), st.booleans())


@given(
    st.one_of(
        st.none(),
        st.dictionaries(st.text(max_size=3), NUMBERS),
        st.fixed_dictionaries({"accepted_prediction_tokens": NUMBERS, "rejected_prediction_tokens": NUMBERS}),
    )
)
def test_any_usage_is_read_or_passed_over(details):
    (call,) = recorded.trace(1, usage={"completion_tokens_details": details}).calls
    told = watch.accepted(call)
    assert told is None or 0 <= told[1] <= told[0] > 0


def test_the_command_exits_1_and_says_what_to_do(tmp_path, capsys):
    lever = lab.make({})
    lever.build(recorded.traces(60), tmp_path)
    (artifact,) = ArtifactStore(tmp_path).list()
    with TraceWriter(tmp_path) as writer:
        for trace in recorded.traces(600, usage=recorded.drafted(0, 20)):
            writer.append([Record(call, trace.payloads[call.id]) for call in trace.calls])
    assert main(["speculation", "watch", "--store", str(tmp_path), "--json"]) == 1
    told = {row["agent"]: row for row in json.loads(capsys.readouterr().out)}
    assert told["all"]["said"] == watch.RETRAIN
    assert main(["speculation", "watch", "--store", str(tmp_path), "--artifact", "feed"]) == 6
    assert "artefacts" in capsys.readouterr().err
    out = tmp_path / "eagle"
    assert main(["speculation", "export", "--store", str(tmp_path), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] > 0
    assert artifact.digest
