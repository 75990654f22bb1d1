"""How narrow an agent's work is: how much of its prompts is the same each time, and how few forms its outputs have.

A narrow agent is one that a small model can be tuned for. A first sign, no proof: the gate decides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.levers.examples import Example
from trimtab.stats.intervals import wilson
from trimtab.stats.quantiles import quantile

ENOUGH, NARROW = 300, 0.9  # traces; share of outputs in known forms
_MOST_OUTPUTS, _MOST_PROMPTS, _MOST_WORDS = 3000, 100, 4000
_RUN = 8  # words in a row that are the same in half of the prompts: template
_SEEN = 3  # times a form must have come to be known
_NUMBER, _QUOTED = re.compile(r"\d[\d.,:/-]*"), re.compile(r'"[^"]*"|“[^”]*”')
_WORDS_SHOWN = 12


class Form(msgspec.Struct, frozen=True):
    """One form of output: `kind` is "tool call", "json" or "text", `shape` its skeleton with the values taken out."""

    kind: str
    shape: str
    count: int


class Narrowness(msgspec.Struct, frozen=True, kw_only=True):
    """Of `n` calls. `template` is the share of a prompt's words that stand in half of all prompts, too. `covered` of
    the later half of the outputs have a form that came at least three times in the earlier half; [`low`, `high`] is
    Wilson's 95 % interval. `structured` of all are tool calls or JSON. `forms` are the commonest."""

    n: int
    template: float
    covered: float
    low: float
    high: float
    structured: float
    forms: tuple[Form, ...]
    output_p50: float
    output_p90: float

    @property
    def is_narrow(self) -> bool:
        """Few forms, by the interval's low end, and enough traces to tune on."""
        return self.n >= ENOUGH and self.low >= NARROW


def measure(examples: Sequence[Example]) -> Narrowness:
    """In the order of time; outputs beyond 3,000 and prompts beyond 100 are thinned out evenly."""
    some = thinned(sorted(examples, key=lambda each: each.call.started_ns), _MOST_OUTPUTS)
    forms = [form(each) for each in some]
    half = len(forms) // 2
    known = {name for name, times in Counter(forms[:half]).items() if times >= _SEEN}
    later = forms[half:]
    hits = sum(name in known for name in later)
    interval = wilson(hits, len(later))
    tokens = [float(each.call.usage.output_tokens) for each in some]
    return Narrowness(
        n=len(examples),
        template=template_share([each.prompt for each in thinned(some, _MOST_PROMPTS)]),
        covered=hits / len(later) if later else 0.0,
        low=interval.low,
        high=interval.high,
        structured=sum(kind != "text" for kind, _ in forms) / max(1, len(forms)),
        forms=tuple(Form(kind, shape, times) for (kind, shape), times in Counter(forms).most_common(10)),
        output_p50=quantile(tokens, 0.5) or 0.0,
        output_p90=quantile(tokens, 0.9) or 0.0,
    )


def thinned(values: Sequence[Example], most: int) -> list[Example]:
    """`most` of them at even distances."""
    if len(values) <= most:
        return list(values)
    return [values[place * len(values) // most] for place in range(most)]


def template_share(prompts: Sequence[str]) -> float:
    """The share of all words in a run of eight that at least half of the prompts have; 0 of fewer than two prompts."""
    cut = [prompt.split()[:_MOST_WORDS] for prompt in prompts]
    if len(cut) < 2:
        return 0.0
    held: Counter[int] = Counter()
    for words in cut:
        held.update({run for _, run in _runs(words)})
    constant = total = 0
    for words in cut:
        marked = bytearray(len(words))
        for place, run in _runs(words):
            if 2 * held[run] >= len(cut):
                marked[place : place + _RUN] = b"\1" * len(marked[place : place + _RUN])
        constant += sum(marked)
        total += len(words)
    return constant / total if total else 0.0


def _runs(words: list[str]) -> Iterator[tuple[int, int]]:
    """Each run of words by its hash; one shorter run where there are fewer."""
    for place in range(max(1, len(words) - _RUN + 1)):
        yield place, hash(tuple(words[place : place + _RUN]))


def form(example: Example) -> tuple[str, str]:
    """The kind and the skeleton of an output."""
    if example.calls:
        return "tool call", "; ".join(sorted(f"{name}{_arguments(given)}" for name, given in example.calls))
    text = example.answer.strip()
    if text[:1] in ("{", "["):
        try:
            return "json", _shape(msgspec.json.decode(text))
        except (msgspec.DecodeError, RecursionError):
            pass
    words = _NUMBER.sub("#", _QUOTED.sub('"…"', text)).split()
    return "text", " ".join(words[:_WORDS_SHOWN]) + (f" … {len(words)} words" if len(words) > _WORDS_SHOWN else "")


def _arguments(given: str) -> str:
    try:
        value = msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError):
        return "(not JSON)"
    return "(" + ", ".join(sorted(value)) + ")" if isinstance(value, dict) else "(…)"


def _shape(value: Any, depth: int = 0) -> str:
    """Keys and kinds of a JSON value, three levels deep."""
    if isinstance(value, Mapping) and depth < 3:
        inner = ", ".join(f"{name}: {_shape(held, depth + 1)}" for name, held in sorted(value.items())[:30])
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + (_shape(value[0], depth + 1) if value and depth < 3 else "") + "]"
    return {bool: "true/false", int: "number", float: "number", str: "text", type(None): "null"}.get(type(value), "…")
