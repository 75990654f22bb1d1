"""The gate on the dealership, with the real models on this machine's engine."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.arena.tuning.train import MODELS
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.errors import ArenaError, ConfigError
from trimtab.gate import offline, recompute, sides, sources
from trimtab.gate.criteria import Criteria
from trimtab.verdict import Decision


def run(engine, candidate, folder):
    plan = offline.Plan(
        baseline=sides.named(f"{engine.url}#dealer-teacher"),
        candidate=sides.named(f"{engine.url}#{candidate}"),
        source=sources.named("arena:test:60"),
        criteria=Criteria(margin=0.2, length=()),
        folder=folder,
    )
    return offline.run(plan)


def damaged(folder):
    """The student without what one layer attends to: it still talks, and solves far less."""
    from safetensors.torch import load_file, save_file

    weak = shutil.copytree(MODELS / "dealer-student", folder / "damaged")
    held = load_file(weak / "model.safetensors")
    held["model.layers.2.self_attn.o_proj.weight"].zero_()
    save_file(held, weak / "model.safetensors", metadata={"format": "pt"})
    return weak


@pytest.mark.engine
def test_a_damaged_student_is_rejected_and_the_teacher_is_no_worse_than_itself(tmp_path):
    pytest.importorskip("openvino_genai", reason="the engine needs the extra 'engine'")
    pytest.importorskip("torch", reason="damaging a model needs the extra 'tune'")
    with EmbeddedEngine(["dealer-teacher", f"damaged={damaged(tmp_path)}"], max_seqs=4) as engine:
        student = run(engine, "damaged", tmp_path / "student")
        teacher = run(engine, "dealer-teacher", tmp_path / "teacher")
    assert (student.decision, teacher.decision) == (Decision.REJECT, Decision.PROMOTE)
    assert student.facts["baseline_score"] > student.facts["candidate_score"] + 0.2
    assert teacher.facts["candidate_tokens_per_solved"] > 0
    assert student.suite == teacher.suite and student.order == teacher.order
    for verdict in (student, teacher):
        assert recompute.check(verdict) == []


def test_sessions_are_items_with_their_family_as_slice():
    held = sources.named("arena:test:40:3").suite
    assert len(held.items) == 40 and len({item.cluster for item in held.items}) == 40
    assert held.digest == sources.named("arena:test:40:3").suite.digest != sources.named("arena:test:40:4").suite.digest
    assert all(len(item.slices) == 1 for item in held.items)


@pytest.mark.parametrize("text", ["arena:test:many", "arena:test:5:x", "arena:test:5:0:1", "arena:test:999999999"])
def test_a_suite_that_is_written_wrongly_is_refused(text):
    with pytest.raises(ConfigError, match="is no suite of the arena"):
        sources.named(text)


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(ArenaError, match="no split"):
        sources.named("arena:none:5")


@given(st.text(max_size=12))
def test_whatever_is_named_is_a_suite_or_refused(text):
    try:
        assert sources.named(f"arena:{text}").suite.items
    except (ArenaError, ConfigError) as error:
        assert str(error)
