import json
from pathlib import Path

import pytest

from tests.engines.serving import TEMPLATE
from trimtab.engines.chat import ChatTemplate, special_tokens
from trimtab.errors import ModelError, RequestRefused

TOOLS = [
    {"type": "function", "function": {"name": "find", "description": "<b> & 'é'", "parameters": {"type": "object"}}}
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"b": 1, "a": "ü"}'}}
MESSAGES = [
    {"role": "user", "content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "there"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "[]"},
]


def test_tools_calls_and_results() -> None:
    text = ChatTemplate(TEMPLATE, {}).render(MESSAGES, TOOLS)
    assert text == (
        f"<|im_start|>system\n{json.dumps(TOOLS[0], ensure_ascii=False)}\n<|im_end|>\n"
        "<|im_start|>user\nhi there<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "find", "arguments": {"b": 1, "a": "ü"}}\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>tool\n[]<|im_end|>\n<|im_start|>assistant\n"
    )


def test_as_hugging_face_renders_it() -> None:
    """The same variables, functions and white space rules: held against the library itself."""
    chat_templates = pytest.importorskip("transformers.utils.chat_template_utils")
    template = (
        "{{ bos_token }}{% for m in messages %}\n  {%- if loop.first %}{% continue %}{% endif %}\n"
        "{{ m.role }}: {{ m.content | tojson }} {{ tools | tojson(indent=2) }}{% generation %}!{% endgeneration %}\n"
        "{% endfor %}{{ documents }}{% if add_generation_prompt %}{{ eos_token }}{% endif %}{{ name }}\n"
    )
    messages = [{"role": "user", "content": "<a> 'é'"}, {"role": "assistant", "content": "b"}]
    marks = {"bos_token": "<s>", "eos_token": "</s>"}
    theirs, _ = chat_templates.render_jinja_template(
        conversations=[messages], tools=TOOLS, chat_template=template, add_generation_prompt=True, **marks, name="x"
    )
    assert ChatTemplate(template, marks).render(messages, TOOLS, {"name": "x"}) == theirs[0]


def test_a_template_may_refuse() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}", {})
    with pytest.raises(RequestRefused, match="roles must alternate") as caught:
        template.render([{"role": "user", "content": "x"}])
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "text", ["{{ messages[9].content.x }}", "{{ 1 + 'a' }}", "{{ messages.append(1) }}", "{{ 1/0 }}"]
)
def test_whatever_a_template_raises_is_a_refusal(text: str) -> None:
    with pytest.raises(RequestRefused):
        ChatTemplate(text, {}).render([{"role": "user", "content": "x"}])


def test_a_template_cannot_reach_python() -> None:
    with pytest.raises(RequestRefused):
        ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}", {}).render([{"role": "user"}])


def test_a_broken_template_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="mend"):
        ChatTemplate("{% if %}", {})


def test_the_date() -> None:
    assert ChatTemplate("{{ strftime_now('%Y') }}", {}).render([]).isdigit()


def test_special_tokens(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": None, "add_bos_token": True})
    )
    assert special_tokens(tmp_path / "none", tmp_path) == {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text("[")
    with pytest.raises(ModelError):
        special_tokens(tmp_path)
