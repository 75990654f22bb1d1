"""Conversations as spans hold them, brought into the bodies of a chat completion. Knows no span and no call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.store.formats.drafting import Body
from trimtab.trace import members

Messages = list[dict[str, Any]]
_PLAIN = {"role", "content"}
_OF_PARTS = {"role", "parts", "finish_reason"}
_ROLES = ("system", "user", "assistant", "tool")


def bodies(
    held: Mapping[str, Any], events: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[Body | None, Body | None, str | None]:
    """Request and answer as bodies of a chat completion, as far as the attributes and events of a span tell them, and
    why the answer ended; None where there is none."""
    asked, answered = _of_parts(held)
    if not asked and not answered:
        asked, answered = _of_events(events)
    if not asked and not answered:
        asked, answered = _of_numbers(held)
    if not asked and not answered:
        asked, answered = _of_values(held)
    model = held.get("gen_ai.request.model") or held.get("llm.model_name")
    tools = _list(held.get("gen_ai.tool.definitions")) or _tools(held)
    request = {"model": model, "messages": asked, **({"tools": tools} if tools else {})} if asked else None
    reason = next((one.pop("finish_reason") for one in answered if "finish_reason" in one), None)
    response = _answer(answered[0], reason) if answered else None
    return body(request), body(response), reason if isinstance(reason, str) and reason else None


def _answer(message: dict[str, Any], reason: Any) -> dict[str, Any]:
    return {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def body(value: dict[str, Any] | None) -> Body | None:
    return None if value is None else members(msgspec.json.encode(value))


def answer_body(held: Any, reason: str | None) -> Body | None:
    """The body of an answer of which only what was said is known: a text, a message, or a whole answer."""
    if isinstance(held, dict) and any(name in held for name in ("choices", "stop_reason", "output")):
        return body(held)
    if isinstance(held, list):
        found = messages(held)
        held = found[-1] if found else None
    if held in (None, "", {}):
        return None
    message = _message(held) if isinstance(held, dict) else {"role": "assistant", "content": _plain(held)}
    message["role"] = "assistant"
    return body(_answer(message, message.pop("finish_reason", None) or reason))


def request_body(held: Any, model: str, more: Mapping[str, Any]) -> Body | None:
    """The body of a request of which only what was asked is known: a text, messages, or a whole request."""
    if isinstance(held, dict) and isinstance(held.get("messages"), list):
        return body({"model": model, **more, **held})
    if held in (None, "", {}, []):
        return None
    asked = messages(held) if isinstance(held, list) else []
    if not asked:
        single = isinstance(held, dict) and "content" in held
        asked = [_message(held)] if single else [{"role": "user", "content": _plain(held)}]
    return body({"model": model, **more, "messages": asked})


def messages(held: Sequence[Any]) -> Messages:
    """The messages of a list in which each has a role; none where one has not."""
    return [_message(one) for one in held] if all(isinstance(one, dict) and "role" in one for one in held) else []


def _plain(held: Any) -> str:
    return held if isinstance(held, str) else msgspec.json.encode(held).decode()


def _of_parts(held: Mapping[str, Any]) -> tuple[Messages, Messages]:
    """Messages of parts, as the newest conventions have them; as attributes they are JSON texts or values."""
    system = _list(held.get("gen_ai.system_instructions"))
    asked = [_message(one) for one in _list(held.get("gen_ai.input.messages")) if isinstance(one, dict)]
    answered = [_message(one) for one in _list(held.get("gen_ai.output.messages")) if isinstance(one, dict)]
    if system:
        asked.insert(0, _message({"role": "system", "parts": system}))
    return asked, answered


def _of_events(events: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Messages, Messages]:
    """Messages as events: one for each, or all of them in one."""
    asked: Messages = []
    answered: Messages = []
    for name, held in events:
        short = name.removeprefix("gen_ai.")
        if short == "choice":
            answered.append(_of_choice(held))
        elif (role := short.removesuffix(".message")) in _ROLES and role != short:
            asked.append(_message({"role": role, **_content(held)}))
        elif short == "content.prompt":
            asked += _given(held.get("gen_ai.prompt"), "user")
        elif short == "content.completion":
            answered += _given(held.get("gen_ai.completion"), "assistant")
        elif short == "client.inference.operation.details":
            more = _of_parts(held)
            asked += more[0]
            answered += more[1]
    return asked, answered


def _content(held: Mapping[str, Any]) -> dict[str, Any]:
    """What an event holds: one JSON text, or its own attributes."""
    value = _loaded(held.get("gen_ai.event.content"))
    return value if isinstance(value, dict) else {name: _loaded(one) for name, one in held.items()}


def _of_choice(held: Mapping[str, Any]) -> dict[str, Any]:
    value = _content(held)
    said = value.get("message")
    message = _message(said if isinstance(said, dict) else {"content": said} if isinstance(said, str) else value)
    message["role"] = "assistant"
    if reason := value.get("finish_reason"):
        message["finish_reason"] = reason
    return message


def _given(held: Any, role: str) -> Messages:
    value = _loaded(held)
    if isinstance(value, list) and (found := messages(value)):
        return found
    return [] if value in (None, "") else [{"role": role, "content": _plain(value)}]


def _of_numbers(held: Mapping[str, Any]) -> tuple[Messages, Messages]:
    """Messages as lists, or as attributes with numbers in their names, as OpenInference and OpenLLMetry have them."""
    asked = _numbered(held, "llm.input_messages") or _numbered(held, "gen_ai.prompt")
    return asked, _numbered(held, "llm.output_messages") or _numbered(held, "gen_ai.completion")


def _numbered(held: Mapping[str, Any], name: str) -> Messages:
    if name in held and (listed := _list(held[name])):
        return [_one(one) for one in listed if isinstance(one, dict)]
    prefix = f"{name}."
    grown: dict[int, Any] = {}
    for name, value in held.items():
        if name.startswith(prefix):
            number, _, rest = name[len(prefix) :].partition(".")
            if number.isdecimal() and len(number) < 6:
                _plant(grown.setdefault(int(number), {}), rest.removeprefix("message.").split("."), value)
    return [_message(_trained(grown[number])) for number in sorted(grown) if isinstance(grown[number], dict)]


def _one(held: Mapping[str, Any]) -> dict[str, Any]:
    inner = held.get("message")
    if isinstance(inner, dict) and inner.keys() == _PLAIN:
        return inner
    return _message(_trained(_whole(held)))


def _whole(held: Mapping[str, Any]) -> dict[str, Any]:
    """A message of a list: within `message`, or with dots in its names, or plain."""
    inner = held.get("message", held)
    if not isinstance(inner, dict) or not any("." in name for name in inner):
        return dict(inner) if isinstance(inner, dict) else {}
    grown: dict[str, Any] = {}
    for name, value in inner.items():
        _plant(grown, name.removeprefix("message.").split("."), value)
    return grown


def _plant(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            return
        tree = below
    tree[path[-1]] = value


def _trained(grown: dict[str, Any]) -> dict[str, Any]:
    """OpenInference's parts and tool calls as plain lists, without the names that are said twice."""
    made = dict(grown)
    if contents := _in_order(grown.get("contents")):
        parts = [_inner(one, "message_content") for one in contents]
        texts = [one["text"] for one in parts if isinstance(one, dict) and isinstance(one.get("text"), str)]
        made["content"] = "\n".join(texts)
        del made["contents"]
    if asked := _in_order(grown.get("tool_calls")):
        made["tool_calls"] = [_inner(one, "tool_call") for one in asked]
    return made


