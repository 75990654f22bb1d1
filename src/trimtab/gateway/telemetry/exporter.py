"""Exporter: sends spans of what was recorded to a collector, from a thread of its own and a memory that is bounded.

A collector that is slow or dead delays no request and no record: its spans wait, then are dropped and counted.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from trimtab.config import TelemetrySettings
from trimtab.endpoint import Endpoint
from trimtab.gateway.figures import Counter, Gauge
from trimtab.gateway.recorder import Writer
from trimtab.gateway.telemetry import facts, otlp, semconv
from trimtab.gateway.telemetry.collector import Collector, target
from trimtab.gateway.telemetry.facts import Place
from trimtab.gateway.telemetry.semconv import Convention
from trimtab.store.redaction import scrub
from trimtab.trace import Record, Score

if TYPE_CHECKING:
    from trimtab.store.writer import TraceWriter

log = logging.getLogger("trimtab.gateway")

_BATCH = 512
_BATCH_BYTES = 4 * 1024 * 1024
_MOST_BYTES = 64 * 1024 * 1024
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0
# A batch that nobody took for so long makes room for newer ones.
_GIVE_UP_S = 300.0
_CLOSING_S = 5.0
_LOST = ("full", "refused", "given-up", "unencodable", "closing")
_NOWHERE = Place()


class Aim(msgspec.Struct, frozen=True):
    """What the exporter is set to now."""

    settings: TelemetrySettings
    convention: Convention
    collector: Collector | None


class Exporter:
    """`offer` from the thread that writes records; `take` changes the settings; `close` sends what still waits.

    `endpoints` are asked for when records come, because a swap of the Deployment changes them. ConfigError.
    """

    def __init__(self, settings: TelemetrySettings, endpoints: Callable[[], Iterable[Endpoint]]) -> None:
        self._aim = _aimed(settings)
        self._endpoints = endpoints
        self._known: tuple[Endpoint, ...] = ()
        self._places: dict[str, Place] = {}
        self._change = threading.Condition()
        self._waiting: deque[tuple[Convention, bytes]] = deque()
        self._bytes = 0
        self._sending = 0
        self._closing = False
        self._warned = False
        self._thread: threading.Thread | None = None
        self._used: Collector | None = None
        self.exported = Counter("trimtab_telemetry_exported_total", "Spans that the collector took.")
        self.retries = Counter("trimtab_telemetry_retries_total", "Times spans were sent again.")
        self.lost = Counter("trimtab_telemetry_lost_total", "Spans that no collector got, by reason.")
        # All there from the start: the page reads them while this adds.
        self.exported.add(amount=0)
        self.retries.add(amount=0)
        for reason in _LOST:
            self.lost.add((("reason", reason),), 0)
        waiting = "Spans in memory, on their way to the collector."
        self.waiting = Gauge("trimtab_telemetry_waiting", waiting, lambda: {(): float(len(self))})

    def __len__(self) -> int:
        return len(self._waiting) + self._sending

    def lines(self) -> list[str]:
        """For a page of metrics; none where nothing was ever to be exported."""
        if self._thread is None and self._aim.collector is None:
            return []
        return [line for part in (self.exported, self.retries, self.lost, self.waiting) for line in part.lines()]

    def take(self, settings: TelemetrySettings) -> None:
        """Export as `settings` say from now on, also what waits already; ConfigError, and then as before."""
        if settings == self._aim.settings:
            return
        aim = _aimed(settings)
        with self._change:
            self._aim = aim
            self._warned = False
            self._change.notify_all()

    def offer(self, records: Sequence[Record], *, personal_data: bool = False) -> None:
        """Take the spans of `records`, scrubbed as the store scrubs them, or count those for which there is no room.

        Never waits for the network.
        """
        aim = self._aim
        if aim.collector is None or self._closing:
            return
        self._look_around()
        spans: list[bytes] = []
        room = aim.settings.queue - len(self)
        room_bytes = _MOST_BYTES - self._bytes
        full = unencodable = 0
        for record in records:
            if len(spans) >= room or room_bytes <= 0:
                full += 1
                continue
            try:
                told = scrub(
                    record if aim.settings.content else facts.without_content(record), personal_data=personal_data
                )
                where = self._places.get(record.call.endpoint, _NOWHERE)
                spans.append(otlp.span(told, aim.convention, where, bodies=aim.settings.content))
                room_bytes -= len(spans[-1])
            except (UnicodeEncodeError, OverflowError, RecursionError):
                unencodable += 1
        with self._change:
            self._waiting.extend((aim.convention, span) for span in spans)
            self._bytes += sum(map(len, spans))
            self.lost.add((("reason", "full"),), full)
            self.lost.add((("reason", "unencodable"),), unencodable)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trimtab-telemetry", daemon=True)
                self._thread.start()
            if len(self._waiting) >= _BATCH:
                self._change.notify_all()

    def close(self, timeout_s: float = _CLOSING_S) -> None:
        """Send what waits, once; what does not arrive in time is lost."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        if left := len(self):
            with self._change:
                self.lost.add((("reason", "closing"),), left)
            log.error("%d spans did not reach the collector before the end", left)

    def _look_around(self) -> None:
        endpoints = tuple(self._endpoints())
        if endpoints != self._known:
            self._known, self._places = endpoints, facts.places(endpoints)

    def _run(self) -> None:
        while True:
            with self._change:
                self._pause(self._aim, self._aim.settings.interval_s, full=_BATCH)
                batch, convention = self._gathered()
                closing = self._closing
            if batch:
                self._deliver(batch, convention)
            elif closing:
                break
        if self._used is not None:
            self._used.close()

    def _gathered(self) -> tuple[list[bytes], Convention]:
        """The oldest spans of one convention, so many as one request may hold."""
        batch: list[bytes] = []
        size = 0
        convention = self._waiting[0][0] if self._waiting else self._aim.convention
        while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES and self._waiting[0][0] is convention:
            span = self._waiting.popleft()[1]
            batch.append(span)
            size += len(span)
        self._bytes -= size
        self._sending = len(batch)
        return batch, convention

    def _deliver(self, batch: Sequence[bytes], convention: Convention) -> None:
        """Send until it arrives, is refused, or has been tried for long enough."""
        give_up = time.monotonic() + _GIVE_UP_S
        wait_s = _FIRST_WAIT_S
        while True:
            aim = self._aim
            if aim.collector is None:
                return self._settle(len(batch), "given-up")
            if self._used is not None and self._used is not aim.collector:
                self._used.close()
            self._used = aim.collector
            outcome = aim.collector.send(otlp.request(batch, convention, aim.settings.service))
            if outcome.arrived:
                self._warned = False
                return self._settle(len(batch), "refused", min(outcome.rejected, len(batch)))
            self._warn(f"the telemetry collector {aim.collector.where.name} {outcome.said}")
            if not outcome.again:
                return self._settle(len(batch), "refused")
            pause_s = outcome.wait_s + random.uniform(0, wait_s)
            if self._closing or time.monotonic() + pause_s > give_up:
                return self._settle(len(batch), "closing" if self._closing else "given-up")
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            with self._change:
                self._pause(aim, pause_s)
            self.retries.add()

    def _pause(self, aim: Aim, seconds: float, full: float = math.inf) -> None:
        """Until the time is over, the end comes, other settings than `aim` hold, or `full` spans wait."""
        self._change.wait_for(lambda: self._closing or self._aim is not aim or len(self._waiting) >= full, seconds)

    def _settle(self, spans: int, reason: str, lost: int | None = None) -> None:
        """`spans` are done with, and `lost` of them (all, where it is not said) for this reason."""
        lost = spans if lost is None else lost
        with self._change:
            self._sending = 0
            self.exported.add(amount=spans - lost)
            self.lost.add((("reason", reason),), lost)

    def _warn(self, message: str) -> None:
        if not self._warned:
            log.error("%s: its spans wait, and are dropped where there is no room; serving goes on", message)
        self._warned = True


def _aimed(settings: TelemetrySettings) -> Aim:
    where = target(settings)
    collector = Collector(where, settings.timeout_s) if where is not None else None
    return Aim(settings, semconv.convention(settings.semconv), collector)


def exporting(store: TraceWriter, exporter: Exporter) -> Writer:
    """`store` as the recorder's `Writer` that offers to `exporter` what the store has taken."""
    return ExportingWriter(store, exporter, redact_personal=store.redact_personal)


class ExportingWriter:
    """Writes, then offers to the exporter. Closing it closes both."""

    def __init__(self, writer: Writer, exporter: Exporter, *, redact_personal: bool = False) -> None:
        self._writer = writer
        self._exporter = exporter
        self._redact_personal = redact_personal

    def append(self, records: Iterable[Record]) -> int:
        kept = list(records)
        new = self._writer.append(kept)
        # None was new: a message that came twice, because its first answer was lost.
        if new:
            self._exporter.offer(kept, personal_data=self._redact_personal)
        return new

    def append_scores(self, trace_id: str, scores: Sequence[Score]) -> None:
        self._writer.append_scores(trace_id, scores)

    def housekeep(self) -> None:
        self._writer.housekeep()

    def close(self) -> None:
        self._writer.close()
        self._exporter.close()
