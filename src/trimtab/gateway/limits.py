"""Limits: who may call, what a call reserves of its key's limits, what it is charged, and how a refusal reads.

Fails closed: where the key database cannot be used, calls that need it are refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.config import GatewaySettings
from trimtab.errors import RequestRefused, StoreError
from trimtab.gateway import http, wire
from trimtab.gateway.account import Account
from trimtab.gateway.admission import Busy, Denial, Hold, Limit
from trimtab.gateway.chain import Request
from trimtab.gateway.keys import PREFIX, Key, State
from trimtab.gateway.letterhead import Letterhead, once
from trimtab.gateway.metrics import METERED, Meter
from trimtab.money import PriceTable, Usage, text_of
from trimtab.trace import Call, EndState

if TYPE_CHECKING:
    from trimtab.gateway.ledger import Ledger
    from trimtab.gateway.soleledger import SoleLedger

log = logging.getLogger("trimtab.gateway")

# A token of English takes about 4 bytes, of JSON and most other text about 3; of two estimates the dearer is the safer.
BYTES_PER_TOKEN = 3
# An image, a sound or a file in base64 takes about this, whatever its bytes.
_MEDIA_TOKENS = 1500
_MEDIA_BYTES = 4096
_MEDIA_MARKS = (b"base64", b"input_audio", b"file_data")
_MOST_TOKENS = 2**31
# A million dollars a call: sums of what a provider says must fit the database.
_MOST_NANODOLLARS = 10**15
_HEADERS = frozenset((b"authorization", b"x-api-key", b"api-key"))
_VIRTUAL = re.compile(rb"(?:^|\s)" + PREFIX.encode())
_PATIENCE_S = 5.0
# A settlement waits so long for a reserve to share a transaction with. A killed process loses those that wait.
_SETTLE_S = 0.005
_MOST_WAITING = 10_000
_TIDY_EVERY = 256
_TIMEOUT = 504
_SPAN = {Limit.DAY: "day", Limit.MONTH: "month", Limit.RUN: "workflow run"}
_STATES = {
    State.EXPIRED: "has expired: ask for its expiry to be moved, or for a new one",
    State.REVOKED: "is revoked: ask for a new one",
}


class LimitRefused(RequestRefused):
    """A call that its key, or the lack of one, forbids. `key` is the key's name, `headers` go with the answer."""

    def __init__(self, message: str, *, status: int, code: str, key: str = "", wait_s: int | None = None) -> None:
        super().__init__(message, status=status, code=code, param="model" if status == 403 else None)
        self.key = key
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        if wait_s is not None:
            self.headers = ((b"retry-after", str(wait_s).encode()),)
        elif status == 401:
            self.headers = ((b"www-authenticate", b"Bearer"),)


class Reservation(msgspec.Struct, frozen=True):
    """A call's Hold on the ledger, and the part of its estimate that is input."""

    hold: Hold
    input_tokens: int


