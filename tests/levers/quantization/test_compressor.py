"""llm-compressor as a subprocess: what is said where it is not there, and what of its work is believed."""

import json
import shutil
import sys

import pytest

from tests.levers.quantization import tiny
from trimtab.engines.checkpoint import open_checkpoint
from trimtab.errors import ConfigError, DiskFull, ModelError
from trimtab.levers.quantization import compressor, options

FAILS = """
import json, sys
print(json.dumps({"stage": "load"}))
print(json.dumps({"error": "OSError: No space left on device", "full": True}))
sys.exit(1)
"""


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(compressor.VARIABLE, raising=False)
    return open_checkpoint(tiny.model(tmp_path / "small"))


def given(**changes):
    return options.read({"scheme": "fp8_dynamic", **changes})


def test_without_the_environment_it_says_what_to_type(checkpoint):
    with pytest.raises(ConfigError, match=r"trimtab quantization setup.*TRIMTAB_COMPRESSOR"):
        compressor.compress(checkpoint, given(), [])


def test_a_python_without_it_is_quoted_and_nothing_is_kept(checkpoint, tmp_path):
    if not shutil.which("python3", path="/usr/bin:/usr/local/bin"):
        pytest.skip("there is no other Python on this machine")
    bare = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    told = []
    with pytest.raises(ModelError, match="could not make fp8_dynamic: ModuleNotFoundError"):
        compressor.compress(checkpoint, given(environment=bare), [], told.append)
    assert not list((tmp_path / "cache" / "engines").glob("*"))


def test_a_full_disk_over_there_is_a_full_disk_here(checkpoint, tmp_path, monkeypatch):
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    monkeypatch.setattr(compressor, "JOB", script)
    told = []
    with pytest.raises(DiskFull, match="free some disk space"):
        compressor.compress(checkpoint, given(environment=sys.executable), [], told.append)
    assert told == ["load"]


def test_what_was_to_be_left_alone_is_held_bit_for_bit(checkpoint, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    shutil.copyfile(checkpoint.folder / "model.safetensors", out / "model.safetensors")
    assert compressor.untouched(out, checkpoint, given()) == ["model.embed_tokens.weight"]
    entry = checkpoint.entries["model.embed_tokens.weight"]
    data = bytearray((out / "model.safetensors").read_bytes())
    data[entry.offset + 5] ^= 1
    (out / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(ModelError, match="thrown away"):
        compressor.untouched(out, checkpoint, given())


def test_a_tied_output_matrix_is_always_ignored(checkpoint):
    assert compressor.ignored(checkpoint, given(keep=[])) == ["lm_head"]
    assert compressor.ignored(checkpoint, given()) == ["lm_head", "model.embed_tokens"]


def test_an_environment_is_found_by_option_variable_or_place(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path))
    folder = tmp_path / "environments" / "llmcompressor-0.14.0.1"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    assert compressor.python(given()) == folder / "bin" / "python"
    monkeypatch.setenv(compressor.VARIABLE, sys.executable)
    assert str(compressor.python(given())) == sys.executable
    assert compressor.python(given(environment=str(folder))) == folder / "bin" / "python"


def test_the_job_is_the_same_folder_for_the_same_work(checkpoint):
    job = {"scheme": "w8a8", "samples": [[1, 2]], "model": "a"}
    assert compressor._digest(checkpoint, job) == compressor._digest(checkpoint, {**job, "model": "b"})
    assert compressor._digest(checkpoint, job) != compressor._digest(checkpoint, {**job, "samples": [[1, 3]]})
    json.dumps(job)
