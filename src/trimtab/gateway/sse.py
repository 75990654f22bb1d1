"""Server-sent events: cuts a byte stream into whole events and keeps each one's exact bytes."""

from __future__ import annotations

import re

# Two line ends in a row close an event. The groups are atomic, so that "\r\n" is one line end and never two.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class Splitter:
    """Feed bytes as they come, take events as they are whole. The events joined are the bytes fed."""

    def __init__(self) -> None:
        self.tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completed."""
        if not self.tail and b"\r" not in data and data.find(b"\n\n") == len(data) - 2 >= 0:
            return [data]  # one whole event, as most reads are
        searched = max(0, len(self.tail) - 4)
        whole = self.tail + data if self.tail else data
        events: list[bytes] = []
        start = 0
        for match in _EVENT_END.finditer(whole, searched):
            end = match.end()
            if end == len(whole) and whole[end - 1] == 0x0D:
                break  # the line feed of this carriage return may be in the next chunk
            events.append(whole[start:end])
            start = end
        self.tail = whole[start:] if events else whole
        return events


def data(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None where it has none (a comment, say)."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
