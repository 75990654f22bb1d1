"""One model request from its first byte to its record: read, attribute, run the chain, answer, count."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from trimtab.errors import RequestRefused, TrimtabError
from trimtab.gateway import attribution, guard, http, wire
from trimtab.gateway.account import Account
from trimtab.gateway.arrival import Arrival
from trimtab.gateway.chain import Reply, Request, UpstreamFailed
from trimtab.gateway.cycle import CYCLE
from trimtab.gateway.dialects.protocol import Answer, Dialect
from trimtab.gateway.keys import Key
from trimtab.gateway.limits import Limits, Reservation
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Meter
from trimtab.gateway.recorder import Recorder
from trimtab.gateway.stream import Relay
from trimtab.gateway.trial import CANDIDATE, RESCUED, Finished, Trial
from trimtab.trace import Call, EndState

# After [DONE] an upstream has this long to close in good order, so that its connection can be used again.
_DRAIN_S = 0.25


class Services(msgspec.Struct, frozen=True):
    """What every request needs."""

    live: Live
    recorder: Recorder
    meter: Meter
    limits: Limits

    @property
    def max_body_bytes(self) -> int:
        return self.live.bounds.max_body_bytes


class Exchange:
    """One request and its answer. `run` answers it and, whatever happens, records it exactly once."""

    def __init__(
        self, services: Services, dialect: Dialect, scope: http.Scope, receive: http.Receive, send: http.Send
    ) -> None:
        self.services = services
        self.dialect = dialect
        self.serving = services.live.serving
        self.trial: Trial | None = None
        self.account = Account(services.live, scope["headers"])
        self.account.operation = dialect.operation
        self.scope = scope
        self.receive = receive
        self.send = send
        self.chunks: AsyncIterator[bytes] | None = None
        self.key: Key | None = None
        self.reservation: Reservation | None = None
        self.relaying: Relay | None = None
        self.answered = False
        self.gone = False
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer the request. A client that hangs up cancels the upstream call at once."""
        try:
            self.identify()
            self.account.body = await http.body(self.scope, self.receive, self.services.max_body_bytes)
            self.watch()
            end = await self.answer()
        except http.ClientGone:
            self.finish(EndState.CLIENT_GONE)
        except asyncio.CancelledError:
            if not self.gone:
                await self.break_off()
            self.finish(EndState.CLIENT_GONE if self.gone else EndState.CUT)
            if not self.gone or self._task is None:
                raise
            self._task.uncancel()
        except TrimtabError as error:
            self.unwatch()
            await self.send_error(error)
            self.finish(error.end if isinstance(error, UpstreamFailed) else EndState.REFUSED)
        else:
            self.finish(end)
            await self.drain(end)
        finally:
            self.unwatch()
            self.account.notes.close()
            if self.chunks is not None and hasattr(self.chunks, "aclose"):
                await self.chunks.aclose()

    def identify(self) -> None:
        """Whose call it is: its virtual key, which goes no further than here. LimitRefused 401."""
        limits, account = self.services.limits, self.account
        self.key = limits.identify(account.headers)
        account.headers = limits.without_keys(account.headers)
        account.key = self.key.name if self.key is not None else ""
        account.notes.key = self.key

    def watch(self) -> None:
        """From now on a hang-up cancels this task."""
        self.scope["extensions"][CYCLE].watch(self._hung_up)

    def unwatch(self) -> None:
        """The answer is whole: the client may leave."""
        self.scope["extensions"][CYCLE].watch(None)

    def _hung_up(self, task: asyncio.Task[None]) -> None:
        self.gone, self._task = True, task
        task.cancel()

    async def break_off(self) -> None:
        """The gateway stops and this has not ended in time: say so to the client."""
        self.unwatch()
        if self.relaying is not None:
            last = self.relaying.fail(EndState.CUT)
            self.account.error = "the gateway was stopped"
            await self.send({"type": "http.response.body", "body": last})
        elif not self.answered:
            await self.send_error(RequestRefused("the gateway is stopping: ask again", status=503, code="stopping"))

    async def answer(self) -> EndState:
        """Run the chain and pass its reply on."""
        account, request = self.account, self.request()
        if self.key is not None:
            self.reservation = await self.services.limits.reserve(self.key, request, account.live.prices)
        reply = await self.serving.chain(request)
        account.overhead_ms = account.elapsed_ms() - account.notes.upstream_s * 1e3
        if reply.chunks is None:
            return await self.pass_on(reply)
        self.chunks = reply.chunks
        return await self.relay(reply, reply.chunks)

    def request(self) -> Request:
        """The request that enters the chain; RequestRefused 400 or 404."""
        account = self.account
        try:
            account.head = head = wire.head(account.body)
        finally:
            account.who = who = account.attributed()
        guard.check_choices(head.n, account.live.bounds.max_n)
        if (trial := account.live.trial) is not None and trial.baseline is self.serving:
            self.enter(trial, head, who)
        endpoint = self.serving.endpoint_for(head.model, who.trace_id, self.dialect.spoken_by)
        if endpoint is None:
            known = ", ".join(self.serving.deployment.models)
            message = f"the model '{head.model}' is not served here: use one of {known}"
            raise RequestRefused(message, status=404, param="model", code="model_not_found")
        return Request(
            body=account.body,
            head=head,
            headers=account.headers,
            endpoint=endpoint,
            who=who,
            notes=account.notes,
            deployment=self.serving.deployment,
            dialect=self.dialect,
            query=self.scope.get("query_string", b"").decode("latin-1"),
        )

    def enter(self, trial: Trial, head: wire.Head, who: attribution.Attribution) -> None:
        """Take part in `trial`: from now on this is a call of one of its two sides."""
        self.trial, account = trial, self.account
        self.serving = trial.serving_for(head.model, who)
        account.deployment = self.serving.deployment.name
        if self.serving is trial.candidate:
            account.notes.marks[CANDIDATE] = trial.id

    async def pass_on(self, reply: Reply) -> EndState:
        """A plain answer or the upstream's error, byte for byte."""
        account, content = self.account, reply.body or b""
        account.status = reply.status
        account.size += len(content)
        read = account.notes.read
        if answer := read[1] if read is not None and read[0] is content else self.dialect.answer(content):
            account.answered(answer)
        if reply.status < 400:
            account.response = content
        else:
            account.error = wire.error_text(content) or f"status {reply.status}"
        headers = self.headers(reply)
        if not account.is_hit and (cost := account.cost()[0]) is not None:
            headers.append((b"x-trimtab-cost", f"{cost / 1e9:.9f}".encode()))
        self.unwatch()
        self.answered = True
        await self.scope["extensions"][CYCLE].answer(reply.status, headers, content)
        return EndState.COMPLETE if reply.status < 400 else EndState.UPSTREAM_ERROR

    async def relay(self, reply: Reply, chunks: AsyncIterator[bytes]) -> EndState:
        """A streamed answer, each event forwarded as it comes."""
        account = self.account
        relay = Relay(self.dialect, account.head or wire.Head())
        await self.send({"type": "http.response.start", "status": reply.status, "headers": self.headers(reply)})
        self.relaying = relay
        try:
            last = await self.forward(relay, chunks)
        except UpstreamFailed as error:
            last = relay.fail(error.end)
            relay.error = str(error)
        finally:
            account.response = relay.assembly.answer()
            account.error = relay.error
            read = relay.assembly
            account.answered(Answer(read.model, read.finish_reason, read.usage), whole=relay.end is EndState.COMPLETE)
            if relay.end is not EndState.COMPLETE:
                account.estimate()
        self.unwatch()
        await self.send({"type": "http.response.body", "body": last})
        return relay.end or EndState.CUT

    async def forward(self, relay: Relay, chunks: AsyncIterator[bytes]) -> bytes:
        """Send on what comes until the answer has its end; the bytes still to be sent."""
        if isinstance(chunks, Arrival) and chunks.can_pour:
            return await self.pour(relay, chunks)
        async for data in chunks:
            out = self.passing(relay, data)
            if relay.end is not None:
                return out
            if out:
                await self.send({"type": "http.response.body", "body": out, "more_body": True})
        return relay.close()

    async def pour(self, relay: Relay, arrival: Arrival) -> bytes:
        """As `forward`, each piece written the moment it comes."""
        write, last = self.scope["extensions"][CYCLE].write, b""

        def take(data: bytes) -> bool:
            nonlocal last
            out = self.passing(relay, data)
            if relay.end is None:
                return not out or write(out)
            last = out
            return False

        while not await arrival.pour(take):
            if relay.end is not None:
                return last
            # The client is behind: wait until it has room.
            await self.send({"type": "http.response.body", "more_body": True})
        return relay.close()

    def passing(self, relay: Relay, data: bytes) -> bytes:
        """What of the next piece goes to the client now."""
        account = self.account
        if account.ttft_ms is None:
            account.ttft_ms = account.elapsed_ms()
        account.size += len(data)
        return relay.feed(data)

    async def drain(self, end: EndState) -> None:
        """Read a complete stream to its very end."""
        if self.chunks is None or end is not EndState.COMPLETE:
            return
        with contextlib.suppress(TimeoutError, UpstreamFailed):
            async with asyncio.timeout(_DRAIN_S):
                async for _ in self.chunks:
                    pass

    async def send_error(self, error: TrimtabError) -> None:
        account = self.account
        account.who = account.who or account.attributed()
        account.status, content = http.refusal(error, self.dialect)
        account.error = str(error)
        account.key = account.key or getattr(error, "key", "")
        headers = [http.JSON, *getattr(error, "headers", ()), *account.own_headers()]
        await http.send_body(self.send, account.status, content, headers)

    def headers(self, reply: Reply) -> list[tuple[bytes, bytes]]:
        """The upstream's headers, then ours."""
        kept = [pair for pair in reply.headers if not pair[0].startswith(attribution.OWN_PREFIX)]
        return kept + self.account.own_headers()

    def finish(self, end: EndState) -> None:
        """Count the call and hand it to the recorder."""
        account, services = self.account, self.services
        account.notes.ended(end)
        call = account.call(end)
        if self.reservation is not None:
            services.limits.settle(self.reservation, call, account)
        services.meter.count(call, account.usage)
        services.meter.step_errors.add(amount=len(account.notes.step_errors))
        services.meter.cached(account.notes.cache, account.saved())
        request = account.body if account.head is not None else None
        services.recorder.submit(call, request, account.response, account.size + len(account.body))
        if self.trial is not None:
            self.report(self.trial, call)

    def report(self, trial: Trial, call: Call) -> None:
        """Tell whoever watches the trial how this ended."""
        account = self.account
        if account.head is None or account.who is None:
            return
        rescued = RESCUED in account.notes.marks
        finished = Finished(
            call=call,
            body=account.body,
            head=account.head,
            headers=account.headers,
            who=account.who,
            dialect=self.dialect,
            query=self.scope.get("query_string", b"").decode("latin-1"),
            response=account.response,
            by_candidate=self.serving is trial.candidate and not rescued,
            rescued=rescued,
        )
        trial.on_finished(finished)
