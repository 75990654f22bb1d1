"""Account: what one exchange comes to, gathered while it runs: answer, usage, cost, and at the end the Call."""

from __future__ import annotations

import functools
import time
from typing import Any

import msgspec

from trimtab.gateway import attribution, disclosure, estimate, http, ids, wire
from trimtab.gateway.attribution import Attribution
from trimtab.gateway.chain import Notes
from trimtab.gateway.dialects.protocol import Answer
from trimtab.gateway.live import Live
from trimtab.money import Cost, Usage
from trimtab.trace import SAVED_TAG, Call, EndState

_NO_USAGE = Usage()


class Account:
    """Facts of one exchange. `size` is about the bytes its bodies hold; `response` the answer to be recorded."""

    def __init__(self, live: Live, headers: http.Headers) -> None:
        self.started_ns = time.time_ns()
        self.id = f"{self.started_ns // 1_000_000:012x}{ids.digits(20)}"
        self.began = time.perf_counter()
        self.live = live
        self.deployment = live.serving.deployment.name
        self.headers = headers if isinstance(headers, tuple) else tuple(headers)
        self.notes = Notes()
        self.body = b""
        self.key = ""
        self.operation = "chat"
        self.head: wire.Head | None = None
        self.who: Attribution | None = None
        self.status = 200
        self.error: str | None = None
        self.overhead_ms: float | None = None
        self.ttft_ms: float | None = None
        self.raw_usage: dict[str, Any] | None = None
        self.usage: Usage | None = None
        self.response_model = ""
        self.finish_reason: str | None = None
        self.response: bytes | dict[str, Any] | None = None
        self.size = 0
        self._priced: Cost | None = None
        self._priced_for: tuple[str, Usage | None] = ("", None)

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.began) * 1e3

    def attributed(self) -> Attribution:
        """Who makes the call. A call that belongs to no trace is one of its own, of the same id: ids that begin with
        their time lie beside one another in the store's index."""
        return attribution.of(self.headers, self.head, spans=self.live.spans, alone=self.id)

    def answered(self, answer: Answer, whole: bool = True) -> None:
        """Note what the answer says of itself. The usage of one that is not `whole` is only what was counted so far."""
        self.response_model = answer.model
        self.finish_reason = answer.finish_reason
        # A translated answer is counted as its provider counted it.
        self.raw_usage = self.notes.source.usage if self.notes.source is not None else answer.usage
        self.usage = wire.usage(self.raw_usage)
        if self.usage is not None and not whole:
            self.usage = msgspec.structs.replace(self.usage, estimated=True)

    def estimate(self) -> None:
        """Of an answer that broke off: count its tokens by its bytes where the provider has not counted them all."""
        guess = estimate.usage(self.body, self.response)
        if self.usage is None:
            self.usage = guess
        elif self.usage.estimated and guess.output_tokens > self.usage.output_tokens:
            # Some count the input at the start and the output at the end.
            self.usage = msgspec.structs.replace(self.usage, output_tokens=guess.output_tokens)

    def own_headers(self) -> list[tuple[bytes, bytes]]:
        """`x-trimtab-*` for the client, as far as known."""
        headers = [(b"x-trimtab-request-id", self.id.encode())]
        if self.who is not None:
            headers.append((b"x-trimtab-trace-id", self.who.trace_id.encode()))
        if (endpoint := self.notes.endpoint) is not None:
            headers.append((b"x-trimtab-endpoint", _one_line(endpoint.name)))
            if model := self.response_model or endpoint.model or self.asked:
                headers.append((b"x-trimtab-model", _one_line(model)))
            headers.append((b"x-trimtab-fallback", b"true" if self.notes.fallback else b"false"))
        overhead_ms = self.overhead_ms
        if overhead_ms is None:
            overhead_ms = self.elapsed_ms() - self.notes.upstream_s * 1e3
        headers.append((b"x-trimtab-cache", _one_line(self.notes.cache)))
        if self.is_hit:
            headers.append((b"x-trimtab-cost", b"0.000000000"))
            if (saved := self.saved()) is not None:
                headers.append((b"x-trimtab-saved-cost", f"{saved / 1e9:.9f}".encode()))
        headers.append((b"x-trimtab-overhead-ms", b"%.3f" % overhead_ms))
        return headers

    @property
    def is_hit(self) -> bool:
        """Whether a kept answer was given, and no model server asked."""
        return self.notes.cache == "hit"

    def saved(self) -> int | None:
        """Nano-dollars that the call which a hit stands for would have cost now; None where that is unknown."""
        if self.notes.saved is None:
            return None
        cost = self.live.prices.cost(*self.notes.saved)
        return None if cost is None else cost.nanodollars

    @property
    def asked(self) -> str:
        """The model that the client asked for."""
        return self.head.model if self.head else ""

    @property
    def priced_as(self) -> str:
        """The name to look up in the price table; empty before an endpoint is asked."""
        endpoint = self.notes.endpoint if not self.is_hit else None
        return (endpoint.price_name or self.response_model or self.asked) if endpoint else ""

    def cost(self) -> tuple[int | None, str]:
        """Nano-dollars and the price table's version; None where the usage or the price is unknown."""
        if self.is_hit:
            return 0, self.live.prices.version
        model = self.priced_as
        if self.usage is None or not model:
            return None, ""
        # Asked twice of most answers, for the header and for the record.
        name, usage = self._priced_for
        if usage is not self.usage or name != model:
            self._priced = self.live.prices.cost(model, self.usage)
            self._priced_for = model, self.usage
        cost = self._priced
        if cost is None:
            self.live.warn_unpriced(model)
            return None, ""
        return cost.nanodollars, cost.table

    def call(self, end: EndState) -> Call:
        """The finished call."""
        who = self.who or self.attributed()
        nanodollars, table = self.cost()
        endpoint, head, usage = self.notes.endpoint, self.head, self.usage
        return Call(
            id=self.id,
            trace_id=who.trace_id,
            span_id=who.span_id,
            parent_id=who.parent_id,
            started_ns=self.started_ns,
            duration_ms=self.elapsed_ms(),
            end=end,
            workflow=who.workflow,
            agent=who.agent,
            session=who.session,
            user=who.user,
            tags=self._tags(who),
            operation=self.operation,
            endpoint=endpoint.name if endpoint is not None else "",
            deployment=self.deployment,
            request_model=head.model if head is not None else "",
            response_model=self.response_model,
            stream=head is not None and head.stream is True,
            status=self.status,
            finish_reason=self.finish_reason,
            error=self._scrubbed(self.error) if self.error else self.error,
            ttft_ms=self.ttft_ms,
            overhead_ms=self.overhead_ms,
            usage=_NO_USAGE if usage is None else usage,
            raw_usage=self.raw_usage,
            cost_nanodollars=nanodollars,
            price_table=table,
            priced_as=self.priced_as,
        )

    def _tags(self, who: Attribution) -> dict[str, str]:
        """The client's, and over them ours."""
        tags = {name: held for name, held in who.tags.items() if not name.startswith("trimtab.")} if who.tags else {}
        for name, held in self.notes.tags().items():
            tags[name] = self._scrubbed(held)
        if (saved := self.saved()) is not None:
            tags[SAVED_TAG] = str(saved)
        if self.key:
            tags["trimtab.key"] = self.key
        return tags

    def _scrubbed(self, text: str) -> str:
        """`text` without the client's own keys and the endpoints', should a server or a step have echoed them."""
        ours = map(disclosure.key_of, self.live.endpoints)
        return disclosure.struck(text, [*disclosure.keys_in(self.headers), *ours])


@functools.lru_cache(maxsize=1024)
def _one_line(text: str) -> bytes:
    return "".join(char for char in text if char.isprintable()).encode("latin-1", "replace")
