"""Taking: a streamed answer is noted while it passes, so that it can be kept once it is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec

from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.stream import Relay
from trimtab.gateway.wire import Head
from trimtab.trace import EndState


class Taken(AsyncIterator[bytes]):
    """Passes `chunks` on. `on_end` gets all that came, once: at the stream's end or when its reader leaves; None where
    it was longer than `most` bytes or broke."""

    def __init__(self, chunks: AsyncIterator[bytes], most: int, on_end: Callable[[list[bytes] | None], None]) -> None:
        self._chunks = chunks
        self._most = most
        self._on_end = on_end
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False

    async def __anext__(self) -> bytes:
        try:
            data = await anext(self._chunks)
        except StopAsyncIteration:
            self._end(whole=True)
            raise
        except BaseException:
            self._end(whole=False)
            raise
        self._size += len(data)
        if self._size <= self._most:
            self._pieces.append(data)
        elif self._pieces:
            self._pieces.clear()
        return data

    async def aclose(self) -> None:
        """The reader wants no more; after the last event that is the usual end."""
        self._end(whole=True)
        if hasattr(self._chunks, "aclose"):
            await self._chunks.aclose()

    def _end(self, *, whole: bool) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self._pieces if whole and self._size <= self._most else None)


def plain(dialect: Dialect, head: Head, pieces: list[bytes]) -> bytes | None:
    """The plain answer that a stream's bytes say; None unless it came to its named end."""
    relay = Relay(dialect, head)
    relay.feed(b"".join(pieces))
    relay.close()
    answer = relay.assembly.answer() if relay.end is EndState.COMPLETE else None
    try:
        return None if answer is None else msgspec.json.encode(answer)
    except UnicodeEncodeError:
        return None
