"""Recorded traffic for tests of levers: a store whose calls repeat themselves, in words of their own and in others."""

import random
from pathlib import Path

from trimtab.money import Usage
from trimtab.store.writer import TraceWriter
from trimtab.trace import Call, EndState, Payload, Record

TOPICS = ["leasing", "winter tyres", "an oil change", "roof racks"]
WAYS = ["what does {t} cost", "how much money is {t}", "the price of {t}", "how expensive is {t}"]
MS = 10**6


def records(count=120, seed=3):
    """Calls of 30 sessions of two agents; each question's answer depends on its topic alone."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        topic = chance.choice(TOPICS)
        text = f"{chance.choice(['please say', 'hello,', 'tell me'])} {chance.choice(WAYS).format(t=topic)}"
        session = f"s{number % 30}"
        call = Call(
            id=f"{number:032x}",
            trace_id=f"{number % 30:032x}",
            span_id=f"{number:016x}",
            started_ns=1_790_000_000 * 10**9 + number * 1000 * MS,
            duration_ms=500.0,
            end=EndState.COMPLETE,
            workflow="shop",
            agent=["sales", "triage"][number % 2],
            session=session,
            request_model="m",
            response_model="gpt-4o",
            usage=Usage(input_tokens=1000, output_tokens=100),
            cost_nanodollars=3_500_000,
            priced_as="gpt-4o",
        )
        asked = {"model": "m", "messages": [{"role": "user", "content": text}]}
        message = {"role": "assistant", "content": f"The price of {topic}."}
        answer = {
            "id": "chatcmpl-1",
            "model": "gpt-4o",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
        }
        made.append(Record(call, Payload(call.id, asked, answer)))
    return made


def store(folder: Path, count=120) -> Path:
    with TraceWriter(folder) as writer:
        writer.append(records(count))
    return folder