def _inner(held: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What stands below `name`, or has it before a dot in its own names; else all of it."""
    grown: dict[str, Any] = {}
    for key, value in held.items():
        _plant(grown, key.split("."), value)
    below = grown.get(name, grown)
    return below if isinstance(below, dict) else {}


def _in_order(held: Any) -> Messages:
    if not isinstance(held, dict):
        return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []
    numbers = sorted((name for name in held if name.isdecimal() and len(name) < 6), key=int)
    return [held[name] for name in numbers if isinstance(held[name], dict)]


def _of_values(held: Mapping[str, Any]) -> tuple[Messages, Messages]:
    """OpenInference's plain input and output, where there are no messages."""
    return _given(held.get("input.value"), "user"), _given(held.get("output.value"), "assistant")


def _tools(held: Mapping[str, Any]) -> list[Any]:
    found = [_loaded(_inner(one, "tool").get("json_schema")) for one in _in_order(_loaded(held.get("llm.tools")))]
    for number in range(1000):
        value = _loaded(held.get(f"llm.tools.{number}.tool.json_schema"))
        if value is None:
            break
        found.append(value)
    return found


def _message(held: Mapping[str, Any]) -> dict[str, Any]:
    """A message of chat completions from one of any of these shapes; what is known of it already stays."""
    if held.keys() == _PLAIN:
        return dict(held)
    if (text := _only_text(held)) is not None:
        return {name: one for name, one in held.items() if name != "parts"} | {"content": text}
    made = {name: held[name] for name in ("role", "content", "name", "tool_call_id", "finish_reason") if name in held}
    made.setdefault("role", "assistant")
    asked = [_call(one) for one in _list(held.get("tool_calls")) if isinstance(one, dict)]
    if made["role"] == "tool" and "tool_call_id" not in made and isinstance(held.get("id"), str):
        made["tool_call_id"] = held["id"]
    texts: list[str] = []
    for part in _list(held.get("parts")):
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        if kind == "text":
            texts.append(str(part.get("content") or ""))
        elif kind == "tool_call":
            asked.append(_call(part))
        elif kind == "tool_call_response":
            made["tool_call_id"] = part.get("id")
            texts.append(_plain(part.get("response", part.get("result", ""))))
        elif kind == "reasoning":
            made["reasoning_content"] = str(part.get("content") or "")
    if "parts" in held:
        made["content"] = "\n".join(texts) if texts else None
    if asked:
        made["tool_calls"] = asked
        made.setdefault("content", None)
    return made


def _only_text(held: Mapping[str, Any]) -> str | None:
    """What a message says whose only part is a text, as nearly all are; None of any other."""
    parts = held.get("parts")
    part = parts[0] if isinstance(parts, list) and len(parts) == 1 else None
    if not held.keys() <= _OF_PARTS or "role" not in held or not isinstance(part, dict) or part.get("type") != "text":
        return None
    text = part.get("content")
    return text if isinstance(text, str) else None


def _call(held: Mapping[str, Any]) -> dict[str, Any]:
    function = held.get("function")
    inner: Mapping[str, Any] = function if isinstance(function, Mapping) else held
    arguments = inner.get("arguments", inner.get("args"))
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    named = {"name": str(inner.get("name") or ""), "arguments": text}
    return {"id": held.get("id") or "", "type": "function", "function": named}


def _list(held: Any) -> list[Any]:
    value = _loaded(held)
    return value if isinstance(value, list) else []


def _loaded(held: Any) -> Any:
    """A value that may be kept as JSON in a text."""
    if isinstance(held, str) and held[:1] in ("{", "["):
        try:
            return msgspec.json.decode(held)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return held
    return held
