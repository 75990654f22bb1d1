"""The two models that the project ships."""

import re

import pytest

from trimtab.arena.dealership.agents import AGENTS
from trimtab.arena.tuning import corpus, text, train
from trimtab.arena.tuning.pack import rows

SIZES = {"dealer-teacher": (10e6, 30e6), "dealer-student": (0, 3e6)}


@pytest.fixture(scope="module", params=SIZES)
def folder(request):
    path = train.MODELS / request.param
    assert (path / "model.safetensors").is_file(), f"{path} is missing: train it with `make models`"
    return path


@pytest.fixture(scope="module")
def model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).float().eval()


def test_a_model_has_the_size_it_may_have(folder, model):
    least, most = SIZES[folder.name]
    assert least <= sum(p.numel() for p in model.parameters()) <= most
    assert model.config.model_type in ("llama", "qwen3")


def test_together_they_are_at_most_60_mb():
    files = [path for name in SIZES for path in (train.MODELS / name).rglob("*") if path.is_file()]
    assert files
    assert sum(path.stat().st_size for path in files) <= 60e6


def test_the_template_renders_as_in_training(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for segment in corpus.segments("test", 6, 1):
        tools = AGENTS[segment.agent].schemas()
        got = tokenizer.apply_chat_template(segment.messages, tools=tools, tokenize=False)
        assert got == text.render(segment.messages, tools)


def test_its_readme_states_data_size_loss_and_success(folder, model):
    page = (folder / "README.md").read_text()
    for word in ("data", "parameters", "loss", "success", "seed"):
        assert word in page.lower(), word
    size = sum(p.numel() for p in model.parameters())
    told = [float(number) * 1e6 for number in re.findall(r"(\d+(?:\.\d+)?) ?(?:M\b|million)", page)]
    told += [float(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+", page)]
    assert any(abs(number - size) < 0.02 * size for number in told), "the README does not tell the size there is"
    assert re.search(r"\d+(\.\d+)? ?%", page)


def test_its_weights_know_their_work(folder, model):
    """Share of the assistant's turns of unseen sessions of the test split whose every token comes first."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    held_out = list(rows(corpus.examples("test", 12, 77), tokenizer, 1024))
    ids = [int(tokenizer.token_to_id(token)) for token in (text.END, text.STOP)]
    _, turns = train.evaluate(model, held_out, *ids)
    assert turns >= (0.95 if folder.name == "dealer-teacher" else 0.5)
