"""Semconv: OpenTelemetry's GenAI names for our neutral words, version by version. The one place that knows such names.

Sources: semantic-conventions v1.36.0 `docs/gen-ai`; semantic-conventions-genai `docs/gen-ai` as of October 2026.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

Version = Literal["v1.36", "v0.1.0"]
_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
# The buckets that the conventions give.
SECONDS = tuple(0.01 * 2**step for step in range(14))
TOKENS = tuple(float(4**step) for step in range(14))

_INFERENCE = frozenset(("chat", "text_completion"))
_EMBEDDINGS = frozenset(("embeddings",))


class Instrument(msgspec.Struct, frozen=True):
    """One metric: which neutral `measure` it shows, of which `operations`, with which labels of its own.

    A histogram of 'duration' and 'ttft' counts seconds, all others tokens; a counter is the sum of what was measured.
    """

    name: str
    measure: str
    operations: frozenset[str]
    text: str
    kind: Literal["histogram", "counter"] = "histogram"
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def page_name(self) -> str:
        """As OpenTelemetry's rules write it for Prometheus: no dots, the unit and the kind at its end."""
        seconds = "_seconds" if self.measure in ("duration", "ttft") else ""
        return self.name.replace(".", "_") + seconds + ("_total" if self.kind == "counter" else "")


class Convention(msgspec.Struct, frozen=True):
    """One version. `names` maps neutral words to attributes; a word that is not there goes by `trimtab.` and itself.

    `providers` are those that it writes otherwise. `content_in`: whether messages are attributes or events of a span.
    `kinds` are attributes of another type than ours.
    """

    version: Version
    schema_url: str
    names: Mapping[str, str]
    instruments: tuple[Instrument, ...]
    content_in: Literal["attributes", "events"]
    providers: Mapping[str, str] = {}
    kinds: Mapping[str, Callable[[Any], Any]] = {}

    def attributes(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """`facts`, neutral words and values, as attributes; what is None or empty is left out."""
        named: dict[str, Any] = {}
        for word, held in facts.items():
            # 0 and False are told.
            if held or isinstance(held, int | float):
                named[self.names.get(word) or f"trimtab.{word}"] = held
        for word, kind in self.kinds.items():
            if (name := self.names[word]) in named:
                named[name] = kind(named[name])
        return named

    def provider(self, name: str) -> str:
        return self.providers.get(name, name)


_BOTH = {
    "operation": "gen_ai.operation.name",
    "request_model": "gen_ai.request.model",
    "response_model": "gen_ai.response.model",
    "response_id": "gen_ai.response.id",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "session": "gen_ai.conversation.id",
    "agent": "gen_ai.agent.name",
    "user": "user.id",
    "error": "error.type",
    "server_address": "server.address",
    "server_port": "server.port",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "output_type": "gen_ai.output.type",
    "choices": "gen_ai.request.choice.count",
    "encoding_formats": "gen_ai.request.encoding_formats",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "temperature": "gen_ai.request.temperature",
    "top_k": "gen_ai.request.top_k",
    "top_p": "gen_ai.request.top_p",
}
_NEWEST = {
    **_BOTH,
    "provider": "gen_ai.provider.name",
    "stream": "gen_ai.request.stream",
    "ttft_s": "gen_ai.response.time_to_first_chunk",
    "reasoning_level": "gen_ai.request.reasoning.level",
    "previous_response": "gen_ai.request.previous_response.id",
    "dimensions": "gen_ai.embeddings.dimension.count",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "input_messages": "gen_ai.input.messages",
    "output_messages": "gen_ai.output.messages",
    "system_instructions": "gen_ai.system_instructions",
    "tool_definitions": "gen_ai.tool.definitions",
}
_METERED = _INFERENCE | _EMBEDDINGS
_OF_A_CALL = "gen_ai.client.inference."

CONVENTIONS: dict[str, Convention] = {
    "v1.36": Convention(
        version="v1.36",
        schema_url="https://opentelemetry.io/schemas/1.36.0",
        names={**_BOTH, "provider": "gen_ai.system"},
        providers={"azure.ai.openai": "az.ai.openai", "azure.ai.inference": "az.ai.inference", "x_ai": "xai"},
        kinds={"top_k": float},
        content_in="events",
        instruments=(
            Instrument("gen_ai.client.operation.duration", "duration", _METERED, "Duration of GenAI operations."),
            Instrument(
                "gen_ai.client.token.usage",
                "input_tokens",
                _METERED,
                "Tokens that operations used.",
                labels=(("gen_ai_token_type", "input"),),
            ),
            Instrument(
                "gen_ai.client.token.usage",
                "output_tokens",
                _INFERENCE,
                "Tokens that operations used.",
                labels=(("gen_ai_token_type", "output"),),
            ),
        ),
    ),
    "v0.1.0": Convention(
        version="v0.1.0",
        schema_url="https://opentelemetry.io/schemas/gen-ai/0.1.0",
        names=_NEWEST,
        kinds={"top_k": int},
        content_in="attributes",
        instruments=(
            Instrument(f"{_OF_A_CALL}duration", "duration", _INFERENCE, "Duration of inference operations."),
            Instrument(f"{_OF_A_CALL}time_to_first_chunk", "ttft", _INFERENCE, "Time until a stream's first chunk."),
            Instrument(
                f"{_OF_A_CALL}operation.input_tokens", "input_tokens", _INFERENCE, "Input tokens of each operation."
            ),
            Instrument(
                f"{_OF_A_CALL}operation.output_tokens", "output_tokens", _INFERENCE, "Output tokens of each operation."
            ),
            *(
                Instrument(f"{_OF_A_CALL}usage.{name}", measure, _INFERENCE, f"{text} tokens used.", kind="counter")
                for name, measure, text in (
                    ("input_tokens", "input_tokens", "Input"),
                    ("output_tokens", "output_tokens", "Output"),
                    ("cache_read.input_tokens", "cache_read_tokens", "Cache-read input"),
                    ("cache_write.input_tokens", "cache_write_tokens", "Cache-written input"),
                    ("reasoning.output_tokens", "reasoning_tokens", "Reasoning"),
                )
            ),
            Instrument("gen_ai.client.embeddings.duration", "duration", _EMBEDDINGS, "Duration of embeddings."),
            Instrument(
                "gen_ai.client.embeddings.operation.input_tokens",
                "input_tokens",
                _EMBEDDINGS,
                "Input tokens of each embeddings operation.",
            ),
        ),
    ),
}


def convention(version: str) -> Convention:
    """The convention of `version`; '' is the oldest one, unless the environment asks for the newest."""
    newest = "gen_ai_latest_experimental" in os.environ.get(_OPT_IN, "").replace(" ", "").split(",")
    return CONVENTIONS[version or ("v0.1.0" if newest else "v1.36")]


# Hosts whose providers have a name of their own; a host counts with all below it.
_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "openai.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "amazonaws.com": "aws.bedrock",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}


def provider_of(host: str, dialect: str) -> str:
    """The provider's neutral name; of a host that is not known, the one whose dialect it speaks."""
    for known, name in _HOSTS.items():
        if host == known or host.endswith((f".{known}", f"-{known}")):
            return name
    return "anthropic" if dialect == "messages" else "openai"
