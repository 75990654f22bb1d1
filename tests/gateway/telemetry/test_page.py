"""OpenTelemetry's metrics on Prometheus' page: names, buckets, and labels that stay few whatever anybody writes."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.telemetry import samples
from trimtab.endpoint import Endpoint
from trimtab.gateway.metrics import Meter
from trimtab.gateway.siblings import merged
from trimtab.gateway.telemetry import series
from trimtab.money import Usage
from trimtab.trace import EndState

ENDPOINTS = (
    Endpoint(name="main", url="https://api.x.ai/v1"),
    Endpoint(name="here", url="http://10.0.0.1:8500/v1", dialect="messages"),
)
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+=\"(?:[^\"\\\n]|\\[\\n\"])*\",?)*\})? ([0-9.e+-]+)")
COUNTS = {"waiting": 0, "written": 0, "dropped": 0, "failed": 0}


def page(*calls, versions=("v1.36", "v0.1.0")):
    meter = Meter()
    meter.know(lambda: ENDPOINTS)
    meter.conventions = versions
    for call in calls:
        meter.count(call, call.usage)
    return meter.text(COUNTS)


def check(text):
    """Every line is one that Prometheus reads, each family is opened once, each sample is there once."""
    lines = text.rstrip("\n").split("\n")
    kinds = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(kinds) == len(set(kinds))
    names = []
    for line in lines:
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            names.append(line.rpartition(" ")[0])
            family = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert match[1] in kinds or family in kinds, line
    assert max(Counter(names).values()) == 1


OLD = 'gen_ai_operation_name="chat",gen_ai_system="xai",gen_ai_request_model="assistant",'
NEW = OLD.replace('gen_ai_system="xai"', 'gen_ai_provider_name="x_ai"')
REST = 'gen_ai_response_model="gpt-4o-2024",server_address="api.x.ai",server_port="443"'


def test_the_oldest_names_and_buckets():
    lines = page(samples.call(), samples.call(end=EndState.CUT), versions=("v1.36",)).splitlines()
    for line in (
        "# TYPE gen_ai_client_operation_duration_seconds histogram",
        f'gen_ai_client_operation_duration_seconds_bucket{{{OLD}{REST},le="1.28"}} 0',
        f'gen_ai_client_operation_duration_seconds_bucket{{{OLD}{REST},le="2.56"}} 1',
        f'gen_ai_client_operation_duration_seconds_bucket{{{OLD}{REST},le="81.92"}} 1',
        f'gen_ai_client_operation_duration_seconds_count{{{OLD}{REST},error_type="cut"}} 1',
        f'gen_ai_client_token_usage_bucket{{{OLD}{REST},gen_ai_token_type="input",le="64"}} 0',
        f'gen_ai_client_token_usage_bucket{{{OLD}{REST},gen_ai_token_type="input",le="256"}} 2',
        f'gen_ai_client_token_usage_bucket{{{OLD}{REST},gen_ai_token_type="input",le="67108864"}} 2',
        f'gen_ai_client_token_usage_sum{{{OLD}{REST},gen_ai_token_type="output"}} 40',
    ):
        assert line in lines, line
    assert not [line for line in lines if "gen_ai_client_inference" in line]


def test_the_newest_names():
    lines = page(samples.call(stream=True, ttft_ms=50.0), versions=("v0.1.0",)).splitlines()
    for line in (
        f"gen_ai_client_inference_duration_seconds_count{{{NEW}{REST}}} 1",
        f'gen_ai_client_inference_time_to_first_chunk_seconds_bucket{{{NEW}{REST},le="0.08"}} 1',
        f"gen_ai_client_inference_usage_input_tokens_total{{{NEW}{REST}}} 100",
        f"gen_ai_client_inference_usage_cache_read_input_tokens_total{{{NEW}{REST}}} 60",
        f"gen_ai_client_inference_usage_reasoning_output_tokens_total{{{NEW}{REST}}} 5",
        f"gen_ai_client_inference_operation_output_tokens_sum{{{NEW}{REST}}} 20",
    ):
        assert line in lines, line
    assert not [line for line in lines if "gen_ai_system" in line or "token_usage" in line]


def test_embeddings_have_their_own():
    text = page(samples.call(operation="embeddings", usage=Usage(input_tokens=8)))
    assert 'gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name="embeddings"' in text
    assert "gen_ai_client_embeddings_duration_seconds_count" in text
    assert "gen_ai_client_embeddings_operation_input_tokens_sum" in text
    assert "gen_ai_client_inference" not in text and 'token_type="output"' not in text


def test_what_no_model_answered_is_no_operation():
    refused = samples.call(endpoint="", end=EndState.REFUSED, status=404)
    assert "gen_ai_" not in page(refused, samples.call(operation="files"))


def test_endpoints_of_one_place_are_one_sample():
    twins = (Endpoint(name="a", url="http://h/v1"), Endpoint(name="b", url="http://h/v1"))
    meter = Meter()
    meter.know(lambda: twins)
    for name in "ab":
        meter.count(samples.call(endpoint=name), None)
    text = meter.text(COUNTS)
    check(text)
    assert len(re.findall("gen_ai_client_operation_duration_seconds_count.* 2", text)) == 1


WORD = st.text(max_size=12)
CALL = st.builds(
    samples.call,
    endpoint=st.sampled_from(["", "main", "here", "gone"]) | WORD,
    operation=st.sampled_from(["chat", "embeddings", "text_completion", "files"]),
    request_model=WORD,
    response_model=WORD,
    agent=WORD,
    derived=st.booleans(),
    session=st.just("a-session"),
    end=st.sampled_from(list(EndState)),
    status=st.sampled_from([200, 404, 500]),
    ttft_ms=st.none() | st.floats(0, 1e6),
    duration_ms=st.floats(0, 1e6),
    cost_nanodollars=st.none() | st.integers(0, 10**12),
    usage=st.builds(Usage, input_tokens=st.integers(0, 2**40), output_tokens=st.integers(0, 2**40)),
)


@settings(max_examples=60)
@given(st.lists(CALL, max_size=6))
def test_whatever_is_counted_the_page_can_be_read(calls):
    text = page(*calls)
    check(text)
    check(merged([text, text], [text]))
    assert "a-session" not in text


@pytest.mark.parametrize("field", ["response_model", "request_model", "endpoint", "agent", "status"])
def test_names_that_grow_many_become_one(field, monkeypatch):
    monkeypatch.setattr(series, "_MOST_SERIES", 100)
    values = range(5000) if field == "status" else [f"name-{number}" for number in range(5000)]
    meter = Meter()
    for value in values:
        meter.count(samples.call(**{field: value}), None)
    calls = [line for line in meter.text(COUNTS).splitlines() if line.startswith("trimtab_calls_total")]
    assert len(calls) <= 102 and sum(float(line.rpartition(" ")[2]) for line in calls) == 5000
