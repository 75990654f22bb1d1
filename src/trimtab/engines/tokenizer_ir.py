"""OpenVINO tokenizer and detokenizer from a tokenizer.json, for the engine's grammar. Needs no transformers.

The server tokenises by itself; the engine wants these files only to know which bytes each token stands for. Byte-level
BPE (GPT-2, Llama 3, Qwen) and BPE with byte fallback (Llama 2) are built; other kinds are left out, and so is grammar.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.engines.ir import number
from trimtab.engines.shape import read_json
from trimtab.errors import MissingExtra

NAMES = ("openvino_tokenizer.xml", "openvino_tokenizer.bin", "openvino_detokenizer.xml", "openvino_detokenizer.bin")


def write_tokenizer(source: Path, folder: Path, marks: dict[str, int]) -> bool:
    """Write the four files of `NAMES` into `folder`; False, and nothing written, for a kind that is not built here.

    `marks`: bos_token_id, eos_token_id, pad_token_id as far as known. Errors: ModelError for a broken tokenizer.json.
    """
    try:
        import openvino
        from openvino_tokenizers.utils import change_inputs_type, change_outputs_type
    except ImportError as error:
        raise MissingExtra("engine", "openvino-tokenizers") from error

    described = read_json(source)
    long = openvino.Type.i64
    try:
        pipeline = _pipeline(described)
        models = {
            "openvino_tokenizer.xml": change_outputs_type(_encoder(pipeline), long),
            "openvino_detokenizer.xml": change_inputs_type(pipeline.get_detokenizer_ov_subgraph(), long),
        }
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, _Unsupported):
        return False  # an unforeseen form of a part: the model runs, only without grammar
    for name, model in models.items():
        for mark, token in marks.items():
            model.set_rt_info(token, mark)
        number(model)
        openvino.save_model(model, str(folder / name), compress_to_fp16=False)
    return True


class _Unsupported(Exception):
    """A part of tokenizer.json that has no counterpart here."""


def _encoder(pipeline: Any) -> Any:
    """The tokenizer graph, its outputs cut to ids and mask."""
    from openvino import Model

    whole = pipeline.get_tokenizer_ov_subgraph()
    kept = [output for output in whole.outputs if output.names & {"input_ids", "attention_mask"}]
    model = Model(kept, whole.get_parameters(), "tokenizer")
    model.add_sinks(whole.get_sinks())
    return model


def _pipeline(described: dict[str, Any]) -> Any:
    from openvino_tokenizers import tokenizer_pipeline as parts

    if described["model"]["type"] != "BPE":
        raise _Unsupported
    # Older files leave out what newer ones state as null.
    defaults = {"unk_token": None, "fuse_unk": False, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    described["model"] = defaults | {"byte_fallback": False} | described["model"]
    added = described.setdefault("added_tokens", [])
    pipeline = parts.TokenizerPipeline()
    pipeline.number_of_inputs = 1
    special = [parts.SpecialToken(token["content"], token["lstrip"], token["rstrip"]) for token in added]
    pipeline.add_steps(parts.SpecialTokensSplit(special))
    for step in _sequence(described.get("normalizer"), "normalizers"):
        pipeline.add_steps(_normalizer(parts, step))
    for step in _sequence(described.get("pre_tokenizer"), "pretokenizers"):
        pipeline.add_steps(_pretokenizer(parts, step))
    for step in pipeline.pre_tokenization_steps:
        step.mergeable = False  # merged into one pattern, splits that follow each other would act at once
    pipeline.add_steps(parts.BPETokenizationStep.from_hf_json(described))
    pipeline.vocab = pipeline[-1].vocab
    pipeline.add_steps(_combination(parts, described.get("post_processor")))
    pipeline.add_steps(parts.PaddingStep(_token_id=0, pad_right=False))
    names = {token["id"]: token["content"] for token in added}
    hidden = [token["id"] for token in added if token.get("special")]
    decoder = parts.VocabDecoderStep.from_hf_json(
        described, pipeline.vocab, added_tokens=names, skip_tokens=hidden, is_byte_level=pipeline.is_byte_level
    )
    pipeline.add_steps(decoder)
    steps = [_decoder(parts, step) for step in _sequence(described.get("decoder"), "decoders")]
    pipeline.add_steps(steps or [parts.FuseStep()])
    pipeline.add_steps(parts.UTF8ValidateStep())
    return pipeline


def _sequence(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [part]


def _normalizer(parts: Any, step: dict[str, Any]) -> Any:
    match step["type"]:
        case "NFC" | "NFD" | "NFKC" | "NFKD" as form:
            return parts.NormalizeUnicode(form)
        case "Lowercase":
            return parts.CaseFoldStep()
        case "Prepend":
            return parts.RegexNormalizationStep.prepend_regex(step["prepend"])
        case "Replace" if step["pattern"].get("String") == " ":
            return parts.RegexNormalizationStep.replace_spaces_metaspace(step["content"])
    raise _Unsupported


def _pretokenizer(parts: Any, step: dict[str, Any]) -> list[Any]:
    match step["type"]:
        case "ByteLevel":
            prefix = (
                [parts.RegexNormalizationStep.add_prefix_whitespace_regex()] if step.get("add_prefix_space") else []
            )
            split = [parts.RegexSplitStep.byte_level_splitter()] if step.get("use_regex", True) else []
            return [*prefix, *split, parts.BytesToCharsStep()]
        case "Digits":
            return [parts.RegexSplitStep.digits_splitter("isolate" if step["individual_digits"] else "contiguous")]
        case "Split":
            pattern = step["pattern"].get("Regex") or step["pattern"]["String"]
            behaviour = step["behavior"].lower().removesuffix("d")
            return [parts.RegexSplitStep(pattern, step["invert"], behaviour)]
    raise _Unsupported


def _combination(parts: Any, part: dict[str, Any] | None) -> Any:
    """What is put round a text: the template's special tokens, or nothing."""
    templates = [step for step in _sequence(part, "processors") if step["type"] == "TemplateProcessing"]
    if templates:
        return parts.CombineSegmentsStep.from_hf_json_template_postprocessor(templates[0], 1, True)
    return parts.CombineSegmentsStep([parts.Sequence()])


def _decoder(parts: Any, step: dict[str, Any]) -> Any:
    match step["type"]:
        case "ByteLevel":
            return parts.CharsToBytesStep()
        case "Replace":
            return parts.RegexDecodingStep.parse_replace_dict(step)
        case "Strip":
            return parts.RegexDecodingStep.parse_strip_dict(step)
        case "ByteFallback":
            return parts.ByteFallbackStep()
        case "Fuse":
            return parts.FuseStep()
    raise _Unsupported
