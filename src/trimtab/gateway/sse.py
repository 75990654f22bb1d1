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
        if b"\r" not in data and b"\r" not in self.tail:
            return self._feed_lines(data)
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

    def _feed_lines(self, data: bytes) -> list[bytes]:
        """The same where line feeds alone end lines, as nearly everywhere: searching for those is much faster."""
        if b"\n" not in data:
            self.tail += data
            return []
        *whole, self.tail = (self.tail + data).split(b"\n\n") if self.tail else data.split(b"\n\n")
        return [event + b"\n\n" for event in whole]


def data(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None where it has none (a comment, say)."""
    if event.startswith(b"data:") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2] if event.startswith(b"data: ") else event[5:-2]
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
