"""The onion: a request goes in through the steps to the upstream call, the reply comes out through them.

Knows no HTTP server and no lever; replay runs the very same chain.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.errors import RequestRefused, TrimtabError, UpstreamError
from trimtab.gateway import disclosure
from trimtab.gateway.attribution import Attribution
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.protocol import Answer, Dialect, Reading
from trimtab.gateway.keys import Key
from trimtab.gateway.wire import Head
from trimtab.money import Usage
from trimtab.trace import CACHE_TAG, EndState

log = logging.getLogger("trimtab.gateway")


class Notes:
    """What happened to one request on its way; the only part of it that changes. `marks` are tags of ours.

    `attempts` has "endpoint:outcome" of each try, the outcome a status or a code; `fallback` says whether another
    endpoint than the first choice answered; `on_end`, where set, wants to know how the call ended; `closers` cut what
    is still open of the upstream's streams; `source` is a translated answer as its provider gave it;
    `read` is a plain answer's body and what was read of it;
    `cache` is "off", or what a step that keeps answers found: "hit", "miss" or, where it did not look, "bypass".
    A hit costs nothing; `saved` is the price name and the usage of the call that it stands for.
    `key` is the client's virtual key.
    """

    def __init__(self) -> None:
        self.step_errors: list[str] = []
        self.upstream_s = 0.0
        self.endpoint: Endpoint | None = None
        self.attempts: list[str] = []
        self.fallback = False
        self.marks: dict[str, str] = {}
        self.on_end: Callable[[EndState], None] | None = None
        self.closers: list[Callable[[], None]] = []
        self.source: Answer | Reading | None = None
        self.read: tuple[bytes, Answer] | None = None
        self.cache = "off"
        self.saved: tuple[str, Usage] | None = None
        self.key: Key | None = None

    def tags(self) -> dict[str, str]:
        """What the trace keeps of it: only what is out of the ordinary."""
        tags = {"trimtab.step_error": "; ".join(self.step_errors)} if self.step_errors else {}
        if len(self.attempts) > 1:
            tags["trimtab.attempts"] = ", ".join(self.attempts)
        if self.fallback:
            tags["trimtab.fallback"] = "true"
        if self.cache != "off":
            tags[CACHE_TAG] = self.cache
        return {**tags, **self.marks} if self.marks else tags

    def ended(self, end: EndState) -> None:
        if self.on_end is not None:
            self.on_end(end)

    def close(self) -> None:
        """Nothing is read any more, even where a step lost its hold of a stream."""
        for close in self.closers:
            close()


class Request(msgspec.Struct, frozen=True):
    """One request at one point of the chain. A step passes on a changed copy (`msgspec.structs.replace`).

    `body` is the client's own bytes and `head` what was decoded of them; a step that changes one changes both.
    `deployment` is the one the request began with; without it there are no fallbacks. `dialect` is the client's, and
    so that of the reply; `query` what stood behind the path.
    """

    body: bytes
    head: Head
    headers: tuple[tuple[bytes, bytes], ...]
    endpoint: Endpoint
    who: Attribution
    notes: Notes
    deployment: Deployment | None = None
    dialect: Dialect = CHAT
    query: str = ""


class Reply(msgspec.Struct, frozen=True):
    """An answer: `body` if plain, `chunks` (bytes of server-sent events) if streamed; exactly one is set."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = None
    chunks: AsyncIterator[bytes] | None = None


class UpstreamFailed(UpstreamError):
    """The upstream gave no whole answer: `status` and `code` for the client, `end` for the trace."""

    def __init__(self, message: str, *, status: int, code: str, end: EndState = EndState.UPSTREAM_ERROR) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.end = end


class NotSpoken(UpstreamFailed):
    """The endpoint speaks another dialect, and the request cannot be put into it."""

    kind = "invalid_request_error"

    def __init__(self, refused: RequestRefused) -> None:
        code = refused.code or "not_translatable"
        super().__init__(str(refused), status=refused.status, code=code, end=EndState.REFUSED)
        self.param = refused.param


Call = Callable[[Request], Awaitable[Reply]]


class Step(Protocol):
    """One ring. Awaits `call_next` once, with the request it was given or a changed one, or answers by itself.

    It may refuse by raising an error of the tree; any other exception is its own fault and costs the client nothing.
    """

    async def __call__(self, request: Request, call_next: Call) -> Reply: ...


def fold(steps: Mapping[str, Step] | Sequence[tuple[str, Step]], tail: Call) -> Call:
    """One callable of the ordered `steps`, the first outermost, round `tail`."""
    pairs = list(steps.items()) if isinstance(steps, Mapping) else list(steps)
    for name, step in reversed(pairs):
        tail = _guarded(name, step, tail)
    return tail


def _guarded(name: str, step: Step, inner: Call) -> Call:
    """`step` round `inner`, failing open: if the step breaks, the request goes on as if it were not there."""

    async def run(request: Request) -> Reply:
        replies: list[Reply] = []
        failures: list[BaseException] = []

        async def call_next(changed: Request) -> Reply:
            try:
                reply = await inner(changed)
            except BaseException as error:
                failures.append(error)
                raise
            replies.append(reply)
            return reply

        try:
            return await step(request, call_next)
        except TrimtabError:
            raise  # a refusal on purpose, or the upstream's own failure
        except Exception as error:
            if error in failures:
                raise
            request.notes.step_errors.append(f"{name}: {type(error).__name__}: {error}")
            said = disclosure.struck(str(error), disclosure.keys_in(request.headers))
            log.warning("step %s failed and was passed over: %s: %s", name, type(error).__name__, said)
            return replies[-1] if replies else await inner(request)

    return run
