"""A model behind the API: its worker, tokenizer and chat template, and what it can take.

Checks a prompt against the context before the engine sees it, since the engine drops what is too long in silence.
"""

from __future__ import annotations

import time
from pathlib import Path

from trimtab.engines.chat import ChatTemplate, special_tokens
from trimtab.engines.protocol import Add, Grammar, Profile, Ready, pack
from trimtab.engines.request import ChatRequest, Options
from trimtab.engines.supervise import Generation, Worker
from trimtab.engines.text import Codec
from trimtab.errors import ModelError, RequestRefused

QUEUE = 512  # requests inside one worker; more are refused with 429


class Tally:
    """What a model has served since the start."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.first_token_seconds, self.first_tokens = 0.0, 0
        self.drafted_requests = self.drafted_tokens = self.taken_tokens = 0


class Served:
    """One name under /v1/models."""

    def __init__(self, name: str, profile: Profile) -> None:
        self.name = name
        self.worker = Worker(profile)
        self.tally = Tally()
        self.created = int(time.time())

    async def start(self) -> Ready:
        """Load the model. Errors: ModelError, MissingExtra."""
        ready = await self.worker.start()
        if not ready.tokenizer_json:
            raise ModelError(f"{ready.source}: there is no tokenizer.json: put the model's own beside its weights")
        self.name = self.name or ready.name
        self.codec = Codec(Path(ready.tokenizer_json))
        self.context = min(ready.context, ready.kv_tokens)
        self.eos = frozenset(ready.eos_token_ids)
        self.fingerprint = f"trimtab-{ready.digest[:12]}"
        self._grammar = ready.grammar
        self._template: ChatTemplate | None = None
        if ready.chat_template:
            folders = (Path(ready.source), Path(ready.folder))
            self._template = ChatTemplate(ready.chat_template, special_tokens(*folders))
        return ready

    @property
    def chats(self) -> bool:
        """Whether the model has a chat template."""
        return self._template is not None

    def prompt(self, chat: ChatRequest) -> list[int]:
        """The token ids of a conversation. Errors: RequestRefused without a template, or where it refuses."""
        if self._template is None:
            raise RequestRefused(
                f"model '{self.name}' has no chat template: put chat_template.jinja into its folder, "
                "or call /v1/completions",
                param="messages",
                code="no_chat_template",
            )
        return self.codec.encode(self._template.render(chat.messages, chat.tools, chat.template_variables))

    def generate(self, prompt: list[int], options: Options, grammar: Grammar | None, param: str) -> Generation:
        """Check the prompt against context and cache, then hand it to the worker. Errors: RequestRefused."""
        if grammar is not None and not self._grammar:
            raise RequestRefused(
                f"model '{self.name}' cannot bind its output: its tokenizer is of a kind without grammar support",
                param="response_format" if grammar.form else "tool_choice",
                code="unsupported",
            )
        if not prompt:
            raise RequestRefused("the prompt is empty: give at least one token", param=param)
        ready = self.worker.ready
        if ready is not None and max(prompt) >= ready.vocab:
            raise RequestRefused(f"the prompt has a token id beyond the vocabulary of {ready.vocab}", param=param)
        room = self.context - len(prompt)
        wanted = options.max_tokens
        if room < (wanted or 1):
            asked = f" and {wanted} were asked for in the answer" if wanted else ""
            raise RequestRefused(
                f"the context of model '{self.name}' is {self.context} tokens; the prompt has {len(prompt)}{asked}: "
                "shorten the prompt or ask for fewer tokens",
                param=param,
                code="context_length_exceeded",
            )
        if self.worker.live >= QUEUE:
            raise RequestRefused(f"{QUEUE} requests wait already: try again later", status=429, code="queue_full")
        streamed = options.stream or bool(options.stop)
        return self.worker.generate(
            Add(0, pack(prompt), wanted or room, options.sampling, options.logprobs, streamed, grammar)
        )
