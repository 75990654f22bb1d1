"""A tiny random chat model in a folder, for the tests of the server and the worker."""

from pathlib import Path

from tests.engines import tiny

CONTEXT = 1024
TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def save_chat_model(folder: Path, template: str = TEMPLATE) -> Path:
    """A Qwen3-shaped checkpoint with tokenizer and chat template; without one where `template` is empty."""
    tiny.write_checkpoint(folder, "qwen3", max_position_embeddings=CONTEXT, head_dim=32, tie_word_embeddings=True)
    tiny.save_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(template)
    if not template:
        (folder / "chat_template.jinja").unlink()
    return folder
