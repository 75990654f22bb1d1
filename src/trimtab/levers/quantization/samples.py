"""Samples: recorded calls as the token ids that the model would see, chosen to be long and to cover every agent."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trimtab.engines.chat import ChatTemplate, special_tokens
from trimtab.engines.checkpoint import Checkpoint
from trimtab.engines.text import Codec
from trimtab.engines.vocabulary import read_vocabulary
from trimtab.errors import FormatError, ModelError, RequestRefused
from trimtab.gateway.serving import share_of
from trimtab.levers.quantization.options import FEWEST, Options
from trimtab.trace import CACHE_TAG, EndState, Trace

CLASSES = ("tool call", "hand-off", "numbers", "free text")
PUBLIC = "public"
MOST = 5000  # newest calls looked at
CHECK = 0.2  # of the fit split's sessions: not rounded by, only measured on
_HANDS_OFF = re.compile(r"transfer|hand_?off|delegate|escalate", re.IGNORECASE)


class Sample(NamedTuple):
    """Token ids of a prompt and its answer; the answer begins at `start`. `kind` is one of CLASSES."""

    id: str
    agent: str
    kind: str
    session: str
    ids: list[int]
    start: int

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return self.start


class Reader:
    """Turns calls into samples with the model's own template and tokenizer."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        folder, shape = checkpoint.folder, checkpoint.shape
        vocabulary = read_vocabulary(folder, shape.vocab)
        if vocabulary.tokenizer_json is None or vocabulary.chat_template is None:
            raise ModelError(f"{folder}: recorded calls are chats: the model needs tokenizer.json and a chat template")
        self._codec = Codec(vocabulary.tokenizer_json)
        self._template = ChatTemplate(vocabulary.chat_template, special_tokens(folder))
        self._ends, self._context = set(vocabulary.eos), shape.context

    def calls(self, traces: Iterable[Trace], agents: Sequence[str] = ()) -> list[Sample]:
        """Of whole, answered chat calls, newest `MOST`; what the model cannot take is left out."""
        found = []
        for trace in traces:
            for call in trace.calls:
                payload = trace.payloads.get(call.id)
                if payload is None or payload.response is None or call.end is not EndState.COMPLETE:
                    continue
                if call.tags.get(CACHE_TAG) == "hit" or (agents and call.agent not in agents):
                    continue
                message = answer_of(payload.response)
                if message is None or not isinstance(payload.request.get("messages"), list):
                    continue
                read = self._read(payload.request, message)
                if read is not None:
                    made = Sample(call.id, call.agent or "?", kind_of(message), call.session or trace.id, *read)
                    found.append((call.started_ns, made))
        found.sort(key=lambda pair: (pair[0], pair[1].id))
        return [sample for _, sample in found[-MOST:]]

    def texts(self, texts: Iterable[str], length: int) -> Iterator[Sample]:
        """Plain texts, cut to `length` tokens."""
        for number, text in enumerate(texts):
            ids = self._codec.encode(text)[:length]
            if len(ids) > 1:
                yield Sample(f"{PUBLIC}-{number}", PUBLIC, "free text", f"{PUBLIC}-{number}", ids, len(ids))

    def _read(self, request: dict[str, Any], message: dict[str, Any]) -> tuple[list[int], int] | None:
        tools = request.get("tools") or None
        try:
            prompt = self._template.render(request["messages"], tools)
            whole = self._template.render([*request["messages"], message], tools, {"add_generation_prompt": False})
        except (RequestRefused, TypeError, KeyError):
            return None
        said = whole[len(prompt) :] if whole.startswith(prompt) else ""
        asked, answer = self._codec.encode(prompt), self._codec.encode(said) if said else []
        # What the template writes after the end of the turn is not the model's to say.
        last = max((place for place, token in enumerate(answer) if token in self._ends), default=len(answer) - 1)
        ids = [*asked, *answer[: last + 1]]
        return (ids, len(asked)) if asked and len(ids) <= self._context else None


