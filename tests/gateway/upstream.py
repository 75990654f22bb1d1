"""FakeUpstream: a real HTTP server on loopback that answers as a test tells it to, and keeps what it was sent."""

import asyncio
import json
import threading

from aiohttp import web

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 10,
    "total_tokens": 1010,
    "prompt_tokens_details": {"cached_tokens": 600},
}
WORDS = ["Hello", ", ", "how ", "may ", "I ", "help", "?"]
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "find_car", "arguments": '{"make": "Ford"}'}}


def answer(model="fake-model", message=None, finish="stop", usage=USAGE):
    """A plain chat completion; its spacing is odd on purpose."""
    message = message or {"role": "assistant", "content": "".join(WORDS)}
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "unknown": {"kept": [1, 2]},
    }
    return json.dumps({**whole, "usage": usage} if usage else whole, indent=1).encode()


def chunk(delta=None, finish=None, usage=None, model="fake-model"):
    """One event of a streamed chat completion; with `usage`, the extra chunk without choices."""
    choices = [] if usage else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    return b"data: " + json.dumps({**whole, "usage": usage} if usage else whole).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE_CHUNK = chunk(usage=USAGE)
TEXT = [
    chunk({"role": "assistant", "content": ""}),
    *(chunk({"content": word}) for word in WORDS),
    chunk(finish="stop"),
]
TOOLS = [
    chunk(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"index": 0, **TOOL_CALL, "function": {"name": "find_car", "arguments": ""}}],
        }
    ),
    *(
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        for piece in ('{"ma', 'ke": "F', 'ord"}')
    ),
    chunk(finish="tool_calls"),
]


class Script:
    """How to answer: status and body, or events with a pause between them, and how to end."""

    def __init__(self, body=None, events=None, status=200, end="close", headers=None, pause_s=0.0, wait_s=0.0):
        self.body = body
        self.events = events
        self.status = status
        self.end = end
        self.headers = headers or {}
        self.pause_s = pause_s
        self.wait_s = wait_s


def usual(seen):
    """What a good model server does: streams or not, calls a tool if there are tools, gives usage if asked."""
    body = seen.json
    tools = bool(body.get("tools"))
    if not body.get("stream"):
        message = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]} if tools else None
        if (body.get("response_format") or {}).get("type") == "json_schema":
            message = {"role": "assistant", "content": '{"make": "Ford", "doors": 4}'}
        return Script(body=answer(body["model"], message, "tool_calls" if tools else "stop"))
    asked = (body.get("stream_options") or {}).get("include_usage")
    return Script(events=[*(TOOLS if tools else TEXT), *([USAGE_CHUNK] if asked else []), DONE])


class Seen:
    """One request as it came."""

    def __init__(self, body, headers, peer, method="POST", path=""):
        self.body = body
        self.method = method
        self.path = path
        self.headers = headers
        self.peer = peer
        self.cancelled = threading.Event()

    @property
    def json(self):
        return json.loads(self.body)


class FakeUpstream:
    """`with FakeUpstream() as upstream:`; set `upstream.script` to a Script or to a function of Seen that gives one."""

    def __init__(self):
        self.script = usual
        self.seen = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def _answer(self, request):
        peer = request.transport.get_extra_info("peername")
        seen = Seen(await request.read(), dict(request.headers), peer, request.method, request.raw_path)
        self.seen.append(seen)
        script = self.script(seen) if callable(self.script) else self.script
        try:
            await asyncio.sleep(script.wait_s)
            if script.events is None:
                return web.Response(
                    status=script.status,
                    body=script.body,
                    headers={"Content-Type": "application/json", **script.headers},
                )
            return await self._stream(request, script)
        except (asyncio.CancelledError, ConnectionError):
            seen.cancelled.set()
            raise

    async def _stream(self, request, script):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **script.headers})
        await response.prepare(request)
        for event in script.events:
            await response.write(event)
            await asyncio.sleep(script.pause_s)
        if script.end == "abort":
            request.transport.abort()
        elif script.end == "hang":
            await asyncio.sleep(60)
        await response.write_eof()
        return response

    async def _start(self):
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/v1/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    def __enter__(self):
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
