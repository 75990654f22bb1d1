"""Each vendor's log comes to the same call: tokens, cost, times, names and bodies."""

import json

import pytest

from tests.store.formats import samples
from tests.store.formats.samples import ANSWER, COST, MESSAGES, QUESTION, csv_of, jsonl, one, read
from trimtab.store.formats.drafting import LOGGED_TAG
from trimtab.trace import CACHE_TAG, EndState, Score

START = 1_763_812_800 * 10**9 + 123_000_000


def holds(call, *, cost=COST, times=True):
    usage = call.usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (100, 60, 10)
    assert not usage.estimated and call.end is EndState.COMPLETE
    assert call.cost_nanodollars == cost
    if times:
        assert call.started_ns // 10**6 == START // 10**6
        assert call.duration_ms == pytest.approx(1000)


def says(payload, asked=MESSAGES):
    assert payload.request["messages"] == asked
    assert payload.response["choices"][0]["message"] == {"role": "assistant", "content": ANSWER}


WRITTEN = {
    "lines": lambda row: jsonl(row),
    "array": lambda row: json.dumps([row], indent=2).encode(),
    "page": lambda row: json.dumps({"data": [row], "meta": {"page": 1}}).encode(),
    "csv": lambda row: csv_of(row),
    "pretty": lambda row: json.dumps(row, indent=2).encode(),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_litellm(tmp_path, written):
    call, payload, _ = one(tmp_path / "spend", written(samples.litellm()))
    holds(call)
    says(payload)
    assert (call.id, call.session, call.workflow, call.agent) == ("chatcmpl-1", "s1", "dealership", "sales")
    assert (call.trace_id, call.user, call.finish_reason, call.request_model) == ("s1", "u1", "stop", "gpt-4o")
    assert call.tags[LOGGED_TAG] == "275000" and call.tags["request_tags"] == "prod"


def test_litellm_without_bodies_has_its_counts(tmp_path):
    bare = samples.litellm(proxy_server_request={}, response={}, metadata={}, model="own", model_group="own")
    call, payload, _ = one(tmp_path / "f", jsonl(bare))
    assert payload is None and call.raw_usage == {"prompt_tokens": 100, "completion_tokens": 10}
    # The price table does not know the model: what LiteLLM says it cost counts.
    assert (call.cost_nanodollars, call.price_table, call.priced_as) == (275_000, "litellm", "")


def test_litellm_failures_and_cache_hits(tmp_path):
    error = {"error_code": "429", "error_class": "RateLimitError", "error_message": "slow down"}
    failed = samples.litellm(status="failure", metadata={"error_information": error}, prompt_tokens=0)
    call, _, _ = one(tmp_path / "f", jsonl(failed | {"completion_tokens": 0, "spend": 0.0, "response": {}}))
    assert (call.end, call.status, call.error) == (EndState.UPSTREAM_ERROR, 429, "slow down")
    hit, _, _ = one(tmp_path / "f", jsonl(samples.litellm(cache_hit="True")))
    assert hit.cost_nanodollars == 0 and hit.tags[CACHE_TAG] == "hit" and hit.usage.input_tokens == 100


def test_litellm_usage_that_older_rows_keep_apart(tmp_path):
    more = {"additional_usage_values": {"prompt_tokens_details": {"cached_tokens": 60}}}
    call, _, _ = one(tmp_path / "f", jsonl(samples.litellm(metadata=more)))
    holds(call)


@pytest.mark.parametrize("row", [samples.langfuse, samples.langfuse_blob], ids=["camel", "snake"])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_langfuse(tmp_path, row, written):
    call, payload, _ = one(tmp_path / "f", written(row()))
    holds(call)
    says(payload)
    assert (call.id, call.trace_id, call.parent_id) == ("obs-1", "trace-1", "obs-0")
    assert (call.session, call.user, call.workflow, call.agent) == ("s1", "u1", "dealership", "sales")
    assert payload.request["temperature"] == 0 and call.ttft_ms == pytest.approx(200)


def test_langfuse_takes_calls_and_remarks_on_the_rest(tmp_path):
    rows = [samples.langfuse(), samples.langfuse(id="2", type="SPAN"), samples.langfuse(id="3", level="ERROR")]
    taken, report = read(tmp_path / "f", json.dumps({"trace": {}, "observations": rows}).encode())
    assert [record.call.id for record, _ in taken] == ["obs-1", "3"]
    assert taken[1][0].call.end is EndState.UPSTREAM_ERROR
    assert list(report.remarks.values()) == [1] and report.bad == 0


def test_langfuse_older_counts(tmp_path):
    row = samples.langfuse(usageDetails=None, usage={"input": 100, "output": 10, "total": 110, "unit": "TOKENS"})
    call, _, _ = one(tmp_path / "f", jsonl(row))
    assert (call.usage.input_tokens, call.usage.output_tokens) == (100, 10)


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (QUESTION, [{"role": "user", "content": QUESTION}]),
        ({"messages": MESSAGES, "tools": [{"a": 1}]}, MESSAGES),
        ({"question": 1}, [{"role": "user", "content": '{"question":1}'}]),
        ("[not json", [{"role": "user", "content": "[not json"}]),
    ],
)
def test_langfuse_inputs_of_any_shape(tmp_path, held, asked):
    _, payload, _ = one(tmp_path / "f", jsonl(samples.langfuse(input=held, output=ANSWER)))
    says(payload, asked)


