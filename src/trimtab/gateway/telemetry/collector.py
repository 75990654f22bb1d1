"""Collector: where spans are sent to, over HTTP. Says of each sending whether it arrived and, if not, what may help.

Its headers hold keys and its address may: neither is in any message here, the host alone is.
"""

from __future__ import annotations

import email.utils
import http.client
import os
import re
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from trimtab.config import TelemetrySettings
from trimtab.errors import ConfigError
from trimtab.gateway.telemetry import otlp

_PATH = "/v1/traces"
# OTLP's own list of answers after which the same request may be sent again.
_RETRYABLE = frozenset((429, 502, 503, 504))
_MOST_ANSWER = 64 * 1024
_MOST_WAIT_S = 120.0
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Target(msgspec.Struct, frozen=True):
    """A checked address. `headers` are kept out of every `repr`."""

    secure: bool
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Target({self.name})"

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.host}:{self.port}"


class Outcome(msgspec.Struct, frozen=True):
    """What came of one sending: it arrived, but for `rejected` spans; or not, and `said` is why. `again` says whether
    sending it anew may help, not before `wait_s` where the collector named a time."""

    arrived: bool
    rejected: int = 0
    again: bool = False
    wait_s: float = 0.0
    said: str = ""


def target(settings: TelemetrySettings) -> Target | None:
    """The collector that `settings` name; None where they name none. ConfigError, which tells no value."""
    if not settings.url:
        return None
    try:
        split = urlsplit(settings.url)
        host, port = split.hostname or "", split.port
    except ValueError:
        raise ConfigError("telemetry.url is no address: write http://host:4318 or https://host") from None
    if split.scheme not in ("http", "https") or not host or not _VALUE.fullmatch(settings.url) or " " in settings.url:
        raise ConfigError("telemetry.url is no address: write http://host:4318 or https://host")
    if split.username is not None or split.password is not None:
        raise ConfigError("telemetry.url holds a name or a password: put it in telemetry.headers_env instead")
    secure = split.scheme == "https"
    path = split.path.rstrip("/")
    path = path if path.endswith(_PATH) else path + _PATH
    query = f"?{split.query}" if split.query else ""
    return Target(secure, host, port or (443 if secure else 4318), path + query, _headers(settings))


def _headers(settings: TelemetrySettings) -> tuple[tuple[str, str], ...]:
    held = dict(settings.headers)
    for name, variable in settings.headers_env.items():
        if variable not in os.environ:
            raise ConfigError(f"telemetry.headers_env.{name} names '{variable}', which is not exported: export it")
        held[name] = os.environ[variable]
    for name, text in held.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
            raise ConfigError(f"the telemetry header '{name[:64]!a}' is no header: use one line of Latin-1")
    return tuple(held.items())


class Collector:
    """`send` from one thread; keeps its connection open."""

    def __init__(self, where: Target, timeout_s: float) -> None:
        self.where = where
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def send(self, body: bytes) -> Outcome:
        """Send one export request. Never raises for what the network or the collector does."""
        was_open = self._connection is not None
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if was_open:
                # It may only have been closed for resting too long.
                return self.send(body)
            return Outcome(False, again=True, said=f"cannot be reached ({_reason(error)})")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes) -> Outcome:
        connection = self._connection = self._connection or self._connect()
        headers: Mapping[str, str] = {**dict(self.where.headers), "Content-Type": "application/json"}
        connection.request("POST", self.where.path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read(_MOST_ANSWER)
        if not answer.isclosed():
            self.close()
        if 200 <= answer.status < 300:
            return Outcome(True, rejected=otlp.rejected(content))
        wait_s = _wait_s(answer.getheader("Retry-After") or "")
        return Outcome(False, again=answer.status in _RETRYABLE, wait_s=wait_s, said=f"answered {answer.status}")

    def _connect(self) -> http.client.HTTPConnection:
        where = self.where
        if where.secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(where.host, where.port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(where.host, where.port, timeout=self._timeout_s)


def _wait_s(text: str) -> float:
    """`Retry-After`, in seconds or as a date; 0 where there is none. Nobody is waited for beyond two minutes."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), _MOST_WAIT_S)
    try:
        until = email.utils.parsedate_to_datetime(text).timestamp() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return min(max(until - time.time(), 0.0), _MOST_WAIT_S) if until else 0.0


def _reason(error: Exception) -> str:
    """A few words that hold nothing of what was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate cannot be verified"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
