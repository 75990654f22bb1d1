"""The small model as a Step: an agent's calls go to the small model's endpoint, or are answered by its label head.

A head that is not sure enough lets the call pass to the old model. Light: numpy and the encoder come with first use.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from trimtab.deployment import StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, FormatError
from trimtab.gateway import ids, wire
from trimtab.gateway.chain import Call, Reply, Request
from trimtab.store.artifacts import ArtifactStore

if TYPE_CHECKING:
    from trimtab.levers.labels import Head

HEADS = "heads"
MARK = "trimtab.small_model"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`agents` whose calls go to the endpoint `endpoint`; heads are in the artefact, with their own agents.
    `threshold` is another cut-off than the heads' own."""

    agents: tuple[str, ...] = ()
    endpoint: str = ""
    threshold: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Guess(msgspec.Struct, frozen=True):
    """A head's likeliest answer; `sure` enough or not."""

    answer: dict[str, Any]
    chance: float
    sure: bool


def make(spec: StepSpec, folder: Path) -> SmallModel:
    """The step of `spec`. ConfigError or StoreError where its options or its artefact are wrong."""
    try:
        settings = msgspec.convert(dict(spec.options), Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the options of step 'small_model' are wrong: {error}; see docs/small_model.md") from error
    if not spec.artifact:
        raise ConfigError("step 'small_model' names no artefact: build it with  trimtab build small_model")
    return SmallModel(settings, ArtifactStore(folder).get(spec.artifact).folder / HEADS)


class SmallModel:
    """One for each Deployment that is made ready. Heads compute in a thread of their own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._heads = {held.agent: held for held in _kept(folder)}
        self._folder = folder
        self._opened: dict[str, tuple[Any, Head]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trimtab-small-model")

    async def __call__(self, request: Request, call_next: Call) -> Reply:
        agent = request.who.agent
        if agent in self._heads and request.dialect.name == "chat":
            loop = asyncio.get_running_loop()
            guess = await loop.run_in_executor(self._thread, self._guess, agent, request.body)
            request.notes.marks[MARK] = f"{'head' if guess.sure else 'escalated'} {guess.chance:.3f}"
            return _reply(request, guess.answer) if guess.sure else await call_next(request)
        if agent in self.settings.agents and (there := _named(request, self.settings.endpoint)) is not None:
            return await call_next(msgspec.structs.replace(request, endpoint=there))
        return await call_next(request)

    def _guess(self, agent: str, body: bytes) -> Guess:
        from trimtab.levers import examples

        held = self._heads[agent]
        embed, head = self._open(held)
        text = head.slot.of(examples.asked_in(msgspec.json.decode(body)))
        chances = head.chances(embed([text]))[0]
        best = int(chances.argmax())
        cut = held.threshold if self.settings.threshold is None else self.settings.threshold
        answer = held.answers.get(head.labels[best])
        sure = answer is not None and bool(text) and float(chances[best]) >= cut
        return Guess(answer or {}, float(chances[best]), sure)

    def _open(self, held: _Held) -> tuple[Any, Head]:
        if held.agent not in self._opened:
            from trimtab.levers import encoder
            from trimtab.levers.labels import Head

            its = encoder.load(held.encoder)
            head = Head.opened((self._folder / f"{held.file}.npz").read_bytes())
            if head.encoder != its.version:
                raise FormatError(f"agent '{held.agent}' has a head for another encoder: build it again")
            self._opened[held.agent] = its.embed, head
        return self._opened[held.agent]


class _Held(msgspec.Struct, frozen=True):
    agent: str
    threshold: float
    encoder: str
    answers: dict[str, dict[str, Any]]
    file: str = ""


def _kept(folder: Path) -> list[_Held]:
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            held = msgspec.json.decode(path.read_bytes(), type=_Held)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path} is no head of this version: build it again") from error
        found.append(msgspec.structs.replace(held, file=path.stem))
    return found


def _named(request: Request, name: str) -> Endpoint | None:
    deployment = request.deployment
    return next((each for each in deployment.endpoints if each.name == name), None) if deployment else None


def _reply(request: Request, answer: dict[str, Any]) -> Reply:
    """The answer as a chat completion, plain or as a stream of its own."""
    asked = [{"name": each["name"], "arguments": each["arguments"]} for each in answer.get("calls", ())]
    calls = [{"id": f"call_{ids.digits(24)}", "type": "function", "function": function} for function in asked]
    head = {"id": f"chatcmpl-{ids.digits(24)}", "created": int(time.time()), "model": "trimtab-head"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    finish = "tool_calls" if calls else "stop"
    message: dict[str, Any] = {"role": "assistant", "content": answer.get("content") or None}
    if calls:
        message["tool_calls"] = calls
    if not request.head.streamed:
        choice = {"index": 0, "message": message, "finish_reason": finish}
        body = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return Reply(200, ((b"content-type", b"application/json"),), msgspec.json.encode(body))
    numbered = [{"index": at, **call} for at, call in enumerate(calls)]
    deltas = [({**message, **({"tool_calls": numbered} if calls else {})}, None), ({}, finish)]
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas
    ]
    if _wants_usage(request):
        events.append({"choices": [], "usage": usage})
    told = [b"data: " + json.dumps({**head, "object": "chat.completion.chunk", **each}).encode() for each in events]
    return Reply(200, ((b"content-type", b"text/event-stream"),), chunks=_chunks([*told, b"data: [DONE]"]))


def _wants_usage(request: Request) -> bool:
    options = wire.value(request.head.stream_options)
    return isinstance(options, dict) and options.get("include_usage") is True


async def _chunks(events: list[bytes]) -> AsyncIterator[bytes]:
    for event in events:
        yield event + b"\n\n"
