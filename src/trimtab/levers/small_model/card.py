"""The card of what was built: data, stages, seeds, versions and what was measured, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """README.md in the artefact's folder."""
    (folder / "README.md").write_text(text(manifest), encoding="utf-8")


def text(manifest: Mapping[str, Any]) -> str:
    lines = [
        "# Small model",
        "",
        f"Built by trimtab {manifest['trimtab']} from recorded traffic; {manifest['split']}; seed {manifest['seed']}.",
        "It was fitted to what the old model said: the gate, not this card, says whether it may take its place.",
        "",
    ]
    for head in manifest.get("heads", ()):
        lines += [f"## Label head of agent '{head['agent']}'", ""]
        lines += [f"{head['labels']} labels, {head['calls']} calls; answers from {head['threshold']:.3f} on.", ""]
        lines += _table([{"by": "sentence encoder", **head["encoder"]}, {"by": "TF-IDF", **head["terms"]}])
    if manifest.get("stages"):
        lines += [f"## Language model for {', '.join(manifest['agents']) or 'every agent'}", ""]
        lines += ["Data, step by step:", "", *_table(manifest["data"])]
        lines += [f"Preference pairs: {manifest['pairs']}.", ""]
        lines += ["Stages, each measured on held-out template families (answers given word for word):", ""]
        lines += _table([_flat(stage) for stage in manifest["stages"]])
        told = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
        lines += [f"Versions: {told}.", ""]
    return "\n".join(lines)


def _flat(stage: Mapping[str, Any]) -> dict[str, Any]:
    exact = {name: f"{right} of {n}" for name, (right, n) in stage["exact"].items()}
    return {"stage": stage["stage"], "steps": stage["steps"], "held-out loss": stage["held_out_loss"], **exact}


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return [*lines, *("| " + " | ".join(str(row.get(head, "")) for head in heads) + " |" for row in rows), ""]
