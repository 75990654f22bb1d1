"""vLLM recipes: the three texts say the same, and YAML reads back what was written."""

import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.cli.main import main
from trimtab.errors import ConfigError, FormatError
from trimtab.rollout import recipe

QUANTIZED = {"model_type": "qwen3", "quantization_config": {"quant_method": "compressed-tensors"}}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "student w8a8"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QUANTIZED))
    (folder / "chat_template.jinja").write_text("<tool_call>")
    return folder


def read(text):
    """The blocks that `recipe.yaml` writes, read by hand: mappings, lists, and JSON for the rest."""
    lines = [line for line in text.splitlines() if line.strip()]

    def block(at, depth):
        held = None
        while at < len(lines) and (len(lines[at]) - len(lines[at].lstrip())) // 2 == depth:
            line = lines[at].strip()
            if line == "-" or line.startswith("- "):
                held = [] if held is None else held
                rest = line[2:]
                if not rest:
                    value, at = block(at + 1, depth + 1)
                elif ": " in rest.partition('"')[0] or rest.endswith(":"):
                    lines[at] = "  " * (depth + 1) + rest
                    value, at = block(at, depth + 1)
                else:
                    value, at = json.loads(rest), at + 1
                held.append(value)
            else:
                held = {} if held is None else held
                key, _, rest = line.partition(":")
                if rest.strip():
                    held[key], at = json.loads(rest), at + 1
                else:
                    held[key], at = block(at + 1, depth + 1)
        return held, at

    return block(0, 0)[0]


def test_command_compose_and_manifest_say_the_same(model):
    wanted = recipe.Wanted(
        model=model, name="Student W8A8", gpus=2, loras=(("a", "/l/a"),), context=2048, most=8,
        speculative={"method": "ngram", "num_speculative_tokens": 3},
    )  # fmt: skip
    made = recipe.of(wanted)
    words = shlex.split(made.command)
    told = words[words.index("serve") + 2 :]
    assert tuple(words[words.index("vllm") :]) == made.words
    assert words[words.index("serve") + 1] == str(model)
    service = read(made.compose)["services"]["student-w8a8"]
    assert service["command"] == ["/models/model", *told]
    assert service["volumes"] == [f"{model}:/models/model:ro", "/l/a:/l/a:ro"]
    deployment, ports = (read(text) for text in made.kubernetes.split("---\n"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == service["command"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    assert ports["spec"]["ports"] == [{"port": 8000, "targetPort": 8000}]
    assert json.loads(told[told.index("--speculative-config") + 1])["num_speculative_tokens"] == 3
    for pair in (("--quantization", "compressed-tensors"), ("--tool-call-parser", "hermes"), ("--max-num-seqs", "8")):
        assert told[told.index(pair[0]) + 1] == pair[1]
    assert "--enforce-eager" not in told
    assert told[told.index("--chat-template-content-format") + 1] == "string"
    (model / "config.json").write_text(json.dumps({"vision_config": {}}))
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert not {"--chat-template-content-format", "--tool-call-parser"} & set(recipe.of(wanted).words)


def test_on_cpus_it_runs_eagerly_and_asks_for_no_gpu(model):
    made = recipe.of(recipe.Wanted(model=model, name="s", gpus=0, prefix_caching=False))
    assert "--enforce-eager" in made.words
    assert "--no-enable-prefix-caching" in made.words
    assert "nvidia" not in made.compose + made.kubernetes
    assert "VLLM_CPU_KVCACHE_SPACE=4 vllm serve" in made.command


def test_what_vllm_cannot_load_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"config\.json"):
        recipe.of(recipe.Wanted(model=tmp_path, name="s"))
    (tmp_path / "openvino_model.xml").touch()
    with pytest.raises(FormatError, match="trimtab engine serve"):
        recipe.of(recipe.Wanted(model=tmp_path, name="s"))


def test_a_python_without_vllm_is_told(model, tmp_path):
    made = recipe.of(recipe.Wanted(model=model, name="s"))
    with pytest.raises(ConfigError, match="no Python"):
        recipe.checked(made, tmp_path / "python")


PLAIN = st.text(max_size=8) | st.integers() | st.booleans() | st.just({}) | st.just([])
KEYS = st.from_regex(r"[a-z][a-zA-Z0-9]{0,6}", fullmatch=True)
TREES = st.recursive(
    PLAIN,
    lambda held: st.lists(held, min_size=1, max_size=3) | st.dictionaries(KEYS, held, min_size=1, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=3))
def test_yaml_reads_back(tree):
    assert read(recipe.yaml(tree)) == tree


def test_the_command_line_writes_them(model, tmp_path, capsys):
    words = [
        "rollout",
        "recipe",
        str(model),
        "--target",
        "vllm",
        "--lookup",
        "--tokens",
        "2",
        "--write",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--lora", "a=/l", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["words"][told["words"].index("--served-model-name") + 1] == model.name
    assert (tmp_path / "out" / "serve.sh").read_text() == told["serve.sh"]
    assert main([*words, "--lora", "a"]) == ConfigError.exit_code
    assert "NAME=DIR" in capsys.readouterr().err
    assert main(["rollout", "recipe", "0123", "--store", str(tmp_path)]) == ConfigError.exit_code
