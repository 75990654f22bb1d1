"""What good servers of the dialects other than chat answer, plain and streamed; the spacing is odd on purpose."""

import json

from tests.gateway.upstream import Script, usual

WORDS = ["Hello", ", ", "how ", "may ", "I ", "help", "?"]
INPUT = {"make": "Ford"}


def event(value, name=None):
    name = name or value["type"]
    return f"event: {name}\ndata: ".encode() + json.dumps(value).encode() + b"\n\n"


# Anthropic's messages
ANTHROPIC_USAGE = {
    "input_tokens": 300,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 100,
    "output_tokens": 10,
}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "find_car", "input": INPUT}
THINKING = {"type": "thinking", "thinking": "Hm, a car.", "signature": "c2ln"}


def message(content=None, stop="end_turn", **more):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-fake",
        "content": content or [{"type": "text", "text": "".join(WORDS)}],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
        **more,
    }


def block_events(index, block):
    """The events of one content block, in several pieces."""
    kind = block["type"]
    if kind == "text":
        begun, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in WORDS]
    elif kind == "thinking":
        half = len(block["thinking"]) // 2
        pieces = (block["thinking"][:half], block["thinking"][half:])
        begun = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        text = json.dumps(block["input"])
        begun = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", text[:5], text[5:])]
    return [
        event({"type": "content_block_start", "index": index, "content_block": begun}),
        *(event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas),
        event({"type": "content_block_stop", "index": index}),
    ]


def message_events(content=None, stop="end_turn"):
    whole = message(content, stop)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}
    blocks = [piece for index, block in enumerate(whole["content"]) for piece in block_events(index, block)]
    delta = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}}
    return [
        event({"type": "message_start", "message": begun}),
        event({"type": "ping"}),
        *blocks,
        event({**delta, "usage": {"output_tokens": 10}}),
        event({"type": "message_stop"}),
    ]


# OpenAI's responses
RESPONSES_USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 600},
    "output_tokens": 10,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 1010,
}
TEXT_ITEM = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "".join(WORDS), "annotations": []}],
}
CALL_ITEM = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_1",
    "name": "find_car",
    "arguments": json.dumps(INPUT),
    "status": "completed",
}


def response(output=None, status="completed", **more):
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-fake",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": [TEXT_ITEM] if output is None else output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": RESPONSES_USAGE,
        **more,
    }


def item_events(index, item):
    at = {"output_index": index, "item_id": item["id"]}
    if item["type"] == "function_call":
        text = item["arguments"]
        begun = {**item, "arguments": "", "status": "in_progress"}
        pieces = [
            {"type": "response.function_call_arguments.delta", **at, "delta": piece} for piece in (text[:5], text[5:])
        ]
        pieces.append({"type": "response.function_call_arguments.done", **at, "arguments": text, "name": item["name"]})
    else:
        begun = {**item, "content": [], "status": "in_progress"}
        at["content_index"] = 0
        empty = {"type": "output_text", "text": "", "annotations": []}
        pieces = [{"type": "response.content_part.added", **at, "part": empty}]
        pieces += [{"type": "response.output_text.delta", **at, "delta": word, "logprobs": []} for word in WORDS]
        pieces.append({"type": "response.output_text.done", **at, "text": "".join(WORDS), "logprobs": []})
        pieces.append({"type": "response.content_part.done", **at, "part": item["content"][0]})
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *pieces,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def response_events(output=None, last="response.completed", **more):
    whole = response(output, **more)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    values = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for index, item in enumerate(whole["output"]):
        values += item_events(index, item)
    values.append({"type": last, "response": whole})
    return [event({**value, "sequence_number": number}) for number, value in enumerate(values)]


EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
    "model": "embed-fake",
    "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
}
TEXT_USAGE = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
TEXT_HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "text-fake"}


def completion():
    choice = {"index": 0, "text": "".join(WORDS), "finish_reason": "stop", "logprobs": None}
    return {**TEXT_HEAD, "choices": [choice], "usage": TEXT_USAGE}


def completion_events(usage=True):
    choices = [{"index": 0, "text": word, "finish_reason": None, "logprobs": None} for word in WORDS]
    choices.append({"index": 0, "text": "", "finish_reason": "stop", "logprobs": None})
    chunks = [{**TEXT_HEAD, "choices": [choice]} for choice in choices]
    chunks += [{**TEXT_HEAD, "choices": [], "usage": TEXT_USAGE}] if usage else []
    return [*(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"]


def plain(value):
    return json.dumps(value, indent=1).encode()


def every(seen):
    """A server that speaks all of them well."""
    path = seen.path.partition("?")[0]
    if path == "/v1/chat/completions":
        return usual(seen)
    body = seen.json
    tools, streamed = bool(body.get("tools")), bool(body.get("stream"))
    if path == "/v1/messages":
        content, stop = ([THINKING, TOOL_USE], "tool_use") if tools else (None, "end_turn")
        return Script(events=message_events(content, stop)) if streamed else Script(body=plain(message(content, stop)))
    if path == "/v1/messages/count_tokens":
        return Script(body=plain({"input_tokens": 42}))
    if path == "/v1/responses":
        output = [CALL_ITEM] if tools else [TEXT_ITEM]
        if (body.get("text") or {}).get("format", {}).get("type") == "json_schema":
            output = [{**TEXT_ITEM, "content": [{**TEXT_ITEM["content"][0], "text": '{"make": "Ford", "doors": 4}'}]}]
        return Script(events=response_events(output)) if streamed else Script(body=plain(response(output)))
    if path == "/v1/embeddings":
        return Script(body=plain(EMBEDDINGS))
    if path == "/v1/completions":
        asked = (body.get("stream_options") or {}).get("include_usage")
        return Script(events=completion_events(asked)) if streamed else Script(body=plain(completion()))
    return Script(status=404, body=b'{"error": {"message": "nothing here"}}')
