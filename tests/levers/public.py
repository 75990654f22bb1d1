"""Public labelled questions as recorded calls, where the data lie beside the checkout."""

import csv
import json
import os
import random
from pathlib import Path

import pytest

from trimtab.money import Usage
from trimtab.trace import Call, EndState, Payload, Record

DATA = Path(os.environ.get("TRIMTAB_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SYSTEM = "Name the intent of the message."


def banking77():
    """13,083 questions to a bank with their intents."""
    files = [DATA / "banking77" / f"{part}.csv" for part in ("train", "test")]
    if not all(file.exists() for file in files):
        pytest.skip(f"no banking77 below {DATA}: name the folder in TRIMTAB_DATA")
    pairs = []
    for file in files:
        with file.open(newline="", encoding="utf-8") as held:
            pairs += [(row["text"], row["category"]) for row in csv.DictReader(held)]
    return pairs


def clinc150():
    """22,500 questions of 150 intents and 1,200 out of scope, each its own answer."""
    file = DATA / "clinc150" / "data_full.json"
    if not file.exists():
        pytest.skip(f"no clinc150 below {DATA}: name the folder in TRIMTAB_DATA")
    parts = json.loads(file.read_text(encoding="utf-8"))
    pairs = [pair for part in ("train", "val", "test", "oos_train", "oos_val", "oos_test") for pair in parts[part]]
    return [(text, intent if intent != "oos" else f"oos {at}") for at, (text, intent) in enumerate(pairs)]


def record(at, asked, said, agent="intent", **fields):
    """One call of its own session: `asked` answered by the text `said`."""
    name = f"{at:032x}"
    call = Call(
        id=name,
        trace_id=name,
        span_id=name[:16],
        started_ns=1_790_000_000 * 10**9 + at * 10**9,
        duration_ms=700.0,
        end=EndState.COMPLETE,
        workflow="bank",
        agent=agent,
        session=f"s{at}",
        request_model="gpt-4o",
        response_model="gpt-4o",
        usage=Usage(input_tokens=900, output_tokens=8),
        cost_nanodollars=2_330_000,
        priced_as="gpt-4o",
        **fields,
    )
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
    message = {"role": "assistant", "content": said}
    answer = {"model": "gpt-4o", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Record(call, Payload(call.id, {"model": "gpt-4o", "messages": messages}, answer))


def records(pairs, count, seed=0):
    """The first `count` of them in the order of the seed."""
    shuffled = list(pairs)
    random.Random(seed).shuffle(shuffled)
    return [record(at, asked, said) for at, (asked, said) in enumerate(shuffled[:count])]