class Limits:
    """Identifies, reserves and settles; for one event loop. With `keys = "off"` it does nothing.

    A process that serves alone keeps its sums in memory, see SoleLedger. Of several (`shared`) each uses the key
    database on the loop itself, without waiting: a transaction takes some 50 µs and no disk sync. Where another process
    is just writing, a reserve sleeps and tries again. Settlements wait for the next transaction.
    """

    def __init__(self, settings: GatewaySettings, folder: Path, meter: Meter, *, shared: bool = False) -> None:
        self.required = settings.keys == "required"
        self._assumed_output = settings.assumed_output_tokens
        self._folder = folder
        self._meter = meter
        self._shared: Ledger | None = None
        self._claim: int | None = None
        self._ledger: Ledger | SoleLedger | None = None
        if settings.keys != "off":
            self._ledger = self._share() if shared else self._alone()
        self._timer: asyncio.TimerHandle | None = None
        self._settled = 0
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix="trimtab-ledger")
        self._tidying: Future[None] | None = None

    def identify(self, headers: http.Headers) -> Key | None:
        """The key that `headers` carry, None where none is needed; LimitRefused 401 or 503."""
        if self._ledger is None:
            return None
        secret = once(secret_of, headers)
        if secret is None and not self.required:
            return None
        try:
            key = self._ledger.key(secret) if secret is not None else None
        except (Busy, StoreError) as error:
            raise self._unavailable(error) from error
        if key is None:
            reason = "missing_key" if secret is None else "unknown_key"
            message = "no such key: send one of `trimtab keys create` as 'Authorization: Bearer tt-...' or x-api-key"
            raise self._refused(reason, LimitRefused(message, status=401, code="invalid_api_key"))
        state = key.state(self._ledger.clock())
        if state is not State.ACTIVE:
            message = f"key '{key.name}' {_STATES[state]}"
            raise self._refused(f"{state}_key", LimitRefused(message, status=401, code="invalid_api_key", key=key.name))
        return key

    def without_keys(self, headers: http.Headers) -> tuple[tuple[bytes, bytes], ...]:
        """`headers` without those that carry a virtual key: it is for this gateway alone."""
        if self._ledger is None:
            return headers if isinstance(headers, tuple) else tuple(headers)
        return once(_without_virtual, headers)

    async def reserve(self, key: Key, request: Request, prices: PriceTable) -> Reservation:
        """Reserve what `request` may use; LimitRefused 402, 403, 429 or 503. To be settled once."""
        head, endpoint = request.head, request.endpoint
        if not key.allows(head.model):
            known = ", ".join(key.models)
            message = f"key '{key.name}' may not ask for the model '{head.model}': use one of {known}"
            error = LimitRefused(message, status=403, code="model_not_allowed", key=key.name)
            raise self._refused("model_not_allowed", error)
        usage = Usage(input_tokens=input_tokens(request.body), output_tokens=self._output_tokens(head))
        cost = prices.cost(endpoint.price_name or head.model, usage)
        if cost is None and key.budgeted:
            self._meter.unpriced_reservations.add((("endpoint", endpoint.name),))
        tokens = usage.input_tokens + usage.output_tokens
        outcome = await self._take(key, request.who.trace_id, tokens, cost.nanodollars if cost else 0)
        if isinstance(outcome, Denial):
            raise self._refused(outcome.limit, denied(key, outcome))
        return Reservation(outcome, usage.input_tokens)

    async def reserve_unread(self, key: Key, trace_id: str) -> Reservation:
        """Reserve one request of `key` for what is passed on unread; LimitRefused 403 where a limit of the key could be
        got round with it, because what it costs and which models it asks for is not known here."""
        if key.models or key.budgeted or key.tokens_per_minute is not None:
            message = f"key '{key.name}' has limits that cannot be held for files and batches: use a key without them"
            error = LimitRefused(message, status=403, code="passthrough_not_allowed", key=key.name)
            raise self._refused("passthrough_not_allowed", error)
        outcome = await self._take(key, trace_id, 0, 0)
        if isinstance(outcome, Denial):
            raise self._refused(outcome.limit, denied(key, outcome))
        return Reservation(outcome, 0)

    def settle(self, reservation: Reservation, call: Call, account: Account) -> None:
        """Charge what the call really used: at once in memory, or else with the next reserve or in some milliseconds.
        Never waits, never fails."""
        used = charge(reservation, call, account)
        if self._shared is not None:
            self._shared.settle_later(reservation.hold, *used)
            self._settled += 1
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self._flush)
            return
        try:
            if self._ledger is None:
                raise StoreError("the gateway is stopping")
            self._ledger.settle(reservation.hold, *used)
        except (Busy, StoreError) as error:
            log.error("a call was not charged to its key: %s", error or "the key database is locked")
            self._meter.uncharged.add()

    def close(self) -> None:
        """Write what still waits, then close the ledger; more than once does no harm."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tidier.shutdown()
        ledger, self._ledger = self._ledger, None
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.patient(_PATIENCE_S)
            try:
                shared.flush()
            except (Busy, StoreError) as error:
                log.error("%d calls were not charged to their keys: %s", shared.waiting, error)
        if ledger is not None:
            ledger.close()
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    async def _take(self, key: Key, trace_id: str, tokens: int, nanodollars: int) -> Hold | Denial:
        give_up = 0.0
        while self._ledger is not None:
            try:
                return self._ledger.reserve(key, trace_id, tokens, nanodollars)
            except Busy as error:
                self._meter.ledger_busy.add()
                now = asyncio.get_running_loop().time()
                give_up = give_up or now + _PATIENCE_S
                if now > give_up:
                    raise self._unavailable(error) from error
            except StoreError as error:
                raise self._unavailable(error) from error
            # Not the same pause for all, or those that met once meet again.
            await asyncio.sleep(random.uniform(0.0005, 0.004))
        raise self._unavailable(StoreError("the gateway is stopping"))

    def _flush(self) -> None:
        """Settle what waits; where the ledger is not free, a little later again."""
        self._timer = None
        ledger = self._shared
        if ledger is None:
            return
        pause_s = 0.0
        try:
            ledger.flush()
        except Busy:
            self._meter.ledger_busy.add()
            pause_s = random.uniform(0.001, 0.005)
        except StoreError as error:
            log.error("calls are not charged to their keys yet: %s", error)
            pause_s = 1.0
        while ledger.waiting > _MOST_WAITING:
            ledger.forget_oldest()
            self._meter.uncharged.add()
        if pause_s:
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._flush)
        elif self._settled >= _TIDY_EVERY and (self._tidying is None or self._tidying.done()):
            self._settled = 0
            self._tidying = self._tidier.submit(self._tidy)

    def _alone(self) -> SoleLedger:
        # Without keys the gateway does without SQLite here, too.
        from trimtab.gateway.soleledger import SoleLedger

        return SoleLedger(self._folder)

    def _share(self) -> Ledger:
        from trimtab.gateway import keydb
        from trimtab.gateway.ledger import Ledger

        claim = keydb.claim(self._folder, alone=False)
        try:
            self._shared = Ledger(self._folder, wait_s=0)
        except StoreError:
            os.close(claim)
            raise
        self._claim = claim
        return self._shared

    def _tidy(self) -> None:
        from trimtab.gateway.ledger import Ledger

        try:
            with closing(Ledger(self._folder, wait_s=_PATIENCE_S)) as ledger:
                ledger.tidy()
        except (Busy, StoreError) as error:
            log.warning("the key database was not tidied, later again: %s", error)

    def _output_tokens(self, head: wire.Head) -> int:
        """Tokens that the answer may have: what the client allows, else what the configuration assumes."""
        most = _count(head.max_completion_tokens) or _count(head.max_tokens) or _count(head.max_output_tokens)
        return min(_MOST_TOKENS, (most or self._assumed_output) * (_count(head.n) or 1))

    def _refused(self, reason: str, error: LimitRefused) -> LimitRefused:
        self._meter.refusals.add((("reason", reason),))
        return error

    def _unavailable(self, error: Exception) -> LimitRefused:
        log.error("keys cannot be checked, calls are refused: %s", error or "the key database is locked")
        message = "keys cannot be checked at the moment: try again"
        return self._refused("unavailable", LimitRefused(message, status=503, code="limits_unavailable", wait_s=1))


def secret_of(headers: http.Headers) -> str | None:
    """The virtual key in `headers`; None where there is none."""
    for name, held in headers:
        if name in _HEADERS:
            scheme, _, token = held.strip().partition(b" ")
            given = token.strip() if name == b"authorization" and scheme.lower() == b"bearer" else held.strip()
            if given.startswith(PREFIX.encode()):
                return given.decode("latin-1")
    return None


def _without_virtual(headers: http.Headers) -> Letterhead:
    return Letterhead(pair for pair in headers if pair[0] not in _HEADERS or not _VIRTUAL.search(pair[1]))


def input_tokens(body: bytes) -> int:
    """An estimate of a request's input from its bytes, on the high side; media in base64 count by the piece."""
    if len(body) < _MEDIA_BYTES or not any(mark in body for mark in _MEDIA_MARKS):
        return len(body) // BYTES_PER_TOKEN + 1
    media = [piece for piece in body.split(b'"') if len(piece) >= _MEDIA_BYTES and b" " not in piece]
    text = len(body) - sum(map(len, media))
    return text // BYTES_PER_TOKEN + len(media) * _MEDIA_TOKENS + 1


