"""Which drafter a run gets: the one that learnt long, or for a quick look a shorter one where that is not there."""

import pytest

from trimtab.bench import pairs


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """The target, and how long each drafter was taught that had to be made."""
    made: list[tuple[int, int]] = []
    target = tmp_path / "target"
    target.mkdir()
    (target / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(pairs.traffic, "record", lambda split, sessions, seed: sessions)
    monkeypatch.setattr(pairs.traffic, "spoken", lambda sessions: sessions)

    def drafter(its, calls, said, work, out):
        made.append((calls, its.epochs))
        (out / "model.safetensors").write_bytes(b"drafter")

    monkeypatch.setattr(pairs.training, "drafter", drafter)
    return target, made


def test_a_quick_look_is_taught_less_and_its_drafter_is_not_taken_for_the_other(tmp_path, taught):
    target, made = taught
    short = pairs.trained(target, tmp_path, print, quick=True)
    assert pairs.trained(target, tmp_path, print, quick=True) == short
    long = pairs.trained(target, tmp_path, print)
    assert long != short
    assert made == [pairs.GLANCED, pairs.LEARNT]


def test_a_quick_look_takes_the_better_drafter_where_it_is_there(tmp_path, taught):
    target, made = taught
    long = pairs.trained(target, tmp_path, print)
    assert pairs.trained(target, tmp_path, print, quick=True) == long
    assert made == [pairs.LEARNT]
