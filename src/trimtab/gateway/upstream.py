"""The upstream call: one attempt at one endpoint; every way to fail has a name.

That there may be others is the business of failover. Small writes leave at once, on kept lines as on new ones.
"""

from __future__ import annotations

import time

from trimtab.gateway import leg, wire
from trimtab.gateway.arrival import Arrival, reason
from trimtab.gateway.chain import Reply, Request, UpstreamFailed
from trimtab.gateway.disclosure import Strike
from trimtab.gateway.line import Broken, Late, Line
from trimtab.gateway.opening import refusal
from trimtab.gateway.pool import Address, Pool, address_of
from trimtab.gateway.wire import Problem

_MAX_ANSWER_BYTES = 64 * 1024 * 1024


class Upstream:
    """Sends requests to endpoints. `open` and `close` inside the event loop that uses it."""

    def __init__(self) -> None:
        self._pool: Pool | None = None

    async def open(self) -> None:
        self._pool = Pool()

    @property
    def pool(self) -> Pool:
        """The open pool; UpstreamFailed 503 where there is none."""
        if self._pool is None:
            raise UpstreamFailed("the gateway is not running yet: try again", status=503, code="not_ready")
        return self._pool

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def send(self, request: Request) -> Reply:
        """One attempt: the upstream's answer, its status kept; a stream comes back as soon as it has content.

        Raises UpstreamFailed where no answer came (502, 504), where a 200 is no JSON (502), or where a stream ended
        before it said anything (502).
        """
        notes, endpoint = request.notes, request.endpoint
        notes.endpoint = endpoint
        body = request.dialect.outgoing(request.body, request.head, endpoint.model)
        streamed = request.head.streamed
        limit_s = endpoint.first_token_s if streamed else endpoint.timeout_s
        began = time.perf_counter()
        try:
            return await self._exchange(self.pool, request, body, limit_s)
        except Late as error:
            what, key = ("began no stream", "first_token_s") if streamed else ("did not answer", "timeout_s")
            message = f"endpoint '{endpoint.name}' {what} within {limit_s:g} s: raise its {key}"
            raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
        finally:
            notes.upstream_s += time.perf_counter() - began

    async def _exchange(self, pool: Pool, request: Request, body: bytes, limit_s: float) -> Reply:
        endpoint = request.endpoint
        address = address_of(endpoint.url)
        line = await _asked(pool, address, request, body, limit_s)
        strike = Strike(endpoint)
        arrival = Arrival(line, endpoint, strike, lambda line: pool.give(address, line))
        try:
            returned = leg.returned(line.headers, strike)
            if line.status != 200 or not _is_stream(line):
                content = await arrival.whole(_MAX_ANSWER_BYTES)
                arrival.close()
                return _plain(request, line.status, returned, content)
            error = await arrival.open()
        except BaseException:
            arrival.close()
            raise
        finally:
            line.in_time()
        if error is None:
            request.notes.closers.append(arrival.close)
            return Reply(status=200, headers=returned, chunks=arrival)
        arrival.close()
        return _shaped(returned, *refusal(error))


async def _asked(pool: Pool, address: Address, request: Request, body: bytes, limit_s: float) -> Line:
    """A line on which the answer's headers have come. Late, by the line's deadline, where they do not within `limit_s`.

    A server may give up a line that has rested just as it is used again. That is no failure: a new one is asked.
    """
    endpoint = request.endpoint
    head = leg.head(address, request, len(body))
    until = pool.now() + limit_s
    try:
        if (line := pool.kept(address)) is not None:
            line.due(until)
            try:
                return await _begun(pool, address, line, head + body)
            except Broken:
                if line.heard or not line.may_be_stale:
                    raise
        line = await pool.connect(address, min(endpoint.connect_s, until - pool.now()))
        line.due(until)
        return await _begun(pool, address, line, head + body)
    except TimeoutError as error:
        if limit_s <= endpoint.connect_s:
            raise Late from error
        message = f"endpoint '{endpoint.name}' took no connection within {endpoint.connect_s:g} s: check its url"
        raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
    except (Broken, OSError) as error:
        why = str(error) if isinstance(error, Broken) else reason(error)
        message = f"endpoint '{endpoint.name}' cannot be reached ({why}): check its url and that it runs"
        raise UpstreamFailed(message, status=502, code="upstream_unreachable") from error


async def _begun(pool: Pool, address: Address, line: Line, request: bytes) -> Line:
    """`line` as soon as the answer's headers are there; what stops this cuts it."""
    try:
        line.send(request)
        await line.head()
    except BaseException:
        line.close()
        pool.give(address, line)
        raise
    return line


def _is_stream(line: Line) -> bool:
    kind = line.fields.get(b"content-type", b"").strip().lower()
    return kind.startswith(b"text/event-stream") and kind[17:].lstrip()[:1] in (b"", b";")


def _plain(request: Request, status: int, headers: tuple[tuple[bytes, bytes], ...], content: bytes) -> Reply:
    """A whole answer; an error of no known shape is put into the dialect's, under the upstream's own status."""
    endpoint, dialect = request.endpoint, request.dialect
    if status == 200:
        answer = dialect.answer(content)
        if answer is None:
            message = f"endpoint '{endpoint.name}' answered 200 but not in JSON: check its url"
            raise UpstreamFailed(message, status=502, code="upstream_not_json")
        if answer.error:
            return _shaped(headers, 502, content)
        request.notes.read = content, answer
        return Reply(status=status, headers=headers, body=content)
    if status < 400:
        message = f"endpoint '{endpoint.name}' answered {status}, a redirect perhaps: set its url to where it leads"
        raise UpstreamFailed(message, status=502, code="upstream_redirect")
    if wire.error_text(content) is not None:
        return Reply(status=status, headers=headers, body=content)
    message = f"endpoint '{endpoint.name}' answered {status}: look at its own log"
    return _shaped(headers, status, dialect.error_body(Problem(message, status, code=f"upstream_{status}")))


def _shaped(headers: tuple[tuple[bytes, bytes], ...], status: int, body: bytes) -> Reply:
    """An error of ours, or one of the upstream's that came under another status or content type."""
    kept = tuple((name, held) for name, held in headers if name != b"content-type")
    return Reply(status=status, headers=(*kept, (b"content-type", b"application/json")), body=body)
