import pytest

from trimtab.arena.dealership.agents import AGENTS
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


def test_every_digit_stands_alone_and_tool_names_hold_together(tokenizer):
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("V123 costs 4500").ids]
    assert [p for p in pieces if any(c.isdigit() for c in p)] == list("1234500")


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
