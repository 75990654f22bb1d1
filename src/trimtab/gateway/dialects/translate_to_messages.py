"""A chat request put into messages."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from trimtab.gateway.dialects.fields import Fields

# Messages must have a bound, chat need not: what every current model allows.
MAX_TOKENS = 8192
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,([A-Za-z0-9+/=\s]*)")
EFFORTS = ("low", "medium", "high", "xhigh")
_INTO = "messages"


def request(body: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/messages that asks for the same; RequestRefused names what it cannot say."""
    given = Fields(body, "", _INTO)
    system, turns = _turns(given)
    out: dict[str, Any] = {
        "model": given.need("model", str),
        "max_tokens": MAX_TOKENS if (most := bound(given)) is None else most,
        "messages": turns,
        "system": system or None,
        "stream": given.take("stream", bool),
        "temperature": _temperature(given),
        "top_p": given.take("top_p", float, int),
        "stop_sequences": _stop(given),
        "tools": [_tool(tool) for tool in given.each("tools")] or None,
        "output_config": _output_config(given) or None,
    }
    out["tool_choice"] = _tool_choice(given, bool(out["tools"]))
    if user := given.take("user", str):
        out["metadata"] = {"user_id": user}
    nothing_left(given, service_tier=("auto",))
    return {name: held for name, held in out.items() if held is not None}


def nothing_left(given: Fields, **harmless: tuple[Any, ...]) -> None:
    """Refuse what of a chat request nobody took, save what changes nothing: the defaults, and those of `harmless`."""
    # The gateway itself has read these two.
    given.take("metadata")
    if options := given.within("stream_options"):
        options.harmless(include_usage=(True, False), include_obfuscation=(False,))
        options.done()
    given.harmless(
        n=(1,),
        logprobs=(False,),
        top_logprobs=(0,),
        store=(False,),
        presence_penalty=(0,),
        frequency_penalty=(0,),
        logit_bias=({},),
        modalities=(["text"],),
        **harmless,
    )
    given.done()


def bound(given: Fields) -> int | None:
    """How long a chat answer may become, under its older or its newer name."""
    older: int | None = given.take("max_tokens", int)
    newer: int | None = given.take("max_completion_tokens", int)
    if older is not None and newer is not None and older != newer:
        given.refuse("max_tokens", older)
    return newer if newer is not None else older


def _temperature(given: Fields) -> Any:
    held = given.take("temperature", float, int)
    if held is not None and held > 1:
        given.refuse("temperature", held)
    return held


def _stop(given: Fields) -> list[str] | None:
    held = given.take("stop", str, list)
    words = [held] if isinstance(held, str) else held
    if words is not None and not all(isinstance(word, str) for word in words):
        given.refuse("stop")
    return words or None


def _output_config(given: Fields) -> dict[str, Any]:
    config: dict[str, Any] = {}
    effort = given.take("reasoning_effort", str)
    if effort is not None:
        if effort not in EFFORTS:
            given.refuse("reasoning_effort", effort)
        config["effort"] = effort
    if shape := given.within("response_format"):
        kind = shape.need("type", str)
        if kind == "json_schema" and (schema := shape.within("json_schema")):
            config["format"] = {"type": "json_schema", "schema": schema.need("schema", dict)}
            # The name is a label, and messages are always strict.
            schema.take("name")
            schema.harmless(strict=(True,))
            schema.done()
        elif kind != "text":
            shape.refuse("type", kind)
        shape.done()
    return config


def _tool(tool: Fields) -> dict[str, Any]:
    if (kind := tool.take("type", str)) not in (None, "function"):
        tool.refuse("type", kind)
    function = tool.within("function") or Fields(None, tool.path("function"), _INTO)
    out = {
        "name": function.need("name", str),
        "description": function.take("description", str),
        "input_schema": function.take("parameters", dict) or {"type": "object", "properties": {}},
        "strict": function.take("strict", bool),
        "cache_control": tool.take("cache_control", dict),
    }
    function.done()
    tool.done()
    return {name: held for name, held in out.items() if held is not None}


