"""One call in the words of each log, with the vendors' own field names, and how to read it."""

import json

from trimtab.config import shipped_prices
from trimtab.store.logs import ImportReport, records

PRICES = shipped_prices()
QUESTION, ANSWER = "Which car is red?", "The Volvo."
MESSAGES = [{"role": "system", "content": "You sell cars."}, {"role": "user", "content": QUESTION}]
REQUEST = {"model": "gpt-4o", "messages": MESSAGES, "temperature": 0}
CHOICES = [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}]
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
USAGE |= {"prompt_tokens_details": {"cached_tokens": 60}}
RESPONSE = {"id": "chatcmpl-1", "model": "gpt-4o", "created": 1_763_812_800, "choices": CHOICES, "usage": USAGE}
# 40 fresh, 60 cached and 10 output tokens of gpt-4o.
COST = 40 * 2_500 + 60 * 1_250 + 10 * 10_000


def litellm(**fields):
    row = {
        "request_id": "chatcmpl-1",
        "call_type": "acompletion",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "spend": 0.000275,
        "total_tokens": 110,
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "startTime": "2025-11-22T12:00:00.123456",
        "endTime": "2025-11-22T12:00:01.123456",
        "request_duration_ms": 1000,
        "completionStartTime": "2025-11-22T12:00:00.323456",
        "model": "gpt-4o",
        "model_id": "m1",
        "model_group": "gpt-4o",
        "custom_llm_provider": "openai",
        "api_base": "https://api.openai.com/v1/",
        "user": "u1",
        "metadata": {
            "usage_object": USAGE,
            "user_api_key_alias": "sales",
            "user_api_key_team_alias": "dealership",
            "status": "success",
        },
        "cache_hit": "False",
        "cache_key": "Cache OFF",
        "request_tags": ["prod"],
        "team_id": "team-1",
        "end_user": "",
        "messages": {},
        "response": {name: held for name, held in RESPONSE.items() if name != "usage"},
        "session_id": "s1",
        "status": "success",
        "proxy_server_request": REQUEST,
    }
    return row | fields


def langfuse(**fields):
    row = {
        "id": "obs-1",
        "traceId": "trace-1",
        "startTime": "2025-11-22T12:00:00.123Z",
        "endTime": "2025-11-22T12:00:01.123Z",
        "completionStartTime": "2025-11-22T12:00:00.323Z",
        "projectId": "p",
        "parentObservationId": "obs-0",
        "type": "GENERATION",
        "name": "answer",
        "level": "DEFAULT",
        "userId": "u1",
        "sessionId": "s1",
        "traceName": "dealership",
        "input": MESSAGES,
        "output": {"role": "assistant", "content": ANSWER},
        "model": "gpt-4o",
        "modelParameters": {"temperature": 0, "max_tokens": 100},
        "usageDetails": {"input": 40, "input_cached_tokens": 60, "output": 10, "total": 110},
        "costDetails": {"total": 0.000275},
        "totalCost": 0.000275,
        "promptName": "sales",
    }
    return row | fields


SNAKE = {
    "traceId": "trace_id",
    "startTime": "start_time",
    "endTime": "end_time",
    "completionStartTime": "completion_start_time",
    "parentObservationId": "parent_observation_id",
    "userId": "user_id",
    "sessionId": "session_id",
    "traceName": "trace_name",
    "modelParameters": "model_parameters",
    "usageDetails": "usage_details",
    "costDetails": "cost_details",
    "totalCost": "total_cost",
    "promptName": "prompt_name",
    "model": "provided_model_name",
}


def langfuse_blob(**fields):
    """A row of the export to blob storage: snake case, inputs and outputs as texts."""
    row = {SNAKE.get(name, name): held for name, held in langfuse(**fields).items()}
    row |= {"start_time": "2025-11-22 12:00:00.123000", "end_time": "2025-11-22 12:00:01.123000"}
    row |= {"completion_start_time": "2025-11-22 12:00:00.323000"}
    return row | {"input": json.dumps(row["input"]), "output": json.dumps(row["output"])}


ATTRIBUTES = {
    "llm.model_name": "gpt-4o",
    "llm.token_count.prompt": 100,
    "llm.token_count.completion": 10,
    "llm.token_count.prompt_details.cache_read": 60,
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "You sell cars.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.content": QUESTION,
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": ANSWER,
    "llm.finish_reason": "stop",
    "session.id": "s1",
    "user.id": "u1",
    "agent.name": "sales",
}


