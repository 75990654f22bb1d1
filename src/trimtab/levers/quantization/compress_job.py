"""One compression by llm-compressor, run as a script by a Python that has it. Knows nothing of Trimtab.

`python compress_job.py JOB.json`: reads the job, writes the folder `out`, and last `out`/result.json. Progress goes to
standard output as JSON lines. JOB: model, out, scheme, samples (lists of token ids), ignore (module names), seed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[switch] = "1"

FP8 = {"fp8_dynamic": "FP8_DYNAMIC", "fp8_static": "FP8", "fp8_block": "FP8_BLOCK"}


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def recipe(scheme: str, ignore: list[str]) -> list[Any]:
    """The modifiers of a scheme. `ignore` has every module that is to be left alone."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    if scheme in FP8:
        return [QuantizationModifier(targets="Linear", scheme=FP8[scheme], ignore=ignore)]
    if scheme == "w8a8":
        from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

        smooth = SmoothQuantModifier(smoothing_strength=0.8)
        return [smooth, GPTQModifier(targets="Linear", scheme="W8A8", ignore=ignore)]
    if scheme == "w4a16_awq":
        from llmcompressor.modifiers.transform.awq import AWQModifier

        unpinned()
        return [AWQModifier(), QuantizationModifier(targets="Linear", scheme="W4A16_ASYM", ignore=ignore)]
    return [GPTQModifier(targets="Linear", scheme="W4A16", ignore=ignore)]


def unpinned() -> None:
    """AWQ pins its cache for an accelerator, and fails where there is none: there nothing is pinned."""
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda self, *given, **named: None


def run(job: dict[str, Any]) -> dict[str, Any]:
    import torch
    import transformers
    from llmcompressor import oneshot

    torch.manual_seed(job["seed"])
    say(stage="load")
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype="auto")
    given = {}
    if job["samples"]:
        from datasets import Dataset

        rows = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in job["samples"]]
        given = {
            "dataset": Dataset.from_list(rows),
            "num_calibration_samples": len(rows),
            "max_seq_length": max(len(ids) for ids in job["samples"]),
            "shuffle_calibration_samples": False,
        }
    say(stage="compress", scheme=job["scheme"], samples=len(job["samples"]))
    oneshot(model=model, recipe=recipe(job["scheme"], job["ignore"]), **given)
    say(stage="save")
    model.save_pretrained(job["out"], save_compressed=True)
    return {"versions": versions()}


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("llmcompressor", "compressed-tensors", "transformers", "torch")}


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    try:
        result = run(job)
    except Exception as error:  # noqa: BLE001  whatever the libraries raise is told to who asked
        full = isinstance(error, OSError) and error.errno == 28
        say(
            error=" ".join(f"{type(error).__name__}: {error}".split())[:500], full=full or "No space left" in str(error)
        )
        return 1
    (Path(job["out"]) / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