def _tool_choice(given: Fields, has_tools: bool) -> dict[str, Any] | None:
    held = given.take("tool_choice", str, dict)
    parallel = given.take("parallel_tool_calls", bool)
    choice: dict[str, Any] | None = None
    if isinstance(held, str):
        kinds = {"auto": "auto", "none": "none", "required": "any"}
        choice = {"type": kinds[held] if held in kinds else given.refuse("tool_choice", held)}
    elif held is not None:
        wanted = Fields(held, "tool_choice", _INTO)
        if (kind := wanted.need("type", str)) != "function":
            wanted.refuse("type", kind)
        function = wanted.within("function") or Fields(None, "tool_choice.function", _INTO)
        choice = {"type": "tool", "name": function.need("name", str)}
        function.done()
        wanted.done()
    if parallel is False and has_tools:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    return choice


def _turns(given: Fields) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system blocks, messages). Neighbours of one role become one message: results of tools must stand together."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for said in given.each("messages"):
        role = said.need("role", str)
        if role in ("system", "developer"):
            if turns:
                said.refuse("role", role)
            system += [_text_alone(said, part) for part in _parts(said)]
        elif role in ("user", "assistant", "tool"):
            blocks = {"user": _user, "assistant": _assistant, "tool": _result}[role](said)
            speaker = "assistant" if role == "assistant" else "user"
            if turns and turns[-1]["role"] == speaker:
                turns[-1]["content"] += blocks
            elif blocks:
                turns.append({"role": speaker, "content": blocks})
        else:
            said.refuse("role", role)
        said.done()
    return system, turns


def _parts(said: Fields) -> list[Fields]:
    """The parts of a message's content; a bare text is one part, an empty one none."""
    content = said.take("content", str, list)
    if isinstance(content, list):
        return [Fields(part, f"{said.path('content')}[{place}]", _INTO) for place, part in enumerate(content)]
    return [Fields({"type": "text", "text": content}, said.path("content"), _INTO)] if content else []


def _text_alone(said: Fields, part: Fields) -> dict[str, Any]:
    if (kind := part.need("type", str)) != "text":
        part.refuse("type", kind)
    return _text(part)


def _text(part: Fields) -> dict[str, Any]:
    block = {"type": "text", "text": part.need("text", str)}
    if mark := part.take("cache_control", dict):
        block["cache_control"] = mark
    part.done()
    return block


def _user(said: Fields) -> list[dict[str, Any]]:
    return [_user_block(part) for part in _parts(said)]


def _user_block(part: Fields) -> dict[str, Any]:
    kind = part.need("type", str)
    if kind == "text":
        return _text(part)
    if kind == "image_url" and (image := part.within("image_url")):
        image.harmless(detail=("auto",))
        block = {"type": "image", "source": _source(image, "url", "image/")}
        image.done()
    elif kind == "file" and (file := part.within("file")):
        block = {"type": "document", "source": _source(file, "file_data", "application/pdf")}
        if title := file.take("filename", str):
            block["title"] = title
        file.done()
    else:
        part.refuse("type", kind)
    if mark := part.take("cache_control", dict):
        block["cache_control"] = mark
    part.done()
    return block


def _source(holder: Fields, name: str, media: str) -> dict[str, Any]:
    """Where a picture or a document is: in the request itself, or at an address."""
    held = holder.need(name, str)
    if match := _DATA_URL.fullmatch(held):
        if not match[1].startswith(media):
            holder.refuse(name)
        return {"type": "base64", "media_type": match[1], "data": match[2]}
    if not held.startswith(("http://", "https://")):
        holder.refuse(name)
    return {"type": "url", "url": held}


def _assistant(said: Fields) -> list[dict[str, Any]]:
    blocks = [_text_alone(said, part) for part in _parts(said)]
    said.harmless(annotations=([],))
    for call in said.each("tool_calls"):
        call.harmless(type=("function",))
        function = call.within("function") or Fields(None, call.path("function"), _INTO)
        blocks.append(
            {
                "type": "tool_use",
                "id": call.need("id", str),
                "name": function.need("name", str),
                "input": _object(function, "arguments"),
            }
        )
        function.done()
        call.take("index")
        call.done()
    return blocks


def _object(function: Fields, name: str) -> dict[str, Any]:
    """The object that is written as text in `name`."""
    text = function.take(name, str) or "{}"
    try:
        held: dict[str, Any] = msgspec.json.decode(text, type=dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        function.refuse(name, text)
    return held


def _result(said: Fields) -> list[dict[str, Any]]:
    blocks = [_text_alone(said, part) for part in _parts(said)]
    plain = len(blocks) == 1 and "cache_control" not in blocks[0]
    content: Any = blocks[0]["text"] if plain else blocks
    return [{"type": "tool_result", "tool_use_id": said.need("tool_call_id", str), "content": content}]
