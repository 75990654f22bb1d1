import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.engines.toolcalls import CLOSE, OPEN, ToolCall, ToolCallParser, read_call

CALL = '{"name": "find_car", "arguments": {"colour": "blue", "max": 9000}}'
GOOD = f"{OPEN}\n{CALL}\n{CLOSE}"


def merged(items: list) -> list:
    """Pieces of text side by side count as one."""
    out: list = []
    for item in items:
        if isinstance(item, str) and out and isinstance(out[-1], str):
            out[-1] += item
        else:
            out.append(item)
    return out


def parse(pieces: list[str]) -> list:
    parser = ToolCallParser()
    given = [item for piece in pieces for item in parser.push(piece)]
    return merged([*given, *parser.flush()])


def test_a_call_among_text() -> None:
    call = ToolCall("find_car", '{"colour": "blue", "max": 9000}')
    assert parse([f"Let me look.\n{GOOD}\n{GOOD}"]) == ["Let me look.", call, call]


def test_arguments_keep_the_bytes_the_model_wrote() -> None:
    call = read_call('{"name": "a", "arguments": {"x":1.50,  "y": "é\\u00e9"}}')
    assert call == ToolCall("a", '{"x":1.50,  "y": "é\\u00e9"}')


def test_arguments_given_as_a_string_or_under_another_name_or_not_at_all() -> None:
    assert read_call(json.dumps({"name": "a", "arguments": '{"x": 1}'})) == ToolCall("a", '{"x": 1}')
    assert read_call('{"name": "a", "parameters": {"x": 1}}') == ToolCall("a", '{"x": 1}')
    assert read_call('{"name": "a"}') == ToolCall("a", "{}")


@pytest.mark.parametrize(
    "block", ["", "no json", '{"name": 3}', '{"arguments": {}}', '{"name": "a", "arguments": [1]}', CALL[:-1], "[]"]
)
def test_a_malformed_block_is_text_and_nothing_is_lost(block: str) -> None:
    text = f"before \n {OPEN}{block}{CLOSE}after"
    assert parse([text]) == [text]


def test_an_unclosed_block_counts_if_it_is_whole() -> None:
    assert parse([f"{OPEN}\n{CALL}"]) == [ToolCall("find_car", '{"colour": "blue", "max": 9000}')]
    assert parse([f"x {OPEN}\n{CALL[:-3]}"]) == [f"x {OPEN}\n{CALL[:-3]}"]


def test_text_is_given_out_before_the_end() -> None:
    parser = ToolCallParser()
    assert parser.push("Hello there, how") == ["Hello there, how"]
    assert parser.push(" are <tool") == [" are"]
    assert parser.push("box> ") == [" <toolbox>"]


parts = st.sampled_from(
    ["a", " ", "\n", "<", "<tool_", OPEN, CLOSE, GOOD, CALL, f"{OPEN}{{broken{CLOSE}", "</tool", "call>", "é", "{}"]
)


@given(st.lists(parts, max_size=12), st.data())
def test_any_chunking_gives_the_same_as_the_whole(texts: list[str], data) -> None:
    whole = "".join(texts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert parse(pieces) == parse([whole]) == parse(list(whole))


@given(st.text(alphabet=" \nab<", max_size=30))
def test_text_without_a_call_comes_back_as_it_was(text: str) -> None:
    assert "".join(parse([text])) == text
