"""A tiny checkpoint with a chat template, and recorded traffic whose words it has."""

import random
import struct
from pathlib import Path

from tests.engines import tiny
from trimtab.trace import Call, EndState, Payload, Trace

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ["fox", "dog", "quick", "brown", "lazy", "jumps", "over", "vehicle", "book", "times"]


def model(folder: Path, **changes) -> Path:
    """A llama-shaped checkpoint of 128 x 256 matrices, tied embeddings; changes go into its config."""
    tiny.write_checkpoint(folder, "llama", tie_word_embeddings=True, **changes)
    tiny.save_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def trace(number: int, agent: str = "sales", words: int = 8, answer: dict | None = None) -> Trace:
    """One call in a session of its own."""
    chance = random.Random(number)
    said = " ".join(chance.choice(WORDS) for _ in range(words + number % 5))
    call = Call(
        id=f"{number:032x}", trace_id=f"{number:032x}", span_id="s", started_ns=number, duration_ms=1.0,
        end=EndState.COMPLETE, agent=agent, session=f"s{number}",
    )  # fmt: skip
    message = answer or {"role": "assistant", "content": f"the {WORDS[number % 10]} dog"}
    request = {"model": "m", "messages": [{"role": "user", "content": said}]}
    return Trace(call.trace_id, (call,), {call.id: Payload(call.id, request, {"choices": [{"message": message}]})})


def traffic(count: int = 60) -> list[Trace]:
    return [trace(number, ["sales", "triage"][number % 2]) for number in range(count)]


def poison(folder: Path) -> None:
    """Make the last weight of the file a NaN."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    path.write_bytes(bytes(data))
