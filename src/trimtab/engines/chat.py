"""Chat templates: messages and tools to the prompt text, with the variables and functions Hugging Face gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import MissingExtra, ModelError, RequestRefused


class ChatTemplate:
    """A compiled template and the special tokens that it may name (bos_token, eos_token, ...)."""

    def __init__(self, text: str, tokens: Mapping[str, str]) -> None:
        """Errors: ModelError for a template that is no Jinja, MissingExtra without jinja2."""
        try:
            from jinja2 import TemplateError
        except ImportError as error:
            raise MissingExtra("engine", "jinja2") from error
        try:
            self._template = _environment().from_string(text)
        except TemplateError as error:
            raise ModelError(f"the chat template cannot be read ({error}): mend chat_template.jinja") from error
        self._tokens = dict(tokens)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt, open for the assistant's turn. Errors: RequestRefused where the template refuses."""
        variables = {
            **self._tokens,
            "messages": [_message(message) for message in messages],
            "tools": list(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": True,
            **(extra or {}),
        }
        try:
            return str(self._template.render(variables))
        except Exception as error:  # a template is code from outside: whatever it raises is about these messages
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RequestRefused(
                f"the model's chat template refuses these messages: {reason}", param="messages", code="chat_template"
            ) from error


def special_tokens(*folders: Path) -> dict[str, str]:
    """bos_token, eos_token and the like from the first tokenizer_config.json found in `folders`."""
    for folder in folders:
        file = folder / "tokenizer_config.json"
        if not file.is_file():
            continue
        try:
            described = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise ModelError(f"{file}: cannot be read ({error}): copy the model folder again") from error
        found = {}
        for name, value in described.items():
            text = value.get("content") if isinstance(value, dict) else value
            if name.endswith("_token") and isinstance(text, str):
                found[name] = text
        return found
    return {}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """As templates expect it: content is one text, a tool call's arguments are a mapping rather than JSON text."""
    told = dict(message)
    content = told.get("content")
    if content is None:
        told["content"] = ""
    elif isinstance(content, list):
        told["content"] = "".join(part["text"] for part in content)
    if told.get("tool_calls"):
        told["tool_calls"] = [_call(call) for call in told["tool_calls"]]
    else:
        told.pop("tool_calls", None)
    return told


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = msgspec.json.decode(arguments or "{}")
        except msgspec.MsgspecError:
            function["arguments"] = arguments
    return {**call, "function": function}


def _environment() -> Any:
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's own tokens for training; here it only passes them through."""

        tags = {"generation"}  # noqa: RUF012  jinja2 reads it from the class

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        # Jinja's own filter writes < > & ' as escapes for HTML, which a model was never trained on.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment
