"""One process for one model: takes requests from a socket, steps the engine, sends back what each step gave.

Started as `python -m trimtab.engines.worker FD`; ends when the other end of the socket closes, so it never outlives
the server.
"""

from __future__ import annotations

import signal
import socket
import sys

from trimtab.engines.pipeline import Pipeline
from trimtab.engines.protocol import Add, Batch, Cancel, Failed, Frames, Piece, Profile, ToWorker, frame
from trimtab.errors import ModelError, TrimtabError

_READ = 1 << 18


class Closed(Exception):
    """The server is gone."""


def receive(sock: socket.socket, frames: Frames, wait: bool) -> list[ToWorker]:
    """The messages that have come; with `wait`, at least one. Raises Closed at the end of the stream."""
    messages: list[ToWorker] = []
    while True:
        try:
            data = sock.recv(_READ, 0 if wait and not messages else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return messages
        except ConnectionError as error:
            raise Closed from error
        if not data:
            raise Closed
        messages.extend(frames.feed(data))


def serve(sock: socket.socket, frames: Frames, pipeline: Pipeline) -> None:
    """Drain the inbox, step, report: until the server closes the socket."""
    while True:
        refused: list[Piece] = []
        for message in receive(sock, frames, wait=not pipeline.busy):
            if isinstance(message, Add):
                piece = pipeline.add(message)
                refused += [piece] if piece else []
            elif isinstance(message, Cancel):
                pipeline.cancel(message.id)
        batch = pipeline.step()
        if refused:
            batch = Batch([*refused, *batch.pieces], batch.running, batch.waiting, batch.kv_usage)
        sock.sendall(frame(batch))


def main(words: list[str]) -> int:
    """Load the model the first message names, then serve. 0 when the server left, else the error's exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server decides what ends
    sock = socket.socket(fileno=int(words[0]))
    frames = Frames(ToWorker)
    try:
        (profile,) = receive(sock, frames, wait=True)
        if not isinstance(profile, Profile):
            raise ModelError("the worker was given no profile: start it through `trimtab engine serve`")
        pipeline = Pipeline(profile)
        sock.sendall(frame(pipeline.ready))
        serve(sock, frames, pipeline)
    except (Closed, ConnectionError):
        return 0
    except TrimtabError as error:
        sock.sendall(frame(Failed(" ".join(str(error).split()), error.exit_code)))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
