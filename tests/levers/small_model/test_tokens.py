import msgspec
import pytest

from tests.levers.small_model import shop
from trimtab.data.conversation import Pair
from trimtab.errors import ConfigError, ModelError
from trimtab.levers.small_model import beginning, options, tokens


@pytest.fixture(scope="module")
def codec(tiny, data):
    _, tokenizer = beginning.of(options.read(tiny), data.train, None)
    return tokens.Codec(tokenizer)


def test_only_the_answers_count_each_with_its_end_of_turn(codec, data):
    line = codec.line(data.train[0])
    told = codec.tokenizer.decode([label for label in line.labels if label >= 0])
    assert told.count("<|im_end|>") == 4
    assert told.endswith("<|im_end|>")
    assert "Booked: " in told
    assert "free" not in told
    assert "workshop" not in told
    assert [kind for _, _, kind in line.turns] == ["tool call", "words", "tool call", "words"]


def test_the_ids_are_those_of_the_whole_text(codec, data):
    each = data.train[0]
    whole = codec.render(each.messages, each.tools, ask=False)
    assert codec.tokenizer.decode(codec.line(each).ids) == whole.rstrip("\n")


def test_arguments_stay_as_they_were_and_no_null_comes_in(codec, data):
    text = codec.tokenizer.decode(codec.line(data.train[0]).ids)
    assert "null" not in text
    assert '"arguments": {"thing"' in text


def test_what_is_too_long_is_an_error_with_counts(codec, data):
    with pytest.raises(ConfigError, match=r"\d+ of \d+ conversations are longer than max_length 40 .*raise it to \d+"):
        tokens.lines(data.train, codec, 40)


def test_a_mask_without_the_end_of_turn_is_an_error(codec, data):
    line = codec.line(data.train[0])
    start, end, kind = line.turns[0]
    line.turns[0] = (start, end - 1, kind)
    line.labels[end - 1] = -100
    with pytest.raises(ModelError, match="end of turn"):
        tokens.check([line], codec)


def test_a_mask_that_counts_the_user_is_an_error(codec, data):
    line = codec.line(data.train[0])
    line.labels[0] = line.ids[0]
    with pytest.raises(ModelError, match="mask is wrong"):
        tokens.check([line], codec)
    with pytest.raises(ModelError, match="no answer"):
        tokens.check([tokens.Line([1], [-100], [])], codec)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "without"),
        ("{{ messages|length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", "only appends"),
    ],
)
def test_a_template_that_cannot_be_learned_from_is_an_error(codec, data, template, told):
    kept = codec.tokenizer.chat_template
    codec.tokenizer.chat_template = template
    try:
        with pytest.raises(ModelError, match=told):
            codec.line(data.train[0])
    finally:
        codec.tokenizer.chat_template = kept


def test_a_preference_has_both_answers_after_the_same_prompt(codec):
    asked = [shop.SYSTEM, {"role": "user", "content": "tyres"}]
    right, wrong = shop.said("Which day?"), shop.call("book", thing="tyres")
    pair = Pair(messages=asked, tools=shop.TOOLS, chosen=right, rejected=wrong, kind="forbidden", session="s")
    found = codec.preference(pair)
    assert found.chosen[-1] == found.rejected[-1] == codec.stop
    assert codec.tokenizer.decode(found.chosen) == "Which day?<|im_end|>"
    assert "<tool_call>" in codec.tokenizer.decode(found.rejected)


def test_the_head_that_all_lines_share_is_found(codec, data):
    made = tokens.lines(data.train, codec, 2048)
    head = tokens.shared_head(made)["desk"]
    assert 0 < head < made[0].turns[0][0]
    assert len({tuple(line.ids[:head]) for line in made}) == 1
    assert msgspec.json.encode(made[0])