def phoenix(**fields):
    row = {
        "id": "U3Bhbjox",
        "name": "ChatCompletion",
        "context": {"trace_id": "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4", "span_id": "1a2b3c4d5e6f7a8b"},
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": "2025-11-22T12:00:00.123000+00:00",
        "end_time": "2025-11-22T12:00:01.123000+00:00",
        "status_code": "OK",
        "status_message": "",
        "attributes": ATTRIBUTES,
        "events": [],
    }
    return row | fields


def phoenix_frame():
    """A row of the data frame of spans: attributes as columns, messages as lists of flat objects."""
    row = {name: held for name, held in phoenix().items() if name not in ("context", "attributes", "id")}
    row |= {f"context.{name}": held for name, held in phoenix()["context"].items()}
    row |= {f"attributes.{name}": held for name, held in ATTRIBUTES.items() if "messages" not in name}
    asked = [{"message.role": one["role"], "message.content": one["content"]} for one in MESSAGES]
    row["attributes.llm.input_messages"] = asked
    row["attributes.llm.output_messages"] = [{"message.role": "assistant", "message.content": ANSWER}]
    return row


def helicone(**fields):
    row = {
        "response_id": "r1",
        "response_created_at": "2025-11-22T12:00:01.123Z",
        "response_body": RESPONSE,
        "response_status": 200,
        "response_model": "gpt-4o",
        "request_id": "q1",
        "request_created_at": "2025-11-22T12:00:00.123Z",
        "request_body": REQUEST,
        "request_path": "https://api.openai.com/v1/chat/completions",
        "request_user_id": "u1",
        "request_properties": {
            "Helicone-Session-Id": "s1",
            "Helicone-Session-Name": "dealership",
            "Helicone-Session-Path": "/triage/sales",
            "environment": "prod",
        },
        "request_model": "gpt-4o",
        "provider": "OPENAI",
        "delay_ms": 1000,
        "time_to_first_token": 200,
        "total_tokens": 110,
        "prompt_tokens": 100,
        "prompt_cache_read_tokens": 60,
        "completion_tokens": 10,
        "cost": 0.000275,
        "feedback_rating": True,
        "model": "gpt-4o",
        "scores": {"exact": 1, "large": 87},
    }
    return row | fields


def anthropic(**fields):
    request = {"model": "claude-sonnet-4-5", "max_tokens": 100, "system": "You sell cars.", "messages": MESSAGES[1:]}
    usage = {"input_tokens": 40, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0, "output_tokens": 10}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "usage": usage}
    message |= {"content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn", "stop_sequence": None}
    return {"request": request, "response": message, "timestamp": 1_763_812_800.123, "session": "s1"} | fields


def azure():
    return {"TIMESTAMP": "2025-11-22 12:00:00.1230000", "ContextTokens": "100", "GeneratedTokens": "10"}


def mooncake(**fields):
    return {"timestamp": 27482, "input_length": 1100, "output_length": 10, "hash_ids": [0, 1, 27]} | fields


def openai(**fields):
    return {"request": REQUEST, "response": RESPONSE, "session": "s1", "workflow": "dealership"} | fields


ROWS = {
    "litellm": litellm,
    "langfuse": langfuse,
    "phoenix": phoenix,
    "helicone": helicone,
    "anthropic": anthropic,
    "azure": azure,
    "mooncake": mooncake,
    "openai": openai,
}


def jsonl(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def csv_of(*rows):
    """As exporters write it: objects as JSON texts, nothing for null."""
    import csv
    import io

    held = io.StringIO()
    writer = csv.DictWriter(held, rows[0])
    writer.writeheader()
    for row in rows:
        plain = {name: json.dumps(one) if isinstance(one, dict | list) else one for name, one in row.items()}
        writer.writerow(plain)
    return held.getvalue().encode()


def read(path, content=None, *, kind="auto", **more):
    """(records with their scores, report) of what is at `path`, after `content` was written there."""
    if content is not None:
        path.write_bytes(content)
    report = ImportReport()
    return list(records(path, PRICES, kind=kind, report=report, **more)), report


def one(path, content, **more):
    """(call, decoded payload or None, scores) of the only call in `content`, which must be without fault."""
    taken, report = read(path, content, **more)
    assert (report.read, report.bad, report.samples) == (1, 0, [])
    record, scores = taken[0]
    return record.call, record.payload and record.payload.decoded(), scores
