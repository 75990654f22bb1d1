"""What a client asks for: the body of a chat or text completion, checked field by field, as a frozen value.

Knows the API only; whether a model can serve it is asked elsewhere. Unknown fields are let through.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import msgspec

from trimtab.engines import schema
from trimtab.engines.protocol import Form, Grammar, Sampling, Tagged
from trimtab.errors import RequestRefused

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# Fields that change the answer and that this server cannot honour, with the values that ask for nothing.
_UNSERVED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logit_bias": ({},),
    "audio": (),
    "modalities": (["text"],),
    "functions": (),
    "function_call": (),
    "prediction": (),
    "web_search_options": (),
    "echo": (False,),
    "suffix": ("",),
}


class Options(msgspec.Struct, frozen=True):
    """What a chat and a text completion have in common. `max_tokens` None: as many as the context leaves."""

    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    stop: tuple[str, ...]
    sampling: Sampling
    logprobs: bool


class ChatRequest(msgspec.Struct, frozen=True):
    """A checked body of POST /v1/chat/completions."""

    options: Options
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    top_logprobs: int
    grammar: Grammar | None
    template_variables: dict[str, Any]


class TextRequest(msgspec.Struct, frozen=True):
    """A checked body of POST /v1/completions. `prompt` is text or token ids."""

    options: Options
    prompt: str | list[int]


def read_chat(body: bytes) -> ChatRequest:
    """Check the body of a chat completion. Errors: RequestRefused, which names the field."""
    fields = _fields(body)
    options = _options(fields, logprobs=_flag(fields, "logprobs"))
    tools, grammar = _tools(fields)
    bound = _response_format(fields)
    if bound is not None and (tools or grammar):
        raise RequestRefused(
            "response_format together with tools is not served: leave one of them out", param="response_format"
        )
    return ChatRequest(
        options=options,
        messages=_messages(fields),
        tools=tools,
        top_logprobs=_top_logprobs(fields, options),
        grammar=grammar or bound,
        template_variables=_mapping(fields, "chat_template_kwargs"),
    )


def read_text(body: bytes) -> TextRequest:
    """Check the body of a text completion. Errors: RequestRefused, which names the field."""
    fields = _fields(body)
    wanted = fields.get("logprobs")
    if not (wanted is None or isinstance(wanted, bool) or wanted in (0, 1)):
        raise RequestRefused("logprobs: only the chosen token's are given, so 0 or 1", param="logprobs")
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, list) and all(isinstance(token, int) and not isinstance(token, bool) for token in prompt):
        if not prompt:
            raise RequestRefused("prompt is empty: give at least one token", param="prompt")
        if not all(0 <= token < 2**31 for token in prompt):
            raise RequestRefused("prompt: a token id is out of range", param="prompt")
        return TextRequest(_options(fields, logprobs=bool(wanted)), prompt)
    if not isinstance(prompt, str) or not prompt:
        raise RequestRefused("prompt must be one text that is not empty, or one list of token ids", param="prompt")
    return TextRequest(_options(fields, logprobs=bool(wanted)), prompt)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RequestRefused(f"the body is no JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise RequestRefused("the body must be a JSON object", code="invalid_json")
    for name, idle in _UNSERVED.items():
        value = fields.get(name)
        if value is not None and not any(value == asked_nothing for asked_nothing in idle):
            raise RequestRefused(f"{name} is not served by this engine: leave it out", param=name, code="unsupported")
    return fields


def _options(fields: dict[str, Any], *, logprobs: bool) -> Options:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise RequestRefused("model is missing: name one that GET /v1/models lists", param="model")
    stream_options = _mapping(fields, "stream_options")
    name = "max_completion_tokens" if fields.get("max_completion_tokens") is not None else "max_tokens"
    return Options(
        model=model,
        stream=_flag(fields, "stream"),
        include_usage=_flag(stream_options, "include_usage", "stream_options.include_usage"),
        max_tokens=None if fields.get(name) is None else _whole(fields, name, 1, 2**31, 1),
        stop=_stop(fields),
        sampling=_sampling(fields),
        logprobs=logprobs,
    )


def _sampling(fields: dict[str, Any]) -> Sampling:
    temperature = _number(fields, "temperature", 0.0, 2.0, 1.0)
    top_p = _number(fields, "top_p", 0.0, 1.0, 1.0)
    seed = fields.get("seed")
    if seed is not None:
        seed = _whole(fields, "seed", -(2**63), 2**64, 0) % 2**63
    repetition = _number(fields, "repetition_penalty", 0.0, 10.0, 1.0)
    if repetition <= 0:
        raise RequestRefused("repetition_penalty must be above 0", param="repetition_penalty")
    top_k = _whole(fields, "top_k", -1, 2**31, 0)
    min_p = _number(fields, "min_p", 0.0, 1.0, 0.0)
    if min_p >= 1:
        raise RequestRefused("min_p must be below 1", param="min_p")
    # A distribution cut to its top 0 is its one best token: the engine wants that said as greedy.
    greedy = temperature < 1e-4 or top_p <= 0 or top_k == 1
    return Sampling(
        greedy=greedy,
        temperature=temperature,
        top_p=top_p,
        top_k=max(top_k, 0),
        min_p=min_p,
        presence=_number(fields, "presence_penalty", -2.0, 2.0, 0.0),
        frequency=_number(fields, "frequency_penalty", -2.0, 2.0, 0.0),
        repetition=repetition,
        seed=secrets.randbits(62) if seed is None else seed,
    )


def _messages(fields: dict[str, Any]) -> list[dict[str, Any]]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestRefused("messages must be a list with at least one message", param="messages")
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message, dict):
            raise RequestRefused(f"{where} must be an object", param=where)
        if message.get("role") not in _ROLES:
            raise RequestRefused(f"{where}.role must be one of {', '.join(_ROLES)}", param=f"{where}.role")
        _content(message.get("content"), f"{where}.content")
        _past_calls(message.get("tool_calls"), f"{where}.tool_calls")
    return messages


def _content(content: Any, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise RequestRefused(f"{where} must be a text or a list of parts", param=where)
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise RequestRefused(
                f"{where}: a part of type '{kind}' is not served: this model reads text only", param=where
            )


def _past_calls(calls: Any, where: str) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise RequestRefused(f"{where} must be a list", param=where)
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RequestRefused(f"{where}: each needs a function with a name", param=where)


def _tools(fields: dict[str, Any]) -> tuple[list[dict[str, Any]], Grammar | None]:
    """The tools to show to the model, and the grammar that a forced choice asks for."""
    tools = fields.get("tools")
    tools = [] if tools is None else tools
    if not isinstance(tools, list):
        raise RequestRefused("tools must be a list", param="tools")
    by_name: dict[str, Any] = {}
    for at, tool in enumerate(tools):
        where = f"tools[{at}]"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict):
            raise RequestRefused(f"{where} must be of type 'function' and hold one", param=where)
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RequestRefused(
                f"{where}.function.name must be 1 to 64 letters, digits, '_', '-' or '.'",
                param=f"{where}.function.name",
            )
        if name in by_name:
            raise RequestRefused(f"{where}: the tool '{name}' is there twice", param=f"{where}.function.name")
        parameters = function.get("parameters")
        by_name[name] = {"type": "object", "properties": {}} if parameters is None else parameters
        schema.check(by_name[name], f"{where}.function.parameters", top="object")
    choice = fields.get("tool_choice")
    if choice is None or choice == "auto":
        return tools, None
    if choice == "none":
        return [], None
    return tools, _forced(choice, by_name, only_one=fields.get("parallel_tool_calls") is False)


def _forced(choice: Any, by_name: dict[str, Any], *, only_one: bool) -> Grammar:
    if not by_name:
        raise RequestRefused("tool_choice asks for a call, but there are no tools", param="tool_choice")
    if choice != "required":
        function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise RequestRefused(
                "tool_choice must be auto, none, required, or {'type': 'function', 'function': {'name': ...}}",
                param="tool_choice",
            )
        if name not in by_name:
            raise RequestRefused(f"tool_choice names '{name}', which is not among the tools", param="tool_choice")
        by_name, only_one = {name: by_name[name]}, True
    tags = tuple(
        Tagged('<tool_call>\n{"name": "' + name + '", "arguments": ', schema.form(parameters), "}\n</tool_call>")
        for name, parameters in by_name.items()
    )
    return Grammar(tags=tags, separator="\n", only_one=only_one)


def _response_format(fields: dict[str, Any]) -> Grammar | None:
    asked = fields.get("response_format")
    if asked is None:
        return None
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return Grammar(form=Form(ebnf=schema.ANY_OBJECT))
    if kind != "json_schema":
        raise RequestRefused(
            "response_format.type must be text, json_object or json_schema", param="response_format", code="unsupported"
        )
    described = asked.get("json_schema")
    wanted: Any = described.get("schema") if isinstance(described, dict) else None
    schema.check(wanted, "response_format.json_schema.schema")
    return Grammar(form=schema.form(wanted))


def _top_logprobs(fields: dict[str, Any], options: Options) -> int:
    top = _whole(fields, "top_logprobs", 0, 20, 0)
    if not top:
        return 0
    if not options.logprobs:
        raise RequestRefused("top_logprobs needs logprobs: true", param="top_logprobs")
    if top > 1 or not options.sampling.greedy:
        raise RequestRefused(
            "top_logprobs: the engine gives the chosen token's only, which is the top one at temperature 0: "
            "ask for at most 1, at temperature 0",
            param="top_logprobs",
            code="unsupported",
        )
    return 1


def _stop(fields: dict[str, Any]) -> tuple[str, ...]:
    stop = fields.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > 16 or not all(isinstance(text, str) and text for text in stops):
        raise RequestRefused("stop must be a text or a list of at most 16, none of them empty", param="stop")
    return tuple(stops)


def _flag(fields: dict[str, Any], name: str, where: str = "") -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RequestRefused(f"{where or name} must be true or false", param=where or name)
    return value


def _mapping(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestRefused(f"{name} must be an object", param=name)
    return value


def _number(fields: dict[str, Any], name: str, low: float, high: float, default: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RequestRefused(f"{name} must be a number from {low:g} to {high:g}", param=name)
    return float(value)


def _whole(fields: dict[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RequestRefused(f"{name} must be a whole number from {low} to {high}", param=name)
    return value
