"""Records of every dialect, as the recorder hands them on."""

from trimtab.money import Usage
from trimtab.trace import Call, EndState, Payload, Record

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", "b7ad6b7169203331"
ENDPOINT = "main"


def call(**fields):
    known = {
        "id": "c1",
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_id": PARENT,
        "started_ns": 1_700_000_000_123_456_789,
        "duration_ms": 1500.5,
        "end": EndState.COMPLETE,
        "endpoint": ENDPOINT,
        "request_model": "assistant",
        "response_model": "gpt-4o-2024",
        "finish_reason": "stop",
        "usage": Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, reasoning_tokens=5),
        "cost_nanodollars": 2_500_000,
        "price_table": "v1",
    }
    return Call(**{**known, **fields})


CHAT = (
    {
        "model": "assistant",
        "messages": [
            {"role": "developer", "content": "You sell cars."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "x"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"colour": "red"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "three"},
        ],
        "tools": [{"type": "function", "function": {"name": "find"}}],
        "max_completion_tokens": 50,
        "temperature": 0,
        "top_k": 40,
        "n": 2,
        "stop": "END",
        "seed": 7,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {}},
    },
    {
        "id": "chatcmpl-1",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Three red ones."}},
        ],
    },
)
MESSAGES = (
    {
        "model": "assistant",
        "system": [{"type": "text", "text": "You sell cars."}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "tool_use", "id": "t1", "name": "find", "input": {"colour": "red"}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "three"}]},
        ],
        "max_tokens": 50,
        "stop_sequences": ["END"],
    },
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Three red ones."}],
    },
)
RESPONSES = (
    {
        "model": "assistant",
        "instructions": "You sell cars.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "t1", "name": "find", "arguments": '{"colour": "red"}'},
            {"type": "function_call_output", "call_id": "t1", "output": "three"},
        ],
        "max_output_tokens": 50,
        "previous_response_id": "resp_0",
        "reasoning": {"effort": "low"},
    },
    {
        "id": "resp_1",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Three red ones."}]},
        ],
    },
)
EMBEDDINGS = ({"model": "assistant", "input": ["a", "b"], "encoding_format": "float", "dimensions": 8}, {"data": []})


def record(bodies=CHAT, **fields):
    made = call(**fields)
    return Record(made, Payload(made.id, *bodies) if bodies is not None else None)
