"""The comparator: is a fresh answer the same as a cached one? It gives the labels that the policy learns from.

It knows no questions. How often it is wrong is measured in `mistakes`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.levers.cache import words

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[Sequence[str]], "np.ndarray[Any, Any]"]
Judge = Callable[[str, str], "bool | None"]

COSINE = 0.92  # of two answers in other words
WIDE = 0.75  # below this cosine they are not the same, and no judge is asked
_NOT_WORDS = re.compile(r"[^\w]+")


class Answer(NamedTuple):
    """A complete answer: its text, and its tool calls as (name, arguments in JSON)."""

    text: str
    tools: tuple[tuple[str, str], ...] = ()


class Comparator:
    """Compares in order of cost: bytes, normalised text and tool calls, numbers and names, vectors, a judge.

    `embed` and `judge` may be left out; where neither can tell, the answer is None: no label.
    """

    def __init__(self, embed: Embed | None = None, judge: Judge | None = None, cosine: float = COSINE) -> None:
        self.embed, self.judge, self.cosine = embed, judge, cosine

    def same(self, fresh: Answer, held: Answer) -> bool | None:
        """May one stand for the other? None: cannot tell."""
        if fresh == held:
            return True
        if fresh.tools or held.tools:
            return called(fresh) == called(held)
        if (one := normal(fresh.text)) == (two := normal(held.text)):
            return True
        if parsed(fresh.text) is not None or parsed(held.text) is not None:
            return bool(parsed(fresh.text) == parsed(held.text))
        if differs(fresh.text, held.text):
            return False
        if not one or not two:
            return False
        return self._close(fresh.text, held.text)

    def _close(self, fresh: str, held: str) -> bool | None:
        if self.embed is None:
            return None if self.judge is None else self.judge(fresh, held)
        first, second = self.embed([fresh, held])
        cosine = float(first @ second)
        if cosine < WIDE:
            return False
        if self.judge is not None:
            return self.judge(fresh, held)
        return bool(cosine >= self.cosine)


def normal(text: str) -> str:
    """Lower case, without marks, one blank between words."""
    return _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def differs(fresh: str, held: str) -> bool:
    """Another number, id, date, or another polarity: not the same answer, however close the vectors."""
    one, two = words.facts(fresh), words.facts(held)
    if one.quantities != two.quantities or one.ids != two.ids or one.dates != two.dates:
        return True
    return one.negations % 2 != two.negations % 2


def called(answer: Answer) -> list[tuple[str, Any]]:
    """Tool calls, their arguments as values: order and blanks of JSON do not count. The order of calls does."""
    return [(name, parsed(arguments, arguments)) for name, arguments in answer.tools]


def parsed(text: str, otherwise: Any = None) -> Any:
    """The JSON object or list that the text is, else `otherwise`."""
    if text.lstrip()[:1] not in ("{", "["):
        return otherwise
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
