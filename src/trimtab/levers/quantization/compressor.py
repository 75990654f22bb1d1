"""llm-compressor in an environment of its own: found or made, asked by a JSON file, its work checked bit for bit.

Its pins clash with those of vLLM and of our own extras, so it never shares an interpreter with either.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.engines import build_cache
from trimtab.engines.checkpoint import Checkpoint
from trimtab.engines.prepared import COPIED
from trimtab.engines.tensors import Entry, read_header
from trimtab.errors import ConfigError, DiskFull, ModelError
from trimtab.levers.quantization import embedded
from trimtab.levers.quantization.options import Options
from trimtab.levers.quantization.samples import Sample

PACKAGE = "llmcompressor==0.14.0.1"
VARIABLE = "TRIMTAB_COMPRESSOR"
JOB = Path(__file__).with_name("compress_job.py")
GROUP = 128  # of W4A16 and of the blocks of FP8_BLOCK
RESULT = "result.json"
Say = Callable[[str], None]


def home() -> Path:
    """Where `make` puts the environment: beside the built models."""
    return build_cache.cache_root(None).parent / "environments" / PACKAGE.replace("==", "-")


def python(options: Options) -> Path:
    """The Python that has llm-compressor. ConfigError, with what to type, where there is none."""
    named = options.environment or os.environ.get(VARIABLE, "")
    found = Path(named).expanduser() if named else home() / "bin" / "python"
    if found.is_dir():
        found = found / "bin" / "python"
    if not found.exists():
        raise ConfigError(
            f"there is no environment with llm-compressor at {found}: type  trimtab quantization setup  "
            f"(about 6 GB), or name its Python in ${VARIABLE}"
        )
    return found


def make(folder: Path | None = None) -> Path:
    """Make the environment (minutes, gigabytes); its Python. ConfigError with pip's last line where it fails."""
    place = folder or home()
    if not (place / "bin" / "python").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        _typed([sys.executable, "-m", "venv", str(fresh)])
        _typed([str(fresh / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGE])
        fresh.rename(place)
    return place / "bin" / "python"


def _typed(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise ConfigError(f"'{' '.join(words[-3:])}' failed: {lines[-1].strip()[:300]}")


def check(checkpoint: Checkpoint, options: Options) -> None:
    """ConfigError for a matrix that the scheme's groups do not divide."""
    if options.scheme not in ("w4a16", "w4a16_awq", "fp8_block"):
        return
    for name, (rows, columns) in embedded.matrices(checkpoint).items():
        odd = columns % GROUP or (options.scheme == "fp8_block" and rows % GROUP)
        if name not in options.keep and odd:
            raise ConfigError(
                f"{options.scheme} wants groups of {GROUP}, and {name} has {rows} x {columns}: "
                "use fp8_dynamic or w8a8, which take any size"
            )


def compress(checkpoint: Checkpoint, options: Options, samples: Sequence[Sample], say: Say | None = None) -> Path:
    """The compressed checkpoint in the cache: whole, and made once for the same model, scheme and samples.

    Errors: ConfigError, DiskFull, ModelError with what llm-compressor said, or where an ignored tensor was changed.
    """
    check(checkpoint, options)
    interpreter = python(options)
    job = {
        "model": str(checkpoint.folder),
        "scheme": options.scheme,
        "samples": [each.ids for each in samples],
        "ignore": ignored(checkpoint, options),
        "seed": options.seed,
    }
    size = sum(entry.size for entry in checkpoint.entries.values())

    def fill(fresh: Path) -> None:
        _run(interpreter, {**job, "out": str(fresh)}, say)
        for name in (*COPIED, "generation_config.json"):
            if (checkpoint.folder / name).exists() and not (fresh / name).exists():
                shutil.copyfile(checkpoint.folder / name, fresh / name)
        untouched(fresh, checkpoint, options)

    return build_cache.keep(build_cache.cache_root(None) / f"compressed-{_digest(checkpoint, job)}", size, fill)


def ignored(checkpoint: Checkpoint, options: Options) -> list[str]:
    """Modules to leave alone. A tied output matrix is the embedding itself, so it always is among them."""
    named = [name.removesuffix(".weight") for name in options.keep if name in checkpoint.entries]
    return sorted({*named, "lm_head"} if checkpoint.shape.tied else named)


def _run(interpreter: Path, job: dict[str, Any], say: Say | None) -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-compress-") as folder:
        path = Path(folder) / "job.json"
        path.write_bytes(msgspec.json.encode(job))
        environment = {**os.environ, "PYTHONPATH": "", "TOKENIZERS_PARALLELISM": "false"}
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [str(interpreter), str(JOB), str(path)],
                stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=folder,
            )  # fmt: skip
            told = _listen(process, say)
            code = process.wait()
            errors.seek(0)
            said = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    if code:
        reason = str(told.get("error") or (said[-1] if said else "it said nothing"))
        if told.get("full"):
            raise DiskFull(f"no room for the compressed model: free some disk space and try again ({reason[:200]})")
        raise ModelError(f"llm-compressor could not make {job['scheme']}: {reason[:300]}")


def _listen(process: subprocess.Popen[bytes], say: Say | None) -> dict[str, Any]:
    """The last facts it told; stages go to `say`."""
    told: dict[str, Any] = {}
    for line in process.stdout or ():
        try:
            told = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            continue
        if say is not None and "stage" in told:
            say(str(told["stage"]))
    return told


def untouched(folder: Path, checkpoint: Checkpoint, options: Options) -> list[str]:
    """The tensors that were to be left alone, each held bit for bit against the checkpoint; else ModelError."""
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= read_header(path)
    names = [name for name in options.keep if name in checkpoint.entries]
    for name in names:
        after = found.get(name)
        if after is None or _bytes(after) != _bytes(checkpoint.entries[name]):
            raise ModelError(
                f"{name} was to be left alone and was changed: the compressed model is thrown away; keep the old one"
            )
    return names


def _bytes(entry: Entry) -> tuple[str, bytes]:
    with entry.file.open("rb") as file:
        file.seek(entry.offset)
        return entry.dtype, file.read(entry.size)


def _digest(checkpoint: Checkpoint, job: dict[str, Any]) -> str:
    total = hashlib.sha256(msgspec.json.encode([PACKAGE, {**job, "model": ""}]))
    total.update(JOB.read_bytes())
    for path in (checkpoint.folder / "config.json", *checkpoint.files):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
