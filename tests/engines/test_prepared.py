"""From a name to files: built once, whole or not at all, with everything the server asks for."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from tests.engines import tiny
from trimtab.engines import build_cache
from trimtab.engines.prepared import prepare
from trimtab.errors import ConfigError, DiskFull, ModelError, StoreError

pytestmark = pytest.mark.engine


@pytest.fixture
def model(tmp_path):
    """A checkpoint folder with tokenizer and template."""
    folder = tmp_path / "small"
    tiny.write_checkpoint(folder, "qwen3", head_dim=64)
    tiny.save_tokenizer(folder)
    return folder


def test_a_checkpoint_is_described_in_full(model, tmp_path):
    prepared = prepare(str(model), "int8", tmp_path / "cache")
    assert (prepared.name, prepared.source, prepared.precision) == ("small", model, "int8")
    sizes = (prepared.context, prepared.vocab, prepared.layers, prepared.kv_heads, prepared.head_dim)
    assert sizes == (512, tiny.VOCAB, 2, 2, 64)
    # 1 from config.json, 3 (<|im_end|>) from tokenizer_config.json: both end an answer.
    assert prepared.eos_token_ids == (1, 3)
    assert json.loads((prepared.folder / "generation_config.json").read_text())["eos_token_id"] == [1, 3]
    assert prepared.chat_template == tiny.TEMPLATE
    assert prepared.tokenizer_json == prepared.folder / "tokenizer.json"
    assert prepared.grammar
    assert prepared.folder == tmp_path / "cache" / "engines" / prepared.digest
    assert prepared.folder.is_absolute()


def test_it_needs_no_training_library(model, tmp_path):
    code = (
        "import sys; from pathlib import Path; from trimtab.engines.prepared import prepare; "
        f"prepare({str(model)!r}, 'int4', Path({str(tmp_path / 'cache')!r})); "
        "print(sorted({'torch', 'transformers', 'safetensors', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_engine_the_command_to_type_is_named(model, tmp_path):
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from pathlib import Path; from trimtab.engines.prepared import prepare\n"
        "from trimtab.errors import MissingExtra\n"
        f"try: prepare({str(model)!r}, 'int4', Path({str(tmp_path / 'cache')!r}))\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "'openvino' is not installed: type  pip install 'trimtab[engine]'"


def test_a_second_call_builds_nothing_and_each_precision_has_its_own_place(model, tmp_path):
    first = prepare(str(model), "bf16", tmp_path / "cache")
    stamp = (first.folder / "openvino_model.bin").stat().st_mtime_ns
    assert prepare(str(model), "bf16", tmp_path / "cache") == first
    assert (first.folder / "openvino_model.bin").stat().st_mtime_ns == stamp
    others = [prepare(str(model), precision, tmp_path / "cache") for precision in ("f32", "int8", "int4")]
    assert len({first.digest, *(other.digest for other in others)}) == 4
    sizes = [(other.folder / "openvino_model.bin").stat().st_size for other in (others[0], first, *others[1:])]
    assert sizes == sorted(sizes, reverse=True)


def test_changed_weights_or_config_give_another_digest(model, tmp_path):
    first = prepare(str(model), "bf16", tmp_path / "cache")
    content = bytearray((model / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (model / "model.safetensors").write_bytes(content)
    second = prepare(str(model), "bf16", tmp_path / "cache")
    tiny.write_checkpoint(model, "qwen3", head_dim=64, rope_theta=500.0)
    third = prepare(str(model), "bf16", tmp_path / "cache")
    assert len({first.digest, second.digest, third.digest}) == 3


@pytest.mark.parametrize("harm", ["cut", "lost", "no manifest", "bad manifest"])
def test_a_broken_cache_is_built_again(model, tmp_path, harm):
    first = prepare(str(model), "bf16", tmp_path / "cache")
    weights = first.folder / "openvino_model.bin"
    whole = weights.read_bytes()
    if harm == "cut":
        weights.write_bytes(whole[:-1000])
    elif harm == "lost":
        weights.unlink()
    elif harm == "no manifest":
        (first.folder / build_cache.MANIFEST).unlink()
    else:
        (first.folder / build_cache.MANIFEST).write_text("{")
    assert prepare(str(model), "bf16", tmp_path / "cache") == first
    assert weights.read_bytes() == whole
    assert not list((tmp_path / "cache" / "engines").glob(".building-*"))


def test_two_builders_at_once_agree(model, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(prepare(str(model), "int8", tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(map(str, found))) == 1
    assert build_cache.is_whole(found[0].folder)


def test_what_a_killed_builder_left_is_swept(tmp_path):
    old, fresh = tmp_path / ".building-old", tmp_path / ".building-fresh"
    for folder in (old, fresh):
        folder.mkdir()
    hour_ago = time.time() - build_cache.ABANDONED - 60
    os.utime(old, (hour_ago, hour_ago))
    build_cache.keep(tmp_path / "kept", 0, lambda folder: (folder / "a").touch())
    assert not old.exists()
    assert fresh.exists()


def test_no_room_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(DiskFull, match=r"MB needed, \d+ MB free"):
        build_cache.keep(tmp_path / "kept", 1 << 60, lambda folder: None)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_while_writing_leaves_nothing(model, tmp_path):
    """A limit on file size makes the writes fail half-way, as a full disk does."""
    code = (
        "import resource, sys; from pathlib import Path; from trimtab.engines.prepared import prepare; "
        "from trimtab.errors import DiskFull\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        f"try: prepare({str(model)!r}, 'f32', Path({str(tmp_path / 'cache')!r}))\n"
        "except DiskFull as error: print('full:', error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("full:"), done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    assert not list((tmp_path / "cache" / "engines").iterdir())
    assert prepare(str(model), "f32", tmp_path / "cache").precision == "f32"


def test_a_place_that_cannot_be_written_is_said(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="set TRIMTAB_CACHE"):
        prepare(str(model), "bf16", tmp_path / "file")


def test_the_cache_is_found_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "there"))
    assert build_cache.cache_root(None) == tmp_path / "there" / "engines"
    monkeypatch.delenv("TRIMTAB_CACHE")
    assert build_cache.cache_root(None).parts[-3:] == (".cache", "trimtab", "engines")


def test_names_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(ModelError, match="there is no model 'nothing-like-it'"):
        prepare("nothing-like-it", cache=tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"is no \.gguf file"):
        prepare(str(tmp_path / "notes.txt"), cache=tmp_path)
    with pytest.raises(ConfigError, match="'int3' is unknown: choose one of f32, bf16, int8, int4"):
        prepare("x", "int3", tmp_path)


def test_a_tokenizer_of_another_model_is_refused(model, tmp_path):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][-1] | {"id": 9000, "content": "<far>"})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="ids from 0 to 9000, the model rows 0 to 319"):
        prepare(str(model), cache=tmp_path / "cache")


def test_a_model_that_could_never_stop_is_refused(model, tmp_path):
    (model / "tokenizer_config.json").unlink()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    with pytest.raises(ModelError, match=r"names no end-of-sequence token: set eos_token_id"):
        prepare(str(model), cache=tmp_path / "cache")
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 1]}))
    assert prepare(str(model), cache=tmp_path / "cache").eos_token_ids == (5, 1)


def test_a_link_keeps_its_name(model, tmp_path, monkeypatch):
    (tmp_path / "nice-name").symlink_to(model)
    assert prepare(str(tmp_path / "nice-name"), cache=tmp_path / "cache").name == "nice-name"
    monkeypatch.chdir(model)
    assert prepare(".", cache=tmp_path / "cache").name == model.name


def test_a_model_without_template_or_tokenizer_says_so_by_none(model, tmp_path):
    (model / "chat_template.jinja").unlink()
    assert prepare(str(model), cache=tmp_path / "cache").chat_template is None
    settings = {"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    assert prepare(str(model), cache=tmp_path / "cache").chat_template == "b"
    (model / "tokenizer.json").unlink()
    bare = prepare(str(model), cache=tmp_path / "cache")
    assert bare.tokenizer_json is None
    assert not bare.grammar


def test_an_ir_folder_is_run_where_it_lies(model, tmp_path):
    built = prepare(str(model), "int8", tmp_path / "cache")
    shutil.copytree(built.folder, tmp_path / "exported")
    found = prepare(str(tmp_path / "exported"), cache=tmp_path / "other")
    assert (found.name, found.precision, found.folder) == ("exported", "ir", tmp_path / "exported")
    same = ("context", "vocab", "layers", "kv_heads", "head_dim", "eos_token_ids", "chat_template", "grammar")
    assert [getattr(found, name) for name in same] == [getattr(built, name) for name in same]
    assert not (tmp_path / "other").exists()
    prompt = [list(range(10, 60))]
    assert tiny.greedy(found.folder, prompt, 8) == tiny.greedy(built.folder, prompt, 8)


def test_a_broken_ir_folder_is_refused(model, tmp_path):
    folder = tmp_path / "exported"
    shutil.copytree(prepare(str(model), "int8", tmp_path / "cache").folder, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="names no context length"):
        prepare(str(folder))
    (folder / "config.json").write_text(config)
    weights = (folder / "openvino_model.bin").read_bytes()
    (folder / "openvino_model.bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cannot be read by OpenVINO"):
        prepare(str(folder))
    (folder / "openvino_model.bin").unlink()
    with pytest.raises(ModelError, match=r"openvino_model\.bin is missing"):
        prepare(str(folder))
    shutil.copy(folder / "openvino_tokenizer.xml", folder / "openvino_model.xml")
    shutil.copy(folder / "openvino_tokenizer.bin", folder / "openvino_model.bin")
    with pytest.raises(ModelError):
        prepare(str(folder))
