"""OpenVINO tokenizers built from tokenizer.json: the same ids and texts as the `tokenizers` library gives."""

import json

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.engines import tiny
from trimtab.engines.tokenizer_ir import NAMES, write_tokenizer
from trimtab.errors import ModelError

pytestmark = pytest.mark.engine
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    *tiny.TEXTS,
    "a",
    " lead",
    "tail ",
    "x\n\n\n y",
    "I'LL 9,999.50 don't",
    "<|im_start|>user\nhi<|im_end|>\n",
    "😀 naïve",
]


def plain():
    return tiny.make_tokenizer()


def qwen():
    tokenizer = tiny.make_tokenizer()
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    return tokenizer


def with_begin():
    tokenizer = tiny.make_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<pad> $A", pair="<pad> $A <pad> $B", special_tokens=[("<pad>", 0)]
    )
    return tokenizer


def digits():
    tokenizer = tiny.make_tokenizer()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    return tokenizer


def plain_added():
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return tokenizer


def compiled(folder):
    import openvino
    import openvino_tokenizers  # noqa: F401  (its operations must be known before the files are read)

    core = openvino.Core()
    encode, decode = core.compile_model(folder / NAMES[0], "CPU"), core.compile_model(folder / NAMES[2], "CPU")
    return (
        lambda text: encode([text])["input_ids"][0].tolist(),
        lambda ids: str(decode([[ids]])["string_output"][0]),
    )


def byte_fallback():
    """As Llama 2: spaces become ▁, and what the table lacks becomes its bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(tiny.TEXTS * 20, trainer)
    described = json.loads(tokenizer.to_str())
    table = described["model"]["vocab"]
    table |= {f"<0x{byte:02X}>": len(table) + byte for byte in range(256)}
    return Tokenizer.from_str(json.dumps(described))


@pytest.mark.parametrize("make", [plain, qwen, with_begin, digits, plain_added, byte_fallback])
def test_ids_and_texts_agree(tmp_path, make):
    tokenizer = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert write_tokenizer(tmp_path / "tokenizer.json", tmp_path, {"eos_token_id": 1})
    assert all((tmp_path / name).exists() for name in NAMES)
    encode, decode = compiled(tmp_path)
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert encode(text) == ids
        assert decode(ids) == tokenizer.decode(ids)


def test_merges_in_the_older_form_are_read(tmp_path):
    described = json.loads(plain().to_str())
    described["model"]["merges"] = [" ".join(pair) for pair in described["model"]["merges"]]
    for key in ("byte_fallback", "fuse_unk", "unk_token"):
        described["model"].pop(key, None)
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    assert write_tokenizer(tmp_path / "tokenizer.json", tmp_path, {})
    encode, _ = compiled(tmp_path)
    assert encode(TEXTS[0]) == plain().encode(TEXTS[0]).ids


def test_a_kind_that_is_not_built_leaves_nothing_behind(tmp_path):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(special_tokens=["[UNK]"], show_progress=False))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert not write_tokenizer(tmp_path / "tokenizer.json", tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_broken_file_is_a_model_error(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        write_tokenizer(tmp_path / "tokenizer.json", tmp_path, {})


def test_the_engine_holds_answers_to_a_schema_with_these_files(tmp_path):
    import numpy as np
    import openvino
    import openvino_genai

    from trimtab.engines.prepared import prepare

    tiny.write_checkpoint(tmp_path / "model", "qwen3")
    tokenizer = tiny.save_tokenizer(tmp_path / "model")
    prepared = prepare(str(tmp_path / "model"), "int8", tmp_path / "cache")
    assert prepared.grammar
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(prepared.folder), scheduler, "CPU", {})
    wanted = openvino_genai.GenerationConfig(max_new_tokens=200)
    wanted.stop_token_ids = set(prepared.eos_token_ids)
    # No object: between its parts JSON allows spaces, and a random model may never stop writing them.
    schema = json.dumps({"enum": ["red-ish", "blue"]})
    wanted.structured_output_config = openvino_genai.StructuredOutputConfig(json_schema=schema)
    prompt = openvino.Tensor(np.array([tokenizer.encode(tiny.TEXTS[0]).ids]))
    handle = pipeline.add_request(1, prompt, wanted)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    assert tokenizer.decode(handle.read_all()[0].generated_ids) in ('"red-ish"', '"blue"')