def charge(reservation: Reservation, call: Call, account: Account) -> tuple[int, int]:
    """(tokens, nano-dollars) of the finished `call`: the provider's usage, nothing where the upstream did nothing, else
    an estimate of the input and of what came back."""
    endpoint = account.notes.endpoint
    if endpoint is None or account.operation not in METERED:
        return 0, 0
    if account.usage is not None:
        tokens = account.usage.input_tokens + account.usage.output_tokens
        return min(tokens, _MOST_TOKENS), min(call.cost_nanodollars or 0, _MOST_NANODOLLARS)
    if call.end is EndState.UPSTREAM_ERROR and account.response is None and call.status != _TIMEOUT:
        return 0, 0
    usage = Usage(input_tokens=reservation.input_tokens, output_tokens=_size(account.response) // BYTES_PER_TOKEN)
    cost = account.live.prices.cost(endpoint.price_name or account.response_model or account.asked, usage)
    return usage.input_tokens + usage.output_tokens, min(cost.nanodollars, _MOST_NANODOLLARS) if cost else 0


def denied(key: Key, denial: Denial) -> LimitRefused:
    """The refusal that the client reads: 429 for a rate, 402 for a budget."""
    after = "" if denial.wait_s is None else f"wait {denial.wait_s} s, or "
    if denial.limit in _SPAN:
        span = _SPAN[denial.limit]
        held = f", {text_of(denial.held)} is held by calls under way" if denial.held else ""
        message = (
            f"key '{key.name}' may spend {text_of(denial.allowed)} a {span}: {text_of(denial.used)} is spent{held}, and"
            f" this call may cost {text_of(denial.asked)}; {after}lower max_tokens, or have the budget raised"
        )
        error = LimitRefused(message, status=402, code="budget_exceeded", key=key.name, wait_s=denial.wait_s)
        error.kind = "insufficient_quota"
        return error
    unit = "requests" if denial.limit is Limit.REQUESTS else "tokens"
    message = (
        f"key '{key.name}' may use {denial.allowed:,} {unit} a minute: {denial.used:,} are used, and this call may take"
        f" {denial.asked:,}; {after}{'' if unit == 'requests' else 'lower max_tokens, or '}have the limit raised"
    )
    error = LimitRefused(message, status=429, code="rate_limit_exceeded", key=key.name, wait_s=denial.wait_s)
    error.kind = unit
    return error


def _count(number: Any) -> int:
    return min(number, _MOST_TOKENS) if type(number) is int and number > 0 else 0


def _size(response: bytes | dict[str, Any] | None) -> int:
    if response is None:
        return 0
    return len(response) if isinstance(response, bytes) else len(msgspec.json.encode(response))
