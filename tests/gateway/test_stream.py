"""Every stream ends in one named state, and what the client gets never lets a cut look whole."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.upstream import DONE, TEXT, TOOL_CALL, TOOLS, USAGE, USAGE_CHUNK, WORDS, chunk
from trimtab.gateway import wire
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.stream import Relay
from trimtab.trace import EndState

GOOD = [*TEXT, USAGE_CHUNK, DONE]


def fed(events, hide_usage=False, close=True):
    head = wire.Head(stream_options=msgspec.Raw(b"null" if hide_usage else b'{"include_usage": true}'))
    relay = Relay(CHAT, head)
    out = b"".join(relay.feed(event) for event in events)
    return relay, out + (relay.close() if close else b"")


def test_a_whole_stream_passes_byte_for_byte():
    relay, out = fed(GOOD)
    assert out == b"".join(GOOD)
    assert relay.end is EndState.COMPLETE
    answer = relay.assembly.answer()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(WORDS)},
        "finish_reason": "stop",
    }
    assert answer["usage"] == USAGE


def test_the_usage_chunk_is_hidden_but_read():
    relay, out = fed(GOOD, hide_usage=True)
    assert out == b"".join([*TEXT, DONE])
    assert relay.assembly.usage == USAGE


def test_usage_inside_a_choice_chunk_is_not_hidden():
    last = chunk(finish="stop").replace(b'"choices"', b'"usage": {"prompt_tokens": 5}, "choices"')
    relay, out = fed([*TEXT[:-1], last, DONE], hide_usage=True)
    assert last in out
    assert relay.assembly.usage == {"prompt_tokens": 5}


def test_tool_calls_are_put_together():
    relay, _ = fed([*TOOLS, DONE])
    message = relay.assembly.answer()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    assert relay.assembly.finish_reason == "tool_calls"


def test_parallel_tool_calls_and_several_choices_stay_apart():
    def piece(choice, tool, **function):
        delta = {"tool_calls": [{"index": tool, "function": function}]}
        return b"data: " + json.dumps({"choices": [{"index": choice, "delta": delta}]}).encode() + b"\n\n"

    ends = [b'data: {"choices": [{"index": %d, "delta": {}, "finish_reason": "tool_calls"}]}\n\n' % i for i in (0, 1)]
    pieces = [
        piece(1, 0, name="c", arguments="3"),
        piece(0, 1, name="b", arguments="2"),
        piece(0, 0, name="a", arguments="1"),
    ]
    relay, _ = fed([*pieces, piece(0, 1, arguments="2"), *ends, DONE])
    first, second = relay.assembly.answer()["choices"]
    assert [call["function"] for call in first["message"]["tool_calls"]] == [
        {"name": "b", "arguments": "22"},
        {"name": "a", "arguments": "1"},
    ]
    assert second["message"]["tool_calls"] == [{"function": {"name": "c", "arguments": "3"}}]


@pytest.mark.parametrize("events", [TEXT[:3], [*TEXT[:3], DONE], [DONE], [], [*TEXT[:3], TEXT[3][:20]]])
def test_a_stream_without_its_end_is_cut(events):
    relay, out = fed(events)
    assert relay.end is EndState.CUT
    assert b"[DONE]" not in out
    last = out.strip().split(b"\n\n")[-1]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "stream_cut"
    assert out.count(b'"error"') == 1


def test_one_choice_unfinished_is_cut():
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "x"}}]}\n\n'
    relay, _ = fed([other, *TEXT, DONE])
    assert relay.end is EndState.CUT


def test_a_finished_stream_that_closes_without_done_is_complete():
    relay, out = fed(TEXT)
    assert relay.end is EndState.COMPLETE
    assert out == b"".join(TEXT)


def test_an_error_event_passes_and_ends_it():
    error = b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n'
    relay, out = fed([*TEXT[:3], error, *TEXT[3:], DONE])
    assert relay.end is EndState.UPSTREAM_ERROR
    assert relay.error == "overloaded"
    assert out == b"".join([*TEXT[:3], error])


def test_a_malformed_event_in_a_good_stream_passes():
    broken = b"data: {not json\n\n"
    relay, out = fed([TEXT[0], broken, *TEXT[1:], DONE])
    assert relay.end is EndState.COMPLETE
    assert relay.malformed == 1
    assert broken in out


@pytest.mark.parametrize("end", [EndState.STALLED, EndState.CUT, EndState.UPSTREAM_ERROR])
def test_a_lost_upstream_gives_one_error_event(end):
    relay, _ = fed(TEXT[:3], close=False)
    assert json.loads(relay.fail(end).removeprefix(b"data: "))["error"]["type"] == "upstream_error"
    assert relay.end is end
    assert relay.feed(TEXT[3]) == b"" == relay.close() == relay.fail(EndState.CUT)
    assert relay.end is end


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([GOOD, [*TOOLS, DONE], TEXT[:4], [*TEXT[:4], DONE], [TEXT[0], b": ping\r\n\r\n", *TEXT[1:], DONE]]),
    st.lists(st.integers(0, 2500), max_size=20),
    st.booleans(),
)
def test_any_chunking_gives_the_same_bytes_end_and_answer(events, cuts, hide):
    stream = b"".join(events)
    expected, expected_out = fed([stream], hide)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    relay, out = fed([stream[start:end] for start, end in itertools.pairwise(edges)], hide)
    assert (out, relay.end, relay.assembly.answer()) == (expected_out, expected.end, expected.assembly.answer())


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "delta", "index", "content", "tool_calls", "usage", "message", "logprobs", "role"]
                ),
                x,
                max_size=5,
            )
        ),
        max_leaves=30,
    )
)
def test_chunks_of_any_shape_never_break_the_relay(value):
    relay, _ = fed([b"data: " + json.dumps(value).encode() + b"\n\n", *TEXT, DONE])
    relay.assembly.answer()
    assert relay.end is not None


STRANGE = [
    b"data: {not json\n\n",
    b": ping\n\n",
    b'data: {"error": {"message": "overloaded"}}\n\n',
    b'data: {"choices": [{"index": 0, "delta": {"content": "\\"error\\" and \\"usage\\":{"}}]}\n\n',
    b'data: {"choices": [], "usage": null}\n\n',
    USAGE_CHUNK,
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*TEXT, *TOOLS, *STRANGE, DONE]), max_size=30), st.booleans())
def test_events_read_later_come_to_the_same_as_events_read_at_once(events, hide):
    later, later_out = fed(events, hide)
    # Two events in one piece are read at once.
    once, once_out = fed([b"".join(events)] if len(events) > 1 else events, hide)
    assert (later_out, later.end, later.assembly.answer()) == (once_out, once.end, once.assembly.answer())
    assert (later.malformed, later.error, later.assembly.usage) == (once.malformed, once.error, once.assembly.usage)


def test_a_long_stream_is_read_piece_by_piece():
    words = [chunk({"content": f"{number} "}) for number in range(1000)]
    relay, _ = fed([*TEXT[:1], *words, *TEXT[-1:], DONE])
    content = relay.assembly.answer()["choices"][0]["message"]["content"]
    assert content.endswith("".join(f"{number} " for number in range(1000)))
    assert relay.end is EndState.COMPLETE
