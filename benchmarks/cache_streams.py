"""The two public streams of the cache's benchmark, with their vectors: questions whose right answer is their intent."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from trimtab.levers import encoder
from trimtab.levers.cache.replay import Stream

DATA = Path(os.environ.get("TRIMTAB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def banking77() -> tuple[list[str], list[str]]:
    """Train and test as one: 13,083 questions to a bank, 77 intents. CC BY 4.0, PolyAI."""
    rows = []
    for part in ("train", "test"):
        with (DATA / "banking77" / f"{part}.csv").open(newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def clinc150() -> tuple[list[str], list[str]]:
    """22,500 questions of 150 intents, and 1,200 out of scope, each its own answer. CC BY 3.0, Larson et al."""
    parts = json.loads((DATA / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    order = ("train", "val", "test", "oos_train", "oos_val", "oos_test")
    rows = [(text, intent) for part in order for text, intent in parts[part]]
    names = [f"oos {at}" if intent == "oos" else intent for at, (_, intent) in enumerate(rows)]
    return [text for text, _ in rows], names


STREAMS = {"banking77": banking77, "clinc150": clinc150}


def stream(name: str, vectors: Path) -> Stream:
    """The stream as it stands in its files; its vectors are made once and kept in the folder `vectors`."""
    questions, intents = STREAMS[name]()
    _, answers = np.unique(intents, return_inverse=True)
    digest = hashlib.sha256("\n".join(questions).encode()).hexdigest()[:16]
    file = vectors / f"{name}-{digest}.npy"
    if not file.exists():
        vectors.mkdir(parents=True, exist_ok=True)
        np.save(file, np.asarray(encoder.load().embed(questions), dtype=np.float32))
    return Stream(questions, answers, np.load(file))
