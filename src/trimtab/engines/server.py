"""The HTTP side: routes, streams as server-sent events, errors in the API's form.

Knows no engine: models answer through `served`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from trimtab.engines import wire
from trimtab.engines.answer import Answer, Delta, Gone
from trimtab.engines.metrics import exposition
from trimtab.engines.request import Options, read_chat, read_text
from trimtab.engines.served import Served
from trimtab.engines.supervise import Generation
from trimtab.errors import RequestRefused, TrimtabError

_SSE = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_CLIENT_GONE = 499  # as nginx has it; nobody reads it


class Job:
    """One accepted request: its generation, its answer, and who writes it."""

    def __init__(self, served: Served, generation: Generation, answer: Answer, writer: wire.Chat | wire.Text) -> None:
        self.served, self.generation, self.answer, self.writer = served, generation, answer, writer
        self._begun = time.perf_counter()
        self._first = True

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Until one has a finish. Errors: RequestRefused, Gone. The tally gets the outcome, whatever it is."""
        outcome = "client_gone"
        try:
            while True:
                delta = self.answer.push(await self.generation.next())
                if self._first:
                    self._first = False
                    self.served.tally.first_tokens += 1
                    self.served.tally.first_token_seconds += time.perf_counter() - self._begun
                outcome = delta.finish or outcome
                yield delta
                if delta.finish:
                    return
        except RequestRefused as error:
            outcome = error.code or "refused"
            raise
        finally:
            self.generation.close()
            tally, answer = self.served.tally, self.answer
            tally.requests[outcome] = tally.requests.get(outcome, 0) + 1
            tally.prompt_tokens += answer.prompt_tokens
            tally.cached_tokens += answer.cached_tokens
            tally.completion_tokens += answer.completion_tokens
            tally.drafted_tokens += answer.drafted_tokens
            tally.taken_tokens += answer.taken_tokens
            tally.drafted_requests += answer.drafted_tokens > 0


class Stream(Response):
    """A job as server-sent events, one write for each step of the engine."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        job = self.job
        watch = asyncio.ensure_future(_gone(receive, job.generation))
        begun = False
        try:
            async with contextlib.aclosing(job.deltas()) as deltas:
                async for delta in deltas:
                    events = job.writer.chunks(delta)
                    if not begun:  # only now: a refusal by the engine itself still gets its own status
                        await send({"type": "http.response.start", "status": 200, "headers": _SSE})
                        events, begun = job.writer.opening() + events, True
                    if delta.finish:
                        events += job.writer.closing(job.answer)
                    if events:
                        await send({"type": "http.response.body", "body": events, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Gone:
            return
        except RequestRefused as error:
            if not begun:
                raise
            await send({"type": "http.response.body", "body": wire.error_event(error), "more_body": False})
        finally:
            watch.cancel()


async def _gone(receive: Receive, generation: Generation) -> None:
    """Close the generation when the client leaves, so that the engine stops working for nobody."""
    while (await receive())["type"] != "http.disconnect":
        pass
    generation.close()


async def _respond(request: Request, job: Job, options: Options) -> Response:
    if options.stream:
        return Stream(job)
    watch = asyncio.ensure_future(_gone(request.receive, job.generation))
    try:
        parts = [delta async for delta in job.deltas()]
    except Gone:
        return Response(status_code=_CLIENT_GONE)
    finally:
        watch.cancel()
    whole = Delta(
        tuple(said for part in parts for said in part.said),
        tuple(pair for part in parts for pair in part.logprobs),
        parts[-1].finish,
    )
    return Response(job.writer.whole(whole, job.answer), media_type="application/json")


def _find(request: Request, name: str) -> Served:
    models: Sequence[Served] = request.app.state.models
    for served in models:
        if served.name == name:
            return served
    known = ", ".join(served.name for served in models)
    raise RequestRefused(
        f"there is no model '{name}': this server has {known}", status=404, param="model", code="model_not_found"
    )


async def chat_completions(request: Request) -> Response:
    """POST /v1/chat/completions."""
    chat = read_chat(await request.body())
    served = _find(request, chat.options.model)
    prompt = served.prompt(chat)
    generation = served.generate(prompt, chat.options, chat.grammar, "messages")
    answer = Answer(served, len(prompt), chat.options, tools=bool(chat.tools))
    writer = wire.Chat(served, include_usage=chat.options.include_usage, top_logprobs=chat.top_logprobs)
    return await _respond(request, Job(served, generation, answer, writer), chat.options)


async def completions(request: Request) -> Response:
    """POST /v1/completions."""
    text = read_text(await request.body())
    served = _find(request, text.options.model)
    ids = text.prompt if isinstance(text.prompt, list) else served.codec.encode(text.prompt, special=True)
    generation = served.generate(ids, text.options, None, "prompt")
    answer = Answer(served, len(ids), text.options, tools=False)
    writer = wire.Text(served, include_usage=text.options.include_usage)
    return await _respond(request, Job(served, generation, answer, writer), text.options)


async def list_models(request: Request) -> Response:
    """GET /v1/models."""
    data = [
        {
            "id": served.name,
            "object": "model",
            "created": served.created,
            "owned_by": "trimtab",
            "max_model_len": served.context,
            "chat": served.chats,
        }
        for served in request.app.state.models
    ]
    return JSONResponse({"object": "list", "data": data})


async def health(request: Request) -> Response:
    """GET /health: 200 when every model can answer, else 503."""
    states = {served.name: served.worker.state for served in request.app.state.models}
    well = all(state == "ready" for state in states.values())
    return JSONResponse({"status": "ok" if well else "degraded", "models": states}, 200 if well else 503)


async def metrics(request: Request) -> Response:
    """GET /metrics."""
    return PlainTextResponse(exposition(request.app.state.models), media_type="text/plain; version=0.0.4")


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RequestRefused) else 500
    return JSONResponse(wire.error_body(error if isinstance(error, TrimtabError) else TrimtabError(str(error))), status)


async def _not_found(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    refusal = RequestRefused(f"{request.method} {request.url.path} is not served here", status=status)
    return JSONResponse(wire.error_body(refusal), status)


async def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


def application(models: Sequence[Served]) -> Starlette:
    """The ASGI application over loaded models."""
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/models", list_models),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        exception_handlers={TrimtabError: _refused, HTTPException: _not_found, ClientDisconnect: _left},
    )
    app.state.models = tuple(models)
    return app
