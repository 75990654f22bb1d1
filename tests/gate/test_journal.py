import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import ConfigError, FormatError, StoreBusy, StoreError
from trimtab.evals.replay import Outcome
from trimtab.gate.journal import ANSWERS, PLAN, Answered, Declared, Journal

TERMS = Declared(
    baseline="b",
    candidate="c",
    suite="s",
    order="o",
    criteria="k",
    judge="j",
    seed=0,
    asked="m",
    models={"baseline": "1"},
)


def answered(place):
    outcome = Outcome(item=f"q{place}", cluster=f"c{place}", score=0.5, total_s=0.25)
    return Answered(place, f"c{place}", (outcome,), (outcome,))


def test_what_was_kept_is_there_again(tmp_path):
    with Journal(tmp_path / "run", TERMS) as journal:
        for place in (2, 0, 1):
            journal.add(answered(place))
    with Journal(tmp_path / "run", TERMS) as journal:
        assert journal.answered == {place: answered(place) for place in range(3)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_wherever_it_is_cut_off_whole_answers_stay(tmp_path, data):
    folder = tmp_path / "run"
    with Journal(folder, TERMS) as journal:
        for place in range(3):
            if place not in journal.answered:
                journal.add(answered(place))
    held = (folder / ANSWERS).read_bytes()
    cut = data.draw(st.integers(0, len(held)))
    (folder / ANSWERS).write_bytes(held[:cut])
    with Journal(folder, TERMS) as journal:
        assert len(journal.answered) == held[:cut].count(b"\n")
        journal.add(answered(9))
    with Journal(folder, TERMS) as journal:
        assert journal.answered[9] == answered(9)
    (folder / ANSWERS).write_bytes(held)


@pytest.mark.parametrize("name", ["baseline", "candidate", "suite", "order", "criteria", "judge", "asked"])
def test_other_terms_are_refused_by_name(tmp_path, name):
    with Journal(tmp_path, TERMS):
        pass
    with (
        pytest.raises(ConfigError, match="changed since the run"),
        Journal(tmp_path, msgspec.structs.replace(TERMS, **{name: "other"})),
    ):
        pass


def test_models_that_were_not_asked_for_are_not_compared(tmp_path):
    with Journal(tmp_path, TERMS):
        pass
    with Journal(tmp_path, msgspec.structs.replace(TERMS, models={})):
        pass
    with (
        pytest.raises(ConfigError, match="a model behind"),
        Journal(tmp_path, msgspec.structs.replace(TERMS, models={"baseline": "2"})),
    ):
        pass


def test_one_process_at_a_time(tmp_path):
    with Journal(tmp_path, TERMS), pytest.raises(StoreBusy, match="another run works in"), Journal(tmp_path, TERMS):
        pass
    with Journal(tmp_path, TERMS):
        pass


def test_lines_that_are_no_answers_are_named(tmp_path):
    with Journal(tmp_path, TERMS) as journal:
        journal.add(answered(0))
    with (tmp_path / ANSWERS).open("ab") as file:
        file.write(b'{"place": "two"}\n')
    with pytest.raises(FormatError, match=r"answers\.jsonl:2"), Journal(tmp_path, TERMS):
        pass


def test_a_plan_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / PLAN).write_text("{")
    with pytest.raises(FormatError, match=r"plan\.json cannot be read"), Journal(tmp_path, TERMS):
        pass


def test_a_journal_that_is_closed_keeps_nothing(tmp_path):
    with Journal(tmp_path, TERMS) as journal:
        pass
    with pytest.raises(StoreError, match="is closed"):
        journal.add(answered(0))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError), Journal(tmp_path / "file" / "run", TERMS):
        pass
