"""A chat request put into responses."""

from __future__ import annotations

from typing import Any

from trimtab.gateway.dialects.fields import Fields
from trimtab.gateway.dialects.translate_to_messages import bound, nothing_left

_INTO = "responses"
# Members that responses have under the same name.
_SAME = ("temperature", "top_p", "parallel_tool_calls", "user", "service_tier", "safety_identifier", "prompt_cache_key")


def request(body: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/responses that asks for the same; RequestRefused names what it cannot say.

    Nothing is stored there: that is chat's way.
    """
    given = Fields(body, "", _INTO)
    out: dict[str, Any] = {
        "model": given.need("model", str),
        "input": [item for said in given.each("messages") for item in _items(said)],
        "max_output_tokens": bound(given),
        "stream": given.take("stream", bool),
        "store": False,
        "tools": [_tool(tool) for tool in given.each("tools")] or None,
        "tool_choice": _tool_choice(given),
        "text": _text(given) or None,
        **{name: given.take(name) for name in _SAME},
    }
    if effort := given.take("reasoning_effort", str):
        out["reasoning"] = {"effort": effort}
    nothing_left(given, stop=([],))
    return {name: held for name, held in out.items() if held is not None}


def _items(said: Fields) -> list[dict[str, Any]]:
    """The items of one message: what it says, then the tools it calls."""
    role = said.need("role", str)
    items: list[dict[str, Any]] = []
    if role == "tool":
        output = _content(said, "input_text")
        items.append({"type": "function_call_output", "call_id": said.need("tool_call_id", str), "output": output})
    elif role in ("system", "developer", "user"):
        items.append({"role": role, "content": _content(said, "input_text")})
    elif role == "assistant":
        said.harmless(annotations=([],))
        if thought := said.take("reasoning_content", str):
            items.append(_thought(said, thought))
        if content := _content(said, "output_text"):
            items.append({"role": role, "content": content})
        items += [_call(call) for call in said.each("tool_calls")]
    else:
        said.refuse("role", role)
    said.done()
    return items


def _thought(said: Fields, text: str) -> dict[str, Any]:
    """Servers of open models go on from it in a loop with tools. Items must have names; nobody looks this one up."""
    place = said.where[said.where.index("[") + 1 : -1]
    content = [{"type": "reasoning_text", "text": text}]
    return {"type": "reasoning", "id": f"rs_{place}", "summary": [], "content": content}


def _content(said: Fields, text: str) -> Any:
    """A text as it is; parts as responses write them. Only a user shows pictures and files."""
    content = said.take("content", str, list)
    if not isinstance(content, list):
        return content or ""
    parts = [Fields(part, f"{said.path('content')}[{place}]", _INTO) for place, part in enumerate(content)]
    return [_part(part, text) for part in parts]


def _part(part: Fields, text: str) -> dict[str, Any]:
    kind = part.need("type", str)
    out: dict[str, Any]
    if kind == "text":
        out = {"type": text, "text": part.need("text", str)}
    elif kind == "image_url" and text == "input_text" and (image := part.within("image_url")):
        out = {
            "type": "input_image",
            "image_url": image.need("url", str),
            "detail": image.take("detail", str) or "auto",
        }
        image.done()
    elif kind == "file" and text == "input_text" and (file := part.within("file")):
        names = ("filename", "file_data", "file_id")
        out = {"type": "input_file", **{name: held for name in names if (held := file.take(name, str)) is not None}}
        file.done()
    else:
        part.refuse("type", kind)
    part.done()
    return out


def _call(call: Fields) -> dict[str, Any]:
    call.harmless(type=("function",))
    call.take("index")
    function = call.within("function") or Fields(None, call.path("function"), _INTO)
    names = {"name": function.need("name", str), "arguments": function.take("arguments", str) or "{}"}
    function.done()
    item = {"type": "function_call", "call_id": call.need("id", str), **names}
    call.done()
    return item


def _tool(tool: Fields) -> dict[str, Any]:
    if (kind := tool.take("type", str)) not in (None, "function"):
        tool.refuse("type", kind)
    function = tool.within("function") or Fields(None, tool.path("function"), _INTO)
    out = {
        "type": "function",
        "name": function.need("name", str),
        "description": function.take("description", str),
        "parameters": function.take("parameters", dict) or {"type": "object", "properties": {}},
        # Unsaid, it is false in chat and true in responses.
        "strict": function.take("strict", bool) or False,
    }
    function.done()
    tool.done()
    return {name: held for name, held in out.items() if held is not None}


def _tool_choice(given: Fields) -> Any:
    held = given.take("tool_choice", str, dict)
    if not isinstance(held, dict):
        return held
    choice = Fields(held, "tool_choice", _INTO)
    if (kind := choice.need("type", str)) != "function":
        choice.refuse("type", kind)
    function = choice.within("function") or Fields(None, choice.path("function"), _INTO)
    name = function.need("name", str)
    function.done()
    choice.done()
    return {"type": "function", "name": name}


def _text(given: Fields) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if verbosity := given.take("verbosity", str):
        text["verbosity"] = verbosity
    shape = given.within("response_format")
    if shape is None:
        return text
    kind = shape.need("type", str)
    if kind == "json_schema" and (schema := shape.within("json_schema")):
        names = {name: schema.take(name) for name in ("name", "description", "schema", "strict")}
        text["format"] = {"type": kind, **{name: held for name, held in names.items() if held is not None}}
        schema.done()
    elif kind in ("text", "json_object"):
        text["format"] = {"type": kind}
    else:
        shape.refuse("type", kind)
    shape.done()
    return text
