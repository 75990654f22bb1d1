import json
import re

import pytest

from trimtab.arena.dealership.agents import AGENTS
from trimtab.arena.dealership.tools import TOOLS
from trimtab.arena.tuning import text
from trimtab.engines.chat import ChatTemplate


def turn(message):
    """What the model must write for this message, by hand."""
    calls = [
        f'<tool_call>\n{{"name": "{c["function"]["name"]}", "arguments": {c["function"]["arguments"]}}}\n</tool_call>'
        for c in message.get("tool_calls") or []
    ]
    return "\n".join([*([message["content"]] if message["content"] else []), *calls]) + text.STOP


def test_a_text_becomes_the_same_text_again(tokenizer, examples):
    for example in [*examples[:20], type(examples[0])("a", "", "Zoë paid 3€ in Łódź 🚗\n\n  twice")]:
        ids, mask = text.encode(tokenizer, example.text)
        assert len(ids) == len(mask)
        assert tokenizer.decode(ids, skip_special_tokens=False) == example.text


def test_the_mask_covers_the_assistants_turns_with_their_end_and_nothing_else(tokenizer, segments):
    for segment in segments:
        ids, mask = text.encode(tokenizer, text.render(segment.messages, AGENTS[segment.agent].schemas()))
        counted = tokenizer.decode(
            [token for token, on in zip(ids, mask, strict=True) if on], skip_special_tokens=False
        )
        wanted = [turn(message) for message in segment.messages if message["role"] == "assistant"]
        assert wanted
        assert counted == "".join(wanted)


def pieces(tokenizer, words):
    ids = tokenizer.encode(words, add_special_tokens=False).ids
    return [tokenizer.decode([token], skip_special_tokens=False) for token in ids]


def test_every_digit_stands_alone(tokenizer):
    assert [p for p in pieces(tokenizer, "V123 costs 4500") if any(c.isdigit() for c in p)] == list("1234500")


@pytest.mark.parametrize("word", ["monday", "hatchback", "transfer_to_sales", "customer_id", "Zwölf", "C1042"])
def test_a_word_is_the_same_tokens_in_a_sentence_and_in_json_so_that_it_can_be_copied(tokenizer, word):
    own = tokenizer.encode(word, add_special_tokens=False).ids
    in_json = json.dumps({"day": word}, ensure_ascii=False)
    for said in (f"on {word} at", f"{word} please", f"({word}.", in_json, f"<tool_call>\n{word}", f"\n{word}\n"):
        ids = tokenizer.encode(said, add_special_tokens=False).ids
        assert sum(ids[at : at + len(own)] == own for at in range(len(ids))) == 1, said


def test_no_token_holds_a_word_together_with_its_space_or_its_quotes(tokenizer):
    learnt = [tokenizer.decode([token]) for token in range(5, tokenizer.get_vocab_size() - 2)]
    mixed = [text for text in learnt if re.search(r"\w", text) and re.search(r"[^\w\ufffd]", text)]
    assert mixed == []


def test_the_markers_are_tokens_and_no_merge_was_learnt_across_them(tokenizer):
    markers = [text.END, text.START, text.STOP, text.CALL_OPEN, text.CALL_CLOSE]
    assert all(pieces(tokenizer, f"a{marker}b") == ["a", marker, "b"] for marker in markers)
    learnt = set(tokenizer.get_vocab()) - set(markers)
    assert not [token for token in learnt if "im_start" in token or "im_end" in token or "tool_call" in token]


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_tools_are_listed_by_name_and_arguments_alone(agent):
    head = text.render([{"role": "system", "content": agent.system}], agent.schemas())
    wanted = [
        f"{name}({', '.join(key + '?' * kind.endswith('?') for key, kind in TOOLS[name].params.items())})"
        for name in agent.tools
    ]
    assert head == f"{text.START}system\n{agent.system}\nTools:\n" + "\n".join(wanted) + f"{text.STOP}\n"


def test_tools_of_anybody_else_are_listed_too():
    odd = [{"type": "function", "function": {"name": "wave"}}, {"function": {"name": "nod", "parameters": {}}}]
    assert text.render([], odd) == f"{text.START}system\n\nTools:\nwave()\nnod(){text.STOP}\n"


@pytest.fixture(scope="module")
def renderers():
    engine = ChatTemplate(text.template(), {})

    def own(messages, tools):
        return text._renderer().render(messages=messages, tools=tools, add_generation_prompt=True)

    return [own, engine.render]


def test_what_is_served_is_what_was_trained_on(tokenizer, segments, renderers):
    """At each assistant turn the prompt is a prefix of the training text, in letters and in tokens."""
    for segment in segments[:40]:
        tools = AGENTS[segment.agent].schemas()
        whole = text.render(segment.messages, tools)
        ids, _ = text.encode(tokenizer, whole)
        for place, message in enumerate(segment.messages):
            if message["role"] != "assistant":
                continue
            for render in renderers:
                prompt = render(segment.messages[:place], tools)
                assert whole.startswith(prompt + turn(message))
                start = text.encode(tokenizer, prompt)[0]
                assert ids[: len(start)] == start


def test_arguments_as_an_object_render_like_the_text_trained_on():
    call = {"id": "1", "type": "function", "function": {"name": "store_info", "arguments": '{"topic": "hours"}'}}
    as_text = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    as_object = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "store_info",
                                                                            "arguments": {"topic": "hours"}}}]}
    ]  # fmt: skip
    assert text.render(as_object, []) == text.render(as_text, [])
