"""For GPUs: an EAGLE-3 training set and recipe for `speculators`, from recorded calls.

Y. Li et al. (2025), "EAGLE-3: scaling up inference acceleration of large language models", arXiv 2503.01840.
The rows are those that `speculators prepare-data` 0.9 takes; it is not run here, since it wants a GPU for the target.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.levers.speculation import conversations
from trimtab.levers.speculation.conversations import Reader, Spoken

ROWS = "train.jsonl"
RECIPE = "recipe.sh"
_RECIPE = """\
#!/bin/sh
# An EAGLE-3 drafter for {model}, on {rows} recorded conversations. Needs CUDA; two environments, as pins clash:
#   python -m venv speculators && speculators/bin/pip install 'speculators>=0.9'
#   python -m venv vllm && vllm/bin/pip install 'vllm>=0.18'
set -eu
MODEL=${{MODEL:-{model}}}
speculators/bin/speculators prepare-data --model "$MODEL" --data train.jsonl --output prepared \\
  --seq-length {length}{render} --no-skip-token-freq
speculators/bin/speculators train --verifier-name-or-path "$MODEL" --data-path prepared --save-path drafter \\
  --speculator-type eagle3 --epochs 10
vllm/bin/vllm serve "$MODEL" --speculative-config \\
  '{{"method": "eagle3", "model": "drafter", "num_speculative_tokens": 3}}'
"""


def export(calls: Sequence[Spoken], target: str, out: Path) -> int:
    """Write ROWS and RECIPE into the folder `out`; how many rows.

    With a target in its own tokens (`input_ids`, `loss_mask`); else as conversations, which speculators renders by
    the target's vLLM server. Rows whose tokens the target's template refuses are left out.
    """
    by = conversations.reader(target)
    rows: list[dict[str, Any]] = []
    for each in conversations.whole(calls):
        row = _tokens(each, by) if isinstance(by, Reader) else _conversation(each)
        if row is not None:
            rows.append(row)
    out.mkdir(parents=True, exist_ok=True)
    with (out / ROWS).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    longest = max((len(row.get("input_ids", ())) for row in rows), default=0)
    length = next((size for size in (1024, 2048, 4096) if size >= longest > 0), 8192)
    render = "" if isinstance(by, Reader) else ' --render-endpoint "${VLLM_URL:?a vllm server of the model}"'
    text = _RECIPE.format(model=target or "the/model", rows=len(rows), length=length, render=render)
    (out / RECIPE).write_text(text, encoding="utf-8")
    return len(rows)


def _tokens(each: Spoken, by: Reader) -> dict[str, Any] | None:
    text = by.text(each)
    if text is None:
        return None
    counted = set(text.counted)
    return {"input_ids": text.ids, "loss_mask": [int(place in counted) for place in range(len(text.ids))]}


def _conversation(each: Spoken) -> dict[str, Any]:
    tools = {"tools": json.dumps(each.tools, ensure_ascii=False)} if each.tools else {}
    return {"conversations": each.messages, **tools}
