"""OpenAI's completions of a bare prompt."""

from __future__ import annotations

from typing import Any

from trimtab.gateway.assembly import Assembly, merge
from trimtab.gateway.dialects.chat import Chat
from trimtab.gateway.dialects.protocol import Reading


class Texts(Assembly):
    """Choices that hold a `text` and no message."""

    kind = "text_completion"

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if isinstance(index, int):
            into = self.choices.setdefault(index, {"index": index, "text": ""})
            merge(into, {name: held for name, held in choice.items() if name != "index"})


class Completions(Chat):
    """POST /v1/completions."""

    name = "completions"
    operation = "text_completion"
    path = "/v1/completions"

    def reading(self) -> Reading:
        return Texts()


COMPLETIONS = Completions()
