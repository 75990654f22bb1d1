"""A small OpenAI-compatible endpoint on loopback in which the oracle plays the agents. It can be told to fail."""

import asyncio
import json
import threading
import time
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from trimtab.arena.dealership import tasks
from trimtab.arena.dealership.session import Oracle, Stage


class Mirror:
    """One session played a second time on the server's side: what the oracle would say next."""

    def __init__(self, name):
        number, _, _trial = name.partition(".")
        split, seed, index = number.split("-")
        self.stage = Stage(*tasks.draw(split, int(index) + 1, int(seed))[-1].enter())
        self.oracle = Oracle(self.stage.customer)

    async def next(self, messages):
        here = self.stage.here
        assert messages == here.messages, "the client's conversation is not the one that both sides played"
        answer = await self.oracle.act(here.agent, list(messages), [])
        self.stage.take(answer)
        return answer


class Endpoint:
    """`broken(request, body)` may return a response, or None to let the oracle answer. `asked` is every request, as
    (headers, body, seconds by the monotonic clock)."""

    def __init__(self, broken=None, usage=True):
        self.broken, self.usage = broken, usage
        self.mirrors, self.asked = {}, []
        self.url = ""

    @asynccontextmanager
    async def open(self):
        app = web.Application(client_max_size=2**24)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _models(self, request):
        return web.json_response({"object": "list", "data": [{"id": "dealer-teacher", "object": "model"}]})

    async def _chat(self, request):
        body = await request.json()
        self.asked.append((request.headers, body, time.perf_counter()))
        if self.broken is not None and (response := await self.broken(request, body)) is not None:
            return response
        name = request.headers["x-trimtab-session"]
        if name not in self.mirrors:
            self.mirrors[name] = Mirror(name)
        message = await self.mirrors[name].next(body["messages"])
        usage = counted(body["messages"], message) if self.usage else None
        if body.get("stream"):
            return await stream(request, events(message, usage))
        return web.json_response(completion(message, usage))


def counted(messages, message):
    """A word is a token here."""
    prompt = sum(len(str(m.get("content")).split()) for m in messages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": len(str(message).split()),
        "prompt_tokens_details": {"cached_tokens": prompt // 2},
    }


def completion(message, usage=None):
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }
    return whole if usage is None else {**whole, "usage": usage}


def events(message, usage=None):
    """The answer in small pieces, as real servers cut it."""
    deltas = [{"role": "assistant", "content": ""}]
    text = message.get("content") or ""
    deltas += [{"content": text[at : at + 7]} for at in range(0, len(text), 7)]
    for index, call in enumerate(message.get("tool_calls") or []):
        arguments = call["function"]["arguments"]
        first = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": first}]})
        for at in range(0, len(arguments), 9):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 9]}}]})
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if usage is not None:
        chunks.append({"choices": [], "usage": usage})
    return [json.dumps(chunk).encode() for chunk in chunks] + [b"[DONE]"]


async def stream(request, datas, drop=False):
    """Send each data as an event; with `drop` the connection is torn down in place of a clean end."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for data in datas:
        await response.write(b"data: " + data + b"\n\n")
    if drop:
        request.transport.abort()
    else:
        await response.write_eof()
    return response


@contextmanager
def in_thread(endpoint):
    """The endpoint on a loop of its own, for a client that is another process."""
    up, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve():
        async with endpoint.open():
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert up.wait(20)
        yield endpoint
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
