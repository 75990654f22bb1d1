"""One process for one model: takes requests from a socket, steps the engine, sends back what each step gave.

Started as `python -m trimtab.engines.worker FD`; ends when the other end of the socket closes, so it never outlives
the server.
"""

from __future__ import annotations

import select
import signal
import socket
import sys

import msgspec

from trimtab.engines.pipeline import Pipeline
from trimtab.engines.protocol import Add, Batch, Cancel, Failed, Frames, Piece, Profile, ToWorker, frame
from trimtab.errors import ModelError, TrimtabError

_READ = 1 << 16
# A fast model makes a token a millisecond. One event for each would cost the server, the gateway and the client more
# than the model itself; nobody can see the difference between those and 50 events a second.
PAUSE = 0.02


class Closed(Exception):
    """The server is gone."""


class Inbox:
    """The messages that the server sends."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._frames = sock, Frames(ToWorker)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def receive(self, wait: bool) -> list[ToWorker]:
        """Those that have come; with `wait`, at least one. Raises Closed at the end of the stream."""
        messages: list[ToWorker] = []
        # Asked before every step, so without the exception that a read of nothing would raise.
        while (wait and not messages) or self._poll.poll(0):
            try:
                data = self._sock.recv(_READ)
            except ConnectionError as error:
                raise Closed from error
            if not data:
                raise Closed
            messages.extend(self._frames.feed(data))
        return messages


def serve(sock: socket.socket, inbox: Inbox, pipeline: Pipeline) -> None:
    """Drain the inbox, step, report: until the server closes the socket."""
    while True:
        refused: list[Piece] = []
        for message in inbox.receive(wait=not pipeline.busy):
            if isinstance(message, Add):
                piece = pipeline.add(message)
                refused += [piece] if piece else []
            elif isinstance(message, Cancel):
                pipeline.cancel(message.id)
        batch = pipeline.step()
        if refused:
            batch = batch or Batch([], 0, 0, 0.0)
            batch = msgspec.structs.replace(batch, pieces=[*refused, *batch.pieces])
        if batch is not None:
            sock.sendall(frame(batch))


def main(words: list[str]) -> int:
    """Load the model the first message names, then serve. 0 when the server left, else the error's exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server decides what ends
    sock = socket.socket(fileno=int(words[0]))
    inbox = Inbox(sock)
    try:
        (profile,) = inbox.receive(wait=True)
        if not isinstance(profile, Profile):
            raise ModelError("the worker was given no profile: start it through `trimtab engine serve`")
        pipeline = Pipeline(profile, PAUSE)
        sock.sendall(frame(pipeline.ready))
        serve(sock, inbox, pipeline)
    except (Closed, ConnectionError):
        return 0
    except TrimtabError as error:
        sock.sendall(frame(Failed(" ".join(str(error).split()), error.exit_code)))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
