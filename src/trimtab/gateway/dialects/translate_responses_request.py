"""A responses request put into chat."""

from __future__ import annotations

from typing import Any

from trimtab.gateway.dialects.fields import Fields

_INTO = "chat"
# Members that chat has under the same name.
_SAME = ("temperature", "top_p", "parallel_tool_calls", "user", "service_tier", "safety_identifier", "prompt_cache_key")


def request(body: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/chat/completions that asks for the same; RequestRefused names what it cannot say.

    Nothing is stored on the other side, so what stands for something stored is refused.
    """
    given = Fields(body, "", _INTO)
    streamed = given.take("stream", bool)
    out: dict[str, Any] = {
        "model": given.need("model", str),
        "messages": _messages(given),
        "max_completion_tokens": given.take("max_output_tokens", int),
        "stream": streamed,
        "stream_options": {"include_usage": True} if streamed else None,
        "tools": [_tool(tool) for tool in given.each("tools")] or None,
        "tool_choice": _tool_choice(given),
        **{name: given.take(name) for name in _SAME},
        **_text(given),
    }
    if reasoning := given.within("reasoning"):
        out["reasoning_effort"] = reasoning.take("effort", str)
        reasoning.done()
    # The gateway itself has read it.
    given.take("metadata")
    if options := given.within("stream_options"):
        options.harmless(include_obfuscation=(False,))
        options.done()
    given.harmless(
        store=(False,),
        background=(False,),
        truncation=("disabled",),
        top_logprobs=(0,),
        # No chat server has such content, so there is none to include.
        include=([], ["reasoning.encrypted_content"]),
    )
    given.done()
    return {name: held for name, held in out.items() if held is not None}


def _messages(given: Fields) -> list[dict[str, Any]]:
    told = given.take("instructions", str)
    messages = [{"role": "system", "content": told}] if told else []
    asked = given.need("input", str, list)
    if isinstance(asked, str):
        return [*messages, {"role": "user", "content": asked}]
    thoughts: list[str] = []
    for place, held in enumerate(asked):
        item = Fields(held, f"input[{place}]", _INTO)
        kind = item.take("type", str) or "message"
        # Names and states of items, which chat does not have.
        item.take("id")
        item.harmless(status=("completed", "incomplete"))
        if kind == "reasoning":
            thoughts += _thoughts(item)
        elif kind == "function_call_output":
            _flush(messages, thoughts)
            messages.append(_result(item))
        elif kind == "function_call":
            _answering(messages, thoughts).setdefault("tool_calls", []).append(_call(item))
        elif kind == "message":
            _say(item, messages, thoughts)
        else:
            item.refuse("type", kind)
        item.done()
    _flush(messages, thoughts)
    return messages


def _flush(messages: list[dict[str, Any]], thoughts: list[str]) -> None:
    """Thoughts that led to nothing are a message of their own."""
    if thoughts:
        _answering(messages, thoughts)


def _answering(messages: list[dict[str, Any]], thoughts: list[str]) -> dict[str, Any]:
    """The assistant's message to which an item belongs: the last one, or a new one after anybody else's."""
    if not messages or messages[-1]["role"] != "assistant" or thoughts:
        messages.append({"role": "assistant", "content": None})
    if thoughts:
        messages[-1]["reasoning_content"] = "".join(thoughts)
        thoughts.clear()
    return messages[-1]


def _say(item: Fields, messages: list[dict[str, Any]], thoughts: list[str]) -> None:
    role = item.need("role", str)
    if role not in ("user", "assistant", "system", "developer"):
        item.refuse("role", role)
    content = _content(item, "content")
    if role != "assistant":
        _flush(messages, thoughts)
        messages.append({"role": role, "content": content})
        return
    if messages and messages[-1]["role"] == "assistant" and not thoughts:
        item.refuse("role", role)  # two answers in a row, or words after a call
    _answering(messages, thoughts)["content"] = content


def _content(item: Fields, name: str) -> Any:
    """A text as it is; parts as chat writes them, one text where it is one."""
    held = item.need(name, str, list)
    if isinstance(held, str):
        return held
    parts = [_part(Fields(part, f"{item.path(name)}[{place}]", _INTO)) for place, part in enumerate(held)]
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: Fields) -> dict[str, Any]:
    kind = part.need("type", str)
    out: dict[str, Any]
    if kind in ("input_text", "output_text"):
        out = {"type": "text", "text": part.need("text", str)}
        part.harmless(annotations=([],), logprobs=([],))
    elif kind == "input_image":
        out = {"type": "image_url", "image_url": {"url": part.need("image_url", str)}}
        if detail := part.take("detail", str):
            out["image_url"]["detail"] = detail
    elif kind == "input_file":
        file = {"filename": part.take("filename", str), "file_data": part.need("file_data", str)}
        out = {"type": "file", "file": {name: held for name, held in file.items() if held is not None}}
    else:
        part.refuse("type", kind)
    part.done()
    return out


def _thoughts(item: Fields) -> list[str]:
    """The text of a reasoning item. A summary, or what only its own server can read, is not it."""
    item.harmless(summary=([],))
    texts: list[str] = []
    for part in item.each("content"):
        if (kind := part.need("type", str)) != "reasoning_text":
            part.refuse("type", kind)
        texts.append(part.need("text", str))
        part.done()
    return texts


def _call(item: Fields) -> dict[str, Any]:
    function = {"name": item.need("name", str), "arguments": item.need("arguments", str)}
    return {"id": item.need("call_id", str), "type": "function", "function": function}


def _result(item: Fields) -> dict[str, Any]:
    content = _content(item, "output")
    if isinstance(content, list) and any(part["type"] != "text" for part in content):
        item.refuse("output")
    return {"role": "tool", "tool_call_id": item.need("call_id", str), "content": content}


def _tool(tool: Fields) -> dict[str, Any]:
    if (kind := tool.need("type", str)) != "function":
        tool.refuse("type", kind)
    function = {
        "name": tool.need("name", str),
        "description": tool.take("description", str),
        "parameters": tool.take("parameters", dict),
        "strict": tool.take("strict", bool),
    }
    tool.done()
    return {"type": "function", "function": {name: held for name, held in function.items() if held is not None}}


def _tool_choice(given: Fields) -> Any:
    held = given.take("tool_choice", str, dict)
    if not isinstance(held, dict):
        return held
    choice = Fields(held, "tool_choice", _INTO)
    if (kind := choice.need("type", str)) != "function":
        choice.refuse("type", kind)
    function = {"name": choice.need("name", str)}
    choice.done()
    return {"type": "function", "function": function}


def _text(given: Fields) -> dict[str, Any]:
    text = given.within("text")
    if text is None:
        return {}
    out: dict[str, Any] = {"verbosity": text.take("verbosity", str)}
    if shape := text.within("format"):
        kind = shape.need("type", str)
        if kind == "json_schema":
            schema = {name: shape.take(name) for name in ("name", "description", "schema", "strict")}
            schema = {name: held for name, held in schema.items() if held is not None}
            out["response_format"] = {"type": kind, "json_schema": schema}
        elif kind in ("text", "json_object"):
            out["response_format"] = {"type": kind}
        else:
            shape.refuse("type", kind)
        shape.done()
    text.done()
    return out
