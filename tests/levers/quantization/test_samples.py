"""Samples: what is read of calls, which of them are taken, and what is said where they do not do."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.levers.quantization import tiny
from trimtab.engines.checkpoint import open_checkpoint
from trimtab.errors import FormatError, ModelError
from trimtab.levers.quantization import options, samples
from trimtab.levers.quantization.samples import Reader, Sample
from trimtab.trace import Trace


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(open_checkpoint(tiny.model(tmp_path_factory.mktemp("model") / "m")))


def sample(number, agent, length):
    return Sample(f"{agent}{number}", agent, "numbers", f"s{number}", [number, *range(length - 1)], length)


def test_an_answer_begins_where_the_prompt_ends_and_ends_with_its_turn(reader):
    (found,) = reader.calls([tiny.trace(3)])
    assert 0 < found.start < len(found.ids)
    assert found.ids[-1] == 3, "<|im_end|>, and not the line feed after it"
    assert found.length == found.start
    assert found.session == "s3"


def test_what_the_model_cannot_take_is_left_out(reader):
    assert reader.calls([tiny.trace(1, words=500)]) == []
    assert reader.calls([Trace("x", tiny.trace(1).calls)]) == []
    assert reader.calls([tiny.trace(1)], ["finance"]) == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"tool_calls": [{"function": {"name": "transfer_to_sales"}}]}, "hand-off"),
        ({"tool_calls": [{"function": {"name": "book_visit"}}]}, "tool call"),
        ({"tool_calls": [{}]}, "tool call"),
        ({"content": "at 5"}, "numbers"),
        ({"content": "no"}, "free text"),
        ({"content": None}, "free text"),
    ],
)
def test_classes(message, kind):
    assert samples.kind_of(message) == kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda held: st.lists(held) | st.dictionaries(st.text(), held),
)


@settings(max_examples=100, deadline=None)
@given(JSON | st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"message": JSON}))}))
def test_any_recorded_answer_is_read_or_passed_over(response):
    message = samples.answer_of(response) if isinstance(response, dict) else None
    assert message is None or samples.kind_of(message) in samples.CLASSES


def test_every_agent_has_as_many_and_its_longest_are_there():
    held = [sample(n, "sales", 20 + n) for n in range(50)] + [sample(n, "finance", 10 + n) for n in range(5)]
    found = samples.chosen(held, 16, 0)
    agents = [each.agent for each in found]
    assert (len(found), agents.count("finance")) == (16, 5)
    longest = sorted((each.length for each in found if each.agent == "sales"), reverse=True)[:3]
    assert longest == [69, 68, 67]
    assert found == samples.chosen(list(reversed(held)), 16, 0), "the order they come in tells nothing"


def test_the_same_prompt_counts_once():
    assert len(samples.chosen([sample(1, "sales", 9)._replace(id=str(n)) for n in range(9)], 5, 0)) == 1


def test_public_texts_are_mixed_in_and_too_few_are_refused(reader, tmp_path):
    own = reader.calls(tiny.traffic(60))
    path = tmp_path / "public.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"The quick brown fox {n}"}) for n in range(30)))
    its = options.read({"samples": 20, "public": str(path), "public_share": 0.25})
    agents = [each.agent for each in samples.calibration(reader, own, its)]
    assert (len(agents), agents.count(samples.PUBLIC)) == (20, 5)
    with pytest.raises(FormatError, match=r"3 recorded calls.*too few.*calibrate = false"):
        samples.calibration(reader, own[:3], options.read({}))


@pytest.mark.parametrize("text", ['["a", {"text": "b"}]', "a\n\nb"])
def test_texts_in_each_form(text, tmp_path):
    path = tmp_path / ("x.json" if text[0] == "[" else "x.txt")
    path.write_text(text)
    assert samples.texts_in(path) == ["a", "b"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["x.json", "x.jsonl", "x.txt"]))
def test_any_file_of_texts_is_read_or_refused(tmp_path_factory, data, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    with contextlib.suppress(FormatError):
        assert all(text.strip() for text in samples.texts_in(path))


def test_a_model_without_a_template_is_refused(tmp_path):
    folder = tiny.model(tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="chat template"):
        Reader(open_checkpoint(folder))
