"""An OpenAI-compatible endpoint on loopback whose models are right as often as they are told to be: the truth is known.

What a model answers to a question is drawn from its name and the question, so the same question has the same answer.
"""

import asyncio
import hashlib
import json
import threading
from contextlib import contextmanager, suppress

from aiohttp import web


def draw(*words):
    """A number in [0, 1) that depends on nothing but the words."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, words)).encode()).digest()[:6], "big") / 2**48


class Model:
    """Right on a share of the questions: `right` of all, but `lost` of those it would get right it gets wrong and
    `gained` of the others right. `tokens` is the length of its answers; `delay_s` the time before the first."""

    def __init__(self, right=0.7, lost=0.0, gained=0.0, tokens=20, delay_s=0.0):
        self.right, self.lost, self.gained = right, lost, gained
        self.tokens, self.delay_s = tokens, delay_s

    def knows(self, name, question):
        if draw("base", question) < self.right:
            return draw("lost", name, question) >= self.lost
        return draw("gained", name, question) < self.gained


class Endpoint:
    """`models` by name. `broken(body)` may give a status to fail with. `build` is told as the system fingerprint."""

    def __init__(self, **models):
        self.models = {name.replace("_", "-"): model for name, model in models.items()}
        self.asked, self.build, self.suffix, self.broken, self.url = [], "1", "", lambda body: 0, ""
        self.listed = {}

    async def _list(self, request):
        data = [{"id": name, "object": "model", **self.listed.get(name, {})} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _chat(self, request):
        body = await request.json()
        question = body["messages"][-1]["content"]
        self.asked.append((body["model"], question))
        if status := self.broken(body):
            return web.json_response({"error": {"message": "told to fail"}}, status=status)
        model = self.models[body["model"]]
        if model.delay_s:
            await asyncio.sleep(model.delay_s)
        text = ("right" if model.knows(body["model"], question) else "wrong") + self.suffix
        usage = {"prompt_tokens": 10, "completion_tokens": model.tokens, "total_tokens": 10 + model.tokens}
        shared = {"id": "c1", "model": body["model"], "system_fingerprint": self.build, "created": 1}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({**shared, "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with suppress(ConnectionResetError):  # the run has ended and asks for no more
            await self._stream(request, response, shared, text, usage)
        return response

    async def _stream(self, request, response, shared, text, usage):
        await response.prepare(request)
        deltas = [({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop")]
        for delta, reason in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            await self._event(response, {**shared, "object": "chat.completion.chunk", "choices": [choice]})
        await self._event(response, {**shared, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()

    async def _event(self, response, value):
        await response.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    async def _serve(self, up, stop):
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        up.set()
        await stop.wait()
        await runner.cleanup()


@contextmanager
def serving(**models):
    """The endpoint on a thread of its own, for clients that are other processes."""
    endpoint, up, loop, stop = Endpoint(**models), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(endpoint._serve(up, stop)))
    thread.start()
    try:
        assert up.wait(20)
        yield endpoint
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def suite(path, count, cluster=lambda number: None, slices=lambda number: [], head=""):
    """A suite of `count` questions to which 'right' is right."""
    lines = [head] if head else []
    for number in range(count):
        item = {"id": f"q{number}", "body": {"messages": [{"role": "user", "content": f"question {number}"}]}}
        item |= {"expected": "right", "slices": slices(number)}
        if cluster(number):
            item["cluster"] = cluster(number)
        lines.append(json.dumps(item))
    path.write_text("\n".join(lines) + "\n")
    return path
