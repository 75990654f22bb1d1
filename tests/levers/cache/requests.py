"""Requests and answers for the cache's tests, in every dialect."""

import json

import msgspec

from trimtab.endpoint import Endpoint
from trimtab.gateway import attribution, wire
from trimtab.gateway.chain import Notes, Reply, Request
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.completions import COMPLETIONS
from trimtab.gateway.dialects.embeddings import EMBEDDINGS
from trimtab.gateway.dialects.messages import MESSAGES
from trimtab.gateway.dialects.responses import RESPONSES
from trimtab.levers.cache import replaying

ENDPOINT = Endpoint(name="e", url="http://127.0.0.1:9/v1", model="m", price="gpt-4o")
DIALECTS = {each.name: each for each in (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES)}
OPEN = "When does the shop open on Sundays?"


def chat(text=OPEN, system="You sell cars.", **more):
    said = [{"role": "system", "content": system}] if system else []
    return {"model": "m", "messages": [*said, {"role": "user", "content": text}], **more}


def request(body=None, dialect="chat", headers=(), key=None, **who):
    content = body if isinstance(body, bytes) else json.dumps(chat() if body is None else body).encode()
    head = wire.head(content)
    notes = Notes()
    notes.key = key
    its = attribution.of(headers, head)
    return Request(
        body=content,
        head=head,
        headers=tuple(headers),
        endpoint=ENDPOINT,
        who=msgspec.structs.replace(its, **who),
        notes=notes,
        dialect=DIALECTS[dialect],
    )


def completion(text="At nine.", model="m", **more):
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        **more,
    }


class Upstream:
    """The chain's end: answers with a text of its own each time, streamed where asked."""

    def __init__(self, say=None, gate=None):
        self.asked = []
        self.say = say or (lambda body, number: completion(f"Answer {number}."))
        self.gate = gate

    async def __call__(self, request):
        self.asked.append(request)
        number = len(self.asked)
        if self.gate is not None:
            await self.gate.wait()
        request.notes.endpoint = request.endpoint
        answer = self.say(json.loads(request.body), number)
        if isinstance(answer, Reply | Exception):
            if isinstance(answer, Exception):
                raise answer
            return answer
        if not request.head.streamed:
            return Reply(status=200, headers=((b"x-up", b"1"),), body=json.dumps(answer).encode())
        return Reply(status=200, chunks=replaying.Chunks(replaying.events(request.dialect.name, answer)))


async def read(reply):
    """All bytes of a reply, as the gateway reads it."""
    if reply.chunks is None:
        return reply.body
    pieces = [piece async for piece in reply.chunks]
    if hasattr(reply.chunks, "aclose"):
        await reply.chunks.aclose()
    return b"".join(pieces)
