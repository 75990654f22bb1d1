"""A messages request put into chat."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.gateway.dialects.fields import Fields
from trimtab.gateway.dialects.translate_to_messages import EFFORTS

_INTO = "chat"


def request(body: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/chat/completions that asks for the same; RequestRefused names what it cannot say.

    `cache_control` is taken as understood: it changes no answer, and a chat server caches by itself.
    """
    given = Fields(body, "", _INTO)
    streamed = given.take("stream", bool)
    given.take("cache_control")
    out: dict[str, Any] = {
        "model": given.need("model", str),
        "max_completion_tokens": given.take("max_tokens", int),
        "messages": [*_system(given), *(turn for said in given.each("messages") for turn in _turns(said))],
        "stream": streamed,
        "stream_options": {"include_usage": True} if streamed else None,
        "temperature": given.take("temperature", float, int),
        "top_p": given.take("top_p", float, int),
        "stop": given.take("stop_sequences", list),
        "tools": [_tool(tool) for tool in given.each("tools")] or None,
        **_tool_choice(given),
        **_output(given),
    }
    if metadata := given.within("metadata"):
        out["user"] = metadata.take("user_id", str)
        metadata.done()
    if thinking := given.within("thinking"):
        # Adaptive is what a chat model does unasked.
        thinking.harmless(type=("disabled", "adaptive"))
        thinking.done()
    given.harmless(service_tier=("auto",))
    given.done()
    return {name: held for name, held in out.items() if held is not None}


def _system(given: Fields) -> list[dict[str, Any]]:
    content = _texts(given, "system")
    return [{"role": "system", "content": content}] if content else []


def _texts(holder: Fields, name: str) -> Any:
    """A text, or blocks of text alone, as chat writes them: one text where it is one."""
    held = holder.take(name, str, list)
    if not isinstance(held, list):
        return held
    parts = [_text(Fields(block, f"{holder.path(name)}[{place}]", _INTO)) for place, block in enumerate(held)]
    return _shortest(parts)


def _shortest(parts: list[dict[str, Any]]) -> Any:
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _text(block: Fields) -> dict[str, Any]:
    if (kind := block.need("type", str)) != "text":
        block.refuse("type", kind)
    return _text_part(block)


def _text_part(block: Fields) -> dict[str, Any]:
    part = {"type": "text", "text": block.need("text", str)}
    block.take("cache_control")
    block.harmless(citations=([],))
    block.done()
    return part


def _turns(said: Fields) -> list[dict[str, Any]]:
    role = said.need("role", str)
    content = said.need("content", str, list)
    said.done()
    if role not in ("user", "assistant", "system"):
        said.refuse("role", role)
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = [Fields(block, f"{said.path('content')}[{place}]", _INTO) for place, block in enumerate(content)]
    if role == "system":
        return [{"role": role, "content": _shortest([_text(block) for block in blocks])}]
    return _assistant(blocks) if role == "assistant" else _user(blocks)


def _user(blocks: list[Fields]) -> list[dict[str, Any]]:
    """Results of tools are messages of their own in chat, and must come first."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.need("type", str)
        if kind == "tool_result" and not parts:
            results.append(_result(block))
        elif kind == "text":
            parts.append(_text_part(block))
        elif kind in ("image", "document"):
            parts.append(_image(block) if kind == "image" else _document(block))
        else:
            block.refuse("type", kind)
    return [*results, {"role": "user", "content": _shortest(parts)}] if parts else results


def _result(block: Fields) -> dict[str, Any]:
    content = _texts(block, "content")
    failed = block.take("is_error", bool)
    called = block.need("tool_use_id", str)
    block.take("cache_control")
    block.done()
    if failed:
        # Chat has no mark for it, only words.
        content = (
            [{"type": "text", "text": "Error:"}, *content] if isinstance(content, list) else f"Error: {content or ''}"
        )
    return {"role": "tool", "tool_call_id": called, "content": content or ""}


def _image(block: Fields) -> dict[str, Any]:
    source = block.within("source") or Fields(None, block.path("source"), _INTO)
    kind = source.need("type", str)
    if kind == "base64":
        url = f"data:{source.need('media_type', str)};base64,{source.need('data', str)}"
    elif kind == "url":
        url = source.need("url", str)
    else:
        source.refuse("type", kind)
    source.done()
    block.take("cache_control")
    block.done()
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Fields) -> dict[str, Any]:
    source = block.within("source") or Fields(None, block.path("source"), _INTO)
    if (kind := source.need("type", str)) != "base64":
        source.refuse("type", kind)
    url = f"data:{source.need('media_type', str)};base64,{source.need('data', str)}"
    file = {"filename": block.take("title", str) or "document.pdf", "file_data": url}
    source.done()
    block.take("cache_control")
    block.done()
    return {"type": "file", "file": file}


def _assistant(blocks: list[Fields]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for block in blocks:
        kind = block.need("type", str)
        if kind == "text" and not calls:
            parts.append(_text_part(block))
        elif kind == "tool_use":
            calls.append(_call(block))
        elif kind == "thinking" and not (parts or calls):
            thoughts.append(block.need("thinking", str))
            # The server's own proof; another server has no use for it.
            block.take("signature")
            block.done()
        else:
            block.refuse("type", kind)
    said: dict[str, Any] = {"role": "assistant", "content": _shortest(parts) if parts else None}
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    return [said]


def _call(block: Fields) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.need("input", dict)).decode()
    function = {"name": block.need("name", str), "arguments": arguments}
    call = {"id": block.need("id", str), "type": "function", "function": function}
    block.take("cache_control")
    block.done()
    return call


def _tool(tool: Fields) -> dict[str, Any]:
    if (kind := tool.take("type", str)) not in (None, "custom"):
        tool.refuse("type", kind)
    function = {
        "name": tool.need("name", str),
        "description": tool.take("description", str),
        "parameters": tool.take("input_schema", dict),
        "strict": tool.take("strict", bool),
    }
    tool.take("cache_control")
    tool.done()
    return {"type": "function", "function": {name: held for name, held in function.items() if held is not None}}


def _tool_choice(given: Fields) -> dict[str, Any]:
    choice = given.within("tool_choice")
    if choice is None:
        return {}
    kind = choice.need("type", str)
    kinds: dict[str, Any] = {"auto": "auto", "none": "none", "any": "required"}
    if kind == "tool":
        kinds[kind] = {"type": "function", "function": {"name": choice.need("name", str)}}
    if kind not in kinds:
        choice.refuse("type", kind)
    alone = choice.take("disable_parallel_tool_use", bool)
    choice.done()
    return {"tool_choice": kinds[kind], **({"parallel_tool_calls": False} if alone else {})}


def _output(given: Fields) -> dict[str, Any]:
    config = given.within("output_config")
    if config is None:
        return {}
    out: dict[str, Any] = {}
    if (effort := config.take("effort", str)) is not None:
        if effort not in EFFORTS:
            config.refuse("effort", effort)
        out["reasoning_effort"] = effort
    if shape := config.within("format"):
        if (kind := shape.need("type", str)) != "json_schema":
            shape.refuse("type", kind)
        schema = {"name": "answer", "schema": shape.need("schema", dict), "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": schema}
        shape.done()
    config.done()
    return out
