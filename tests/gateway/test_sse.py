"""Events do not depend on how the bytes were cut into chunks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.gateway import sse

LINES = st.sampled_from([b"data: x", b"data:{}", b": comment", b"event: e", b"", b"data", b"data: [DONE]", b"id: 1"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.lists(st.integers(0, 200), max_size=12))
def test_any_chunking_gives_the_same_events(lines, cuts):
    stream = b"".join(line + end for line, end in lines)
    whole = sse.Splitter()
    expected = whole.feed(stream)
    pieces = sse.Splitter()
    events, at = [], 0
    for cut in [*sorted(cuts), len(stream)]:
        events += pieces.feed(stream[at : max(at, cut)])
        at = max(at, cut)
    assert events == expected
    assert pieces.tail == whole.tail
    assert b"".join(events) + pieces.tail == stream


def test_carriage_return_and_line_feed_are_one_line_end():
    splitter = sse.Splitter()
    assert splitter.feed(b"data: a\r\ndata: b\r\n\r\n") == [b"data: a\r\ndata: b\r\n\r\n"]


def test_data_lines_are_joined_and_comments_have_none():
    assert sse.data(b"event: x\ndata: a\ndata:b\n\n") == b"a\nb"
    assert sse.data(b": keep-alive\n\n") is None
