"""The ASGI app: which path is answered by what. Bare ASGI, because a routing framework costs more than the routing."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from trimtab.config import Settings, TelemetrySettings
from trimtab.deployment import Deployment
from trimtab.errors import RequestRefused, TrimtabError
from trimtab.gateway import http
from trimtab.gateway.chat import Exchange, Services
from trimtab.gateway.dialects.table import DIALECTS
from trimtab.gateway.passthrough import Passthrough, kept_below
from trimtab.gateway.reload import Reloader
from trimtab.gateway.siblings import Siblings
from trimtab.gateway.telemetry.exporter import Exporter
from trimtab.gateway.trial import Watch
from trimtab.gateway.upstream import Upstream
from trimtab.trace import Score

Handler = Callable[[http.Scope, http.Receive, http.Send], Awaitable[None]]


class ScoreRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/scores: one judgement of one trace; `value` in [0, 1]."""

    trace_id: str
    name: str
    value: float
    source: str = ""


class Gateway:
    """Serves the routes. The server's lifespan opens the upstream client and, at the end, drains the recorder."""

    def __init__(self, services: Services, upstream: Upstream) -> None:
        self.services = services
        self.upstream = upstream
        self.passthrough = Passthrough(services)
        self.started = int(time.time())
        # Where the admin paths answer; None: nowhere.
        self.admin: tuple[str, int] | None = None
        self.draining = False
        self.reloader: Reloader | None = None
        self.siblings: Siblings | None = None
        self.watch: Watch | None = None
        # In this process; that of several workers is in their recording process.
        self.exporter: Exporter | None = None
        watched: dict[str, dict[str, Handler]] = {
            "/health": {"GET": self.alive},
            "/health/live": {"GET": self.alive},
            "/health/ready": {"GET": self.ready},
            "/metrics": {"GET": self.metrics},
        }
        self.dialects = {dialect.path: dialect for dialect in DIALECTS}
        self.routes: dict[str, dict[str, Handler]] = {
            **{path: {"POST": self.exchange} for path in self.dialects},
            "/v1/models": {"GET": self.models},
            "/v1/scores": {"POST": self.scores},
            **watched,
        }
        self.admin_routes: dict[str, dict[str, Handler]] = {
            "/admin/deployment": {"GET": self.deployment, "PUT": self.put_deployment},
            **watched,
        }

    def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> Coroutine[Any, Any, None]:
        if scope["type"] == "lifespan":
            return self.lifespan(receive, send)
        dialect = self.dialects.get(scope["path"])
        if dialect is not None and scope["method"] == "POST" and scope["server"] != self.admin:
            return Exchange(self.services, dialect, scope, receive, send).run()
        return self.other(scope, receive, send)

    async def other(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """What is no request to a model."""
        try:
            await self.handler(scope)(scope, receive, send)
        except http.ClientGone:
            return
        except asyncio.CancelledError:
            # At the end of the drain; what was cut has its record, and its connection is closed for it.
            if not self.draining:
                raise
        except TrimtabError as error:
            status, content = http.refusal(error)
            await http.send_body(send, status, content, [http.JSON, *getattr(error, "headers", ())])

    def handler(self, scope: http.Scope) -> Handler:
        """The handler of a path and method; RequestRefused 404 or 405."""
        path, method = scope["path"], scope["method"]
        is_admin = self.admin is not None and scope["server"] == self.admin
        handlers = (self.admin_routes if is_admin else self.routes).get(path)
        if handlers is None and path in self.admin_routes:
            message = f"{path} does not answer here: admin paths have a port of their own (gateway.admin_port)"
            raise RequestRefused(message, status=404, code="not_found")
        if handlers is None and not is_admin and kept_below(path):
            return self.passthrough.run
        if handlers is None:
            raise RequestRefused(f"there is nothing at {path}: see docs/gateway.md", status=404, code="not_found")
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = " or ".join(handlers)
            raise RequestRefused(f"{path} takes {allowed}, not {method}", status=405, code="method_not_allowed")
        return handler

    async def lifespan(self, receive: http.Receive, send: http.Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.upstream.open()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.upstream.close()
                await self.passthrough.close()
                await asyncio.to_thread(self.services.recorder.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def exchange(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await Exchange(self.services, self.dialects[scope["path"]], scope, receive, send).run()

    async def models(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        key = self.services.limits.identify(scope["headers"])
        known = self.services.live.models
        names = [name for name in known if key is None or key.allows(name)]
        data = [{"id": name, "object": "model", "created": self.started, "owned_by": "trimtab"} for name in names]
        await http.send_json(send, 200, {"object": "list", "data": data})

    async def scores(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        self.services.limits.identify(scope["headers"])
        content = await http.json_body(scope, receive, self.services.max_body_bytes)
        try:
            given = msgspec.json.decode(content, type=ScoreRequest)
        except msgspec.DecodeError as error:
            raise RequestRefused(f"not a score: {error}; send trace_id, name, value and source") from error
        if not 0 <= given.value <= 1:
            raise RequestRefused(f"a score of {given.value:g} is outside [0, 1]: scale it", param="value")
        self.services.recorder.submit_scores(given.trace_id, [Score(given.name, given.value, given.source)])
        await http.send_json(send, 202, {"accepted": True})

    async def alive(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await http.send_json(send, 200, {"status": "ok"})

    async def ready(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        healthy = self.services.recorder.healthy
        name = self.services.live.serving.deployment.name
        state: dict[str, Any] = {"recorder": healthy, "deployment": name, "draining": self.draining}
        if self.reloader is not None:
            state["config"] = self.reloader.state
        await http.send_json(send, 200 if healthy and not self.draining else 503, state)

    async def metrics(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        text = self.page()
        if self.siblings is not None:
            text = await asyncio.to_thread(self.siblings.merged, text)
        await http.send_body(send, 200, text.encode(), [http.TEXT])

    def taken(self, settings: Settings) -> None:
        """`settings` are served from now on: what is kept of a call changes too, and workers that start later know."""
        self.services.recorder.keeps = settings.store.recorded
        self.export(settings.telemetry, self.exporter)
        if self.siblings is not None:
            self.siblings.keep(settings)

    def export(self, settings: TelemetrySettings, exporter: Exporter | None) -> None:
        """Export as `settings` say, by `exporter` where it is this process that does."""
        self.services.live.spans = bool(settings.url)
        self.services.meter.conventions = settings.metrics
        if exporter is not None:
            exporter.take(settings)
            self.services.meter.pages = [exporter.lines]
        self.exporter = exporter

    def page(self) -> str:
        """This process's own metrics."""
        return self.services.meter.text(self.services.recorder.counts())

    async def deployment(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        _local_only(scope)
        await http.send_json(send, 200, self.services.live.serving.deployment)

    async def put_deployment(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """Swap; a bad Deployment gets 400 and the old one stays."""
        _local_only(scope)
        content = await http.json_body(scope, receive, self.services.max_body_bytes)
        live = self.services.live
        try:
            wanted = msgspec.json.decode(content, type=Deployment)
            # Steps may load for seconds; requests go on meanwhile.
            serving = await asyncio.to_thread(live.ready, wanted)
        except (msgspec.DecodeError, TrimtabError) as error:
            raise RequestRefused(f"deployment refused, the old one stays: {error}", code="bad_deployment") from error
        live.serving = serving
        if self.siblings is not None:
            self.siblings.publish(serving.deployment)
        await http.send_json(send, 200, serving.deployment)


def _local_only(scope: http.Scope) -> None:
    """Refuse who is not on this machine, or comes through a proxy, or under a name that is not this machine's."""
    headers = dict(scope["headers"])
    client = scope.get("client")
    host = headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0].strip("[]")
    proxied = b"x-forwarded-for" in headers or b"forwarded" in headers
    if proxied or client is None or not _is_loopback(client[0]) or not (host == "localhost" or _is_loopback(host)):
        raise RequestRefused("admin paths answer only on this machine's loopback", status=403, code="admin_local_only")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