@pytest.mark.parametrize("row", [samples.phoenix, samples.phoenix_frame], ids=["api", "frame"])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_phoenix(tmp_path, row, written):
    call, payload, _ = one(tmp_path / "f", written(row()))
    holds(call)
    says(payload)
    assert (call.id, call.trace_id) == ("1a2b3c4d5e6f7a8b", "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4")
    assert (call.session, call.user, call.agent, call.finish_reason) == ("s1", "u1", "sales", "stop")


def test_phoenix_nested_attributes_and_failures(tmp_path):
    nested = {"llm": {"model_name": "gpt-4o", "token_count": {"prompt": 5, "completion": 1}}}
    nested["llm"]["input_messages"] = [{"message": {"role": "user", "content": QUESTION}}]
    row = samples.phoenix(attributes=nested, status_code="ERROR", status_message="boom")
    call, payload, _ = one(tmp_path / "f", jsonl(row))
    assert payload.request["messages"] == [{"role": "user", "content": QUESTION}]
    assert (call.end, call.error, call.usage.input_tokens) == (EndState.UPSTREAM_ERROR, "boom", 5)
    taken, report = read(tmp_path / "f", jsonl(samples.phoenix(span_kind="CHAIN", attributes={})))
    assert not taken and report.bad == 0 and sum(report.remarks.values()) == 1


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_helicone(tmp_path, written):
    call, payload, scores = one(tmp_path / "f", written(samples.helicone()))
    holds(call)
    says(payload)
    assert (call.id, call.trace_id, call.workflow, call.agent) == ("q1", "s1", "dealership", "sales")
    assert call.ttft_ms == 200 and call.tags["environment"] == "prod"
    assert scores == (Score("feedback", 1.0, "helicone"), Score("exact", 1.0, "helicone"))


def test_helicone_failures_and_its_tool_s_csv(tmp_path):
    failed = samples.helicone(response_status=503, response_body={"error": {"message": "x"}}, prompt_tokens=None)
    call, _, _ = one(tmp_path / "f", jsonl(failed | {"completion_tokens": None}))
    assert (call.end, call.status) == (EndState.UPSTREAM_ERROR, 503)
    columns = ["response_id", "response_created_at", "response_status", "request_created_at", "request_body"]
    columns += ["request_properties", "request_user_id", "model", "prompt_tokens", "completion_tokens", "cost"]
    row = {name: samples.helicone()[name] for name in columns}
    call, payload, _ = one(tmp_path / "f", csv_of(row))
    assert call.id == "r1" and payload.request["messages"] == MESSAGES and payload.response is None


@pytest.mark.parametrize("kind", ["auto", "anthropic"])
def test_anthropic_pairs(tmp_path, kind):
    call, payload, _ = one(tmp_path / "f", jsonl(samples.anthropic()), kind=kind)
    usage = call.usage
    # Anthropic's own input count leaves the cached tokens out.
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (100, 60, 10)
    assert (call.finish_reason, call.end, call.session) == ("end_turn", EndState.COMPLETE, "s1")
    assert payload.response["content"][0]["text"] == ANSWER and call.cost_nanodollars


def test_anthropic_batches_and_messages_alone(tmp_path):
    pair = samples.anthropic()
    done = {"custom_id": "a", "result": {"type": "succeeded", "message": pair["response"]}}
    call, payload, _ = one(tmp_path / "f", jsonl(done))
    assert call.usage.batch and call.end is EndState.COMPLETE and not payload.request
    failed = {"custom_id": "b", "result": {"type": "errored", "error": {"type": "overloaded_error"}}}
    call, _, _ = one(tmp_path / "f", jsonl(failed))
    assert call.end is EndState.UPSTREAM_ERROR
    call, _, _ = one(tmp_path / "f", jsonl(pair["response"]))
    assert (call.usage.input_tokens, call.usage.batch) == (100, False)


def test_lengths_alone(tmp_path):
    call, payload, _ = one(tmp_path / "conv.csv", csv_of(samples.azure()))
    assert (call.usage.input_tokens, call.usage.output_tokens, call.workflow) == (100, 10, "conv")
    assert payload is None and call.cost_nanodollars is None and call.started_ns == START
    call, payload, _ = one(tmp_path / "chat.jsonl", jsonl(samples.mooncake()))
    assert payload.request == {"hash_ids": [0, 1, 27]} and call.started_ns == 27_482_000_000


@pytest.mark.parametrize("kind", list(samples.ROWS))
def test_a_negative_count_is_a_bad_record(tmp_path, kind):
    """Every number of tokens in the row, wherever it stands."""

    def negated(held):
        if isinstance(held, dict):
            return {name: -1 if _counts(name, one) else negated(one) for name, one in held.items()}
        return held

    row = negated(samples.ROWS[kind]())
    taken, report = read(tmp_path / "f", (csv_of if kind == "azure" else jsonl)(row), kind=kind)
    assert (taken, report.bad) == ([], 1)


def _counts(name, held):
    marks = ("token", "input", "output", "length", "Tokens", "prompt", "completion")
    is_number = isinstance(held, int) or (isinstance(held, str) and held.isdecimal())
    return is_number and any(mark in name for mark in marks)
