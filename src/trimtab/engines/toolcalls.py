"""Hermes and Qwen tool calls: finds `<tool_call>{...}</tool_call>` in text that comes in pieces.

A block that is no valid call comes back as plain text; nothing a model wrote is lost.
"""

from __future__ import annotations

import msgspec

from trimtab.engines.text import overlap

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class ToolCall(msgspec.Struct, frozen=True):
    """One call: `arguments` is the JSON text of an object, byte for byte as the model wrote it."""

    name: str
    arguments: str


class _Block(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw()
    parameters: msgspec.Raw = msgspec.Raw()


class ToolCallParser:
    """Feed it text in any pieces; it gives out text and calls in their order.

    White space round calls belongs to the form, not to the answer, and is dropped.
    """

    def __init__(self) -> None:
        self._held = ""
        self._gap = ""  # white space before the open block, given back if the block is no call
        self._inside = False
        self.calls = 0

    def push(self, text: str) -> list[str | ToolCall]:
        """What is settled by now: pieces of text, and whole calls."""
        self._held += text
        given: list[str | ToolCall] = []
        while self._inside or OPEN in self._held:
            if not self._inside:
                before, _, self._held = self._held.partition(OPEN)
                said = before.rstrip()
                self._say(given, said)
                self._gap = before[len(said) :]
                self._inside = True
            if CLOSE not in self._held:
                return given
            block, _, self._held = self._held.partition(CLOSE)
            self._inside = False
            self._close(given, block, OPEN + block + CLOSE)
        keep = overlap(self._held, OPEN)
        settled = self._held[: len(self._held) - keep].rstrip()
        self._held = self._held[len(settled) :]
        self._say(given, settled)
        return given

    def flush(self) -> list[str | ToolCall]:
        """The rest, when no more comes: an unclosed block counts if it is whole."""
        held, self._held = self._held, ""
        given: list[str | ToolCall] = []
        if self._inside:
            self._inside = False
            self._close(given, held, OPEN + held)
        else:
            self._say(given, held)
        return given

    def _say(self, given: list[str | ToolCall], text: str) -> None:
        if text and not (self.calls and text.isspace()):
            given.append(text)

    def _close(self, given: list[str | ToolCall], block: str, raw: str) -> None:
        call = read_call(block)
        if call is None:
            given.append(self._gap + raw)
        else:
            self.calls += 1
            given.append(call)


def read_call(block: str) -> ToolCall | None:
    """The call inside a block, or None where it is malformed."""
    try:
        found = msgspec.json.decode(block.strip(), type=_Block)
        text = bytes(found.arguments or found.parameters).decode() or "{}"
        value = msgspec.json.decode(text)
        if isinstance(value, str):  # some models write the arguments as a string holding JSON
            text, value = value, msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if not found.name or not isinstance(value, dict):
        return None
    return ToolCall(found.name, text)