def answer_of(response: dict[str, Any]) -> dict[str, Any] | None:
    """The assistant's message of a chat completion; None of anything else."""
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return {"role": "assistant", **message} if isinstance(message, dict) else None


def kind_of(message: dict[str, Any]) -> str:
    """Which of CLASSES an answer is of: by its first tool call's name, else by whether it has a digit."""
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        function = calls[0].get("function") if isinstance(calls[0], dict) else None
        name = str(function.get("name")) if isinstance(function, dict) else ""
        return "hand-off" if _HANDS_OFF.search(name) else "tool call"
    return "numbers" if re.search(r"\d", str(message.get("content") or "")) else "free text"


def parts(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """(to round by, to measure on), by session."""
    inside = [share_of(f"quantization check {each.session}") >= CHECK for each in samples]
    return (
        [each for each, held in zip(samples, inside, strict=True) if held],
        [each for each, held in zip(samples, inside, strict=True) if not held],
    )


def chosen(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """At most `count`: as many of each agent as the others, half of an agent's its longest, the rest drawn by hash.

    Calibration by short prompts leaves the long ones clipped, and an agent without samples is rounded by the others'.
    """
    by_agent: dict[str, list[Sample]] = defaultdict(list)
    seen = set()
    for each in sorted(samples, key=lambda sample: sample.id):
        mark = hash(tuple(each.ids))
        if mark not in seen:
            seen.add(mark)
            by_agent[each.agent].append(each)
    ranked = {agent: _ranked(held, seed) for agent, held in by_agent.items()}
    found: list[Sample] = []
    for place in range(max((len(held) for held in ranked.values()), default=0)):
        for agent in sorted(ranked):
            if place < len(ranked[agent]) and len(found) < count:
                found.append(ranked[agent][place])
    return found


def _ranked(held: list[Sample], seed: int) -> list[Sample]:
    """Longest first and drawn by hash, by turns, each once."""
    longest = sorted(held, key=lambda each: (-each.length, each.id))
    drawn = sorted(held, key=lambda each: hashlib.sha256(f"{seed} {each.id}".encode()).digest())
    mixed = [each for pair in zip(longest, drawn, strict=True) for each in pair]
    return list({each.id: each for each in mixed}.values())


def calibration(reader: Reader, own: Sequence[Sample], options: Options) -> list[Sample]:
    """What is rounded by: the service's own, mixed with public text where a file is named.

    FormatError where there are too few.
    """
    public = public_samples(reader, options) if options.public else []
    wanted = round(options.samples * options.public_share) if public else 0
    mixed = [*chosen(own, options.samples - wanted, options.seed), *public[:wanted]]
    if len(mixed) < FEWEST:
        whose = f" of {', '.join(options.agents)}" if options.agents else ""
        raise FormatError(
            f"{len(mixed)} recorded calls{whose} are too few to round by, {FEWEST} are the fewest: record more, "
            "add texts with public, or round without any by calibrate = false"
        )
    return mixed


def public_samples(reader: Reader, options: Options) -> list[Sample]:
    """The texts of the file `options.public`, in an order drawn by hash, as long as the model's context allows."""
    texts = sorted(texts_in(Path(options.public)), key=lambda text: hashlib.sha256(text.encode()).digest())
    return list(reader.texts(texts[: options.samples], 512))


def texts_in(path: Path) -> list[str]:
    """The texts of a file: a JSON list or JSON lines of texts or of objects with `text`, else its paragraphs.

    FormatError where there are none.
    """
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise FormatError(f"the public texts {path} cannot be read ({error}): name a text or JSON file") from error
    try:
        held = (
            json.loads(whole) if path.suffix == ".json" else [json.loads(line) for line in whole.splitlines() if line]
        )
    except (ValueError, RecursionError):
        held = re.split(r"\n\s*\n", whole)
    rows = held if isinstance(held, list) else [held]
    texts = [row.get("text") if isinstance(row, dict) else row for row in rows]
    found = [text for text in texts if isinstance(text, str) and text.strip()]
    if not found:
        raise FormatError(f"{path} holds no texts: write one JSON object with 'text' a line, or paragraphs")
    return found
