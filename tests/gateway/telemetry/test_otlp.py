"""What a record becomes as a span, in each version: decoded by OpenTelemetry's own classes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.telemetry import samples
from tests.gateway.telemetry.receiver import decoded, named
from trimtab.endpoint import Endpoint
from trimtab.gateway.telemetry import facts, otlp, semconv
from trimtab.gateway.telemetry.semconv import CONVENTIONS
from trimtab.money import Usage
from trimtab.trace import EndState, Payload, Record

PLACE = facts.place(Endpoint(name="main", url="https://api.openai.com/v1"))
OLD, NEWEST = CONVENTIONS["v1.36"], CONVENTIONS["v0.1.0"]


def span(record, convention=NEWEST, *, bodies=False, place=PLACE):
    request = decoded(otlp.request([otlp.span(record, convention, place, bodies=bodies)], convention, "shop"))
    (resource,) = request.resource_spans
    assert named(resource.resource.attributes)["service.name"] == "shop"
    (scope,) = resource.scope_spans
    assert scope.schema_url == convention.schema_url and scope.scope.name == "trimtab.gateway"
    (only,) = scope.spans
    return only


def test_a_span_is_where_and_when_the_call_was():
    made = span(samples.record())
    assert (made.trace_id.hex(), made.span_id.hex()) == (samples.TRACE, samples.SPAN)
    assert made.parent_span_id.hex() == samples.PARENT
    assert (made.name, made.kind, made.status.code) == ("chat assistant", made.SPAN_KIND_CLIENT, 0)
    assert made.start_time_unix_nano == 1_700_000_000_123_456_789
    assert made.end_time_unix_nano - made.start_time_unix_nano == 1_500_500_000


BOTH = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "assistant",
    "gen_ai.response.model": "gpt-4o-2024",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.request.max_tokens": 50,
    "gen_ai.request.temperature": 0.0,
    "gen_ai.request.seed": 7,
    "gen_ai.request.choice.count": 2,
    "gen_ai.request.stop_sequences": ["END"],
    "gen_ai.output.type": "json",
    "gen_ai.conversation.id": "s",
    "gen_ai.agent.name": "sales",
    "user.id": "u",
    "server.address": "api.openai.com",
    "server.port": 443,
    "trimtab.workflow": "cars",
    "trimtab.cost_usd": 0.0025,
    "trimtab.tag.tier": "gold",
    "trimtab.end": "complete",
}
WHO = {"session": "s", "agent": "sales", "user": "u", "workflow": "cars", "tags": {"tier": "gold"}}


def test_names_of_the_oldest_version():
    told = named(span(samples.record(**WHO), OLD).attributes)
    assert told.items() >= BOTH.items()
    assert told["gen_ai.system"] == "openai" and told["trimtab.cache_read_tokens"] == 60
    assert told["gen_ai.request.top_k"] == 40.0 and isinstance(told["gen_ai.request.top_k"], float)
    assert not [name for name in told if "provider" in name or "cache_read.input" in name]


def test_names_of_the_newest_version():
    told = named(span(samples.record(**WHO, stream=True, ttft_ms=250.0)).attributes)
    assert told.items() >= BOTH.items()
    newest = {
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.request.top_k": 40,
    }
    assert told.items() >= newest.items()
    assert isinstance(told["gen_ai.request.top_k"], int) and "gen_ai.system" not in told


def test_nothing_is_invented():
    bare = samples.call(parent_id="p1", session="", usage=Usage(), cost_nanodollars=None, agent="fp-1", derived=True)
    told = named(span(Record(bare)).attributes)
    absent = ("gen_ai.conversation.id", "gen_ai.agent.name", "gen_ai.usage.input_tokens", "trimtab.cost_usd", "user.id")
    assert not set(absent) & set(told)
    assert told["trimtab.agent_fingerprint"] == "fp-1"
    assert told["trimtab.parent"] == "p1", "what names no span cannot be a parent's id"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"end": EndState.UPSTREAM_ERROR, "status": 503, "error": "busy"}, "503", "busy"),
        ({"end": EndState.CUT, "stream": True, "ttft_ms": 1.0, "finish_reason": None}, "cut", "cut"),
        ({"end": EndState.CLIENT_GONE}, "client-gone", "client-gone"),
    ],
)
def test_a_call_that_failed_is_an_error_by_a_word_of_few(fields, error, message):
    made = span(samples.record(**fields))
    told = named(made.attributes)
    assert (told["error.type"], made.status.code, made.status.message) == (
        error,
        made.status.STATUS_CODE_ERROR,
        message,
    )
    assert told.get("gen_ai.response.finish_reasons") == (["error"] if fields.get("stream") else ["stop"])


def test_without_content_no_word_of_it_is_told():
    for convention in CONVENTIONS.values():
        for bodies in (samples.CHAT, samples.MESSAGES, samples.RESPONSES):
            told = str(span(facts.without_content(samples.record(bodies)), convention))
            assert "cars." not in told and "red" not in told and "find" not in told


TOOL_CALL = {"type": "tool_call", "id": "t1", "name": "find", "arguments": {"colour": "red"}}
TOOL_RESULT = {"type": "tool_call_response", "id": "t1", "response": "three"}


def parts(messages, role):
    return [part for message in messages if message["role"] == role for part in message["parts"]]


@pytest.mark.parametrize("bodies", [samples.CHAT, samples.MESSAGES, samples.RESPONSES])
def test_content_is_the_same_in_every_dialect(bodies):
    told = named(span(samples.record(bodies), bodies=True).attributes)
    asked = json.loads(told["gen_ai.input.messages"])
    said = json.loads(told.get("gen_ai.system_instructions", "[]")) + parts(asked, "system")
    assert said == [{"type": "text", "content": "You sell cars."}]
    assert parts(asked, "user")[0] == {"type": "text", "content": "hi"}
    assert TOOL_CALL in parts(asked, "assistant")
    assert TOOL_RESULT in parts(asked, "tool") + parts(asked, "user")
    answered = json.loads(told["gen_ai.output.messages"])
    assert {"type": "text", "content": "Three red ones."} in parts(answered, "assistant")


def test_pictures_are_named_and_not_told():
    told = named(span(samples.record(), bodies=True).attributes)
    assert {"type": "image_url"} in parts(json.loads(told["gen_ai.input.messages"]), "user")


def test_the_oldest_version_has_content_in_events():
    made = span(samples.record(), OLD, bodies=True)
    names = [event.name for event in made.events]
    assert names == [
        *("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message"),
        "gen_ai.choice",
    ]
    last = named(made.events[-1].attributes)
    assert last["gen_ai.system"] == "openai" and "Three red ones." in last["gen_ai.event.content"]
    assert not [each.key for each in made.attributes if "messages" in each.key]


def test_what_is_too_large_is_left_out_and_said():
    bodies = ({"messages": [{"role": "user", "content": "x" * 200_000}]}, samples.CHAT[1])
    told = named(span(samples.record(bodies), bodies=True).attributes)
    assert told["trimtab.content_left_out"] == "input_messages" and "gen_ai.output.messages" in told


def test_embeddings_say_their_size():
    told = named(span(samples.record(samples.EMBEDDINGS, operation="embeddings")).attributes)
    assert told["gen_ai.embeddings.dimension.count"] == 8
    assert told["gen_ai.request.encoding_formats"] == ["float"]


@pytest.mark.parametrize(
    ("url", "dialect", "old", "newest"),
    [
        ("https://api.anthropic.com/v1", "messages", "anthropic", "anthropic"),
        ("https://me.openai.azure.com/openai", "chat", "az.ai.openai", "azure.ai.openai"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com/v1", "chat", "aws.bedrock", "aws.bedrock"),
        ("https://us-aiplatform.googleapis.com/v1", "chat", "gcp.vertex_ai", "gcp.vertex_ai"),
        ("https://api.x.ai/v1", "chat", "xai", "x_ai"),
        ("http://127.0.0.1:8500/v1", "chat", "openai", "openai"),
        ("http://[::1]:8500/v1", "messages", "anthropic", "anthropic"),
    ],
)
def test_providers_by_their_hosts(url, dialect, old, newest):
    place = facts.place(Endpoint(name="e", url=url, dialect=dialect))
    assert (OLD.provider(place.provider), NEWEST.provider(place.provider)) == (old, newest)


def test_the_environment_may_ask_for_the_newest(monkeypatch):
    monkeypatch.delenv("OTEL_SEMCONV_STABILITY_OPT_IN", raising=False)
    assert semconv.convention("") is OLD and semconv.convention("v0.1.0") is NEWEST
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_latest_experimental")
    assert semconv.convention("") is NEWEST and semconv.convention("v1.36") is OLD


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9) | st.text(max_size=8),
    lambda held: (
        st.lists(held, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "text",
                    "id",
                    "name",
                    "function",
                    "tool_calls",
                    "arguments",
                    "output",
                    "input",
                ]
            ),
            held,
            max_size=5,
        )
    ),
    max_leaves=12,
)
BODY = st.dictionaries(
    st.sampled_from(
        [
            *(
                "messages",
                "system",
                "instructions",
                "input",
                "prompt",
                "tools",
                "n",
                "stop",
                "seed",
                "top_k",
                "reasoning",
            ),
            *("id", "choices", "output", "content", "response_format", "text", "max_tokens", "temperature"),
        ]
    ),
    JSON,
)


@given(BODY, st.none() | BODY, st.sampled_from(list(CONVENTIONS.values())), st.text(max_size=20))
def test_no_body_makes_a_span_that_otlp_cannot_read(request_body, response, convention, word):
    made = samples.call(user=word, error=word, request_model=word, tags={word: word}, parent_id=word)
    span(Record(made, Payload("c1", request_body, response)), convention, bodies=True)


@given(st.binary(max_size=100))
def test_no_answer_of_a_collector_is_any_trouble(junk):
    assert otlp.rejected(junk) >= 0


def test_what_a_collector_rejects_is_counted():
    assert otlp.rejected(b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}') == 3
    assert otlp.rejected(b'{"partialSuccess":{}}') == otlp.rejected(b"{}") == otlp.rejected(b"") == 0
