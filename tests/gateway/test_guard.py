"""The guard's reading of depth, held against a plain reading of the same text."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import RequestRefused
from trimtab.gateway import guard

TEXTS = st.text(st.sampled_from('[]{}",:\\a é'), max_size=12)
VALUES = st.recursive(TEXTS | st.integers(), lambda held: st.lists(held) | st.dictionaries(TEXTS, held), max_leaves=40)


def depth(value):
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.integers(0, 6), st.booleans())
def test_depth_is_what_a_walk_of_the_value_finds(value, limit, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert guard.is_deeper(text, limit) == (depth(value) > limit)


@pytest.mark.parametrize("hidden", [b'["]",', b'["\\"]",', b'{"]":'])
def test_brackets_in_strings_hide_no_depth(hidden):
    close = b"]" if hidden[:1] == b"[" else b"}"
    deep = hidden * 200 + b"1" + close * 200
    json.loads(deep)
    with pytest.raises(RequestRefused, match="deeper than 128"):
        guard.check_json(deep)


def test_the_limit_is_the_deepest_that_passes():
    guard.check_json(b"[" * 128 + b"]" * 128)
    with pytest.raises(RequestRefused):
        guard.check_json(b"[" * 129 + b"]" * 129)


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"[", b"[]", b'["', b'\\"[', b"]["])
def test_time_grows_with_length_alone(unit):
    body = b'"' + unit * (1_000_000 // len(unit))
    began = time.process_time()
    guard.is_deeper(body, 128)
    assert time.process_time() - began < 2, "two hundred times what it takes"


@pytest.mark.parametrize(
    ("body", "is_good"), [("é🙂".encode(), True), (b"\xff", False), ("é".encode("latin-1"), False)]
)
def test_what_is_no_utf_8_is_refused(body, is_good):
    if is_good:
        return guard.check_json(body)
    with pytest.raises(RequestRefused, match="UTF-8"):
        guard.check_json(body)
    return None


@pytest.mark.parametrize("n", [None, 1, 128])
def test_a_sound_number_of_answers_passes(n):
    guard.check_choices(n, 128)


@pytest.mark.parametrize("n", [0, -1, 129, 10**30, 1.5, 1e300, "2", True, [1]])
def test_other_numbers_of_answers_are_refused(n):
    with pytest.raises(RequestRefused, match="whole number"):
        guard.check_choices(n, 128)


@pytest.mark.parametrize("kind", [b"gzip", b"br", b"identity, gzip", b"GZIP", b"x"])
def test_packed_bodies_are_refused(kind):
    guard.check_headers([(b"content-encoding", b"Identity ")])
    with pytest.raises(RequestRefused) as caught:
        guard.check_headers([(b"content-encoding", kind)])
    assert caught.value.status == 415
