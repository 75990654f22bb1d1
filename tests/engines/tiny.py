"""Tiny random checkpoints of each shape, with a byte-level BPE tokenizer, for the engine's tests."""

import json
import struct
from pathlib import Path

VOCAB = 320
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
    # Wide enough that the largest logit stands clear of the next.
    "initializer_range": 0.1,
}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0}
LLAMA3_ROPE |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
SPECIAL = ["<pad>", "<eos>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
TEXTS = [
    "The quick brown fox jumps over the lazy dog 12345 times, doesn't it?",
    '{"name": "book_service", "arguments": {"vehicle_id": "V-1042", "day": 3}}',
    "héllo wörld ✓ 漢字\r\n\tindented   text",
]
SHAPES = ("llama-tied", "llama-untied", "llama-biased", "qwen2", "qwen3-tied", "qwen3")


def save_model(shape: str, folder: Path):
    """A seeded random transformers model of `shape`, saved in `folder`; returns it in evaluation mode."""
    import torch
    import transformers as hf

    made = {
        "llama-tied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, tie_word_embeddings=True)),
        "llama-untied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROPE)),
        "llama-biased": lambda: hf.LlamaForCausalLM(
            hf.LlamaConfig(
                **SIZES | {"num_key_value_heads": 4},
                attention_bias=True,
                mlp_bias=True,
                rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0},
            )
        ),
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SIZES)),
        "qwen3-tied": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, head_dim=64, tie_word_embeddings=True)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, head_dim=32, attention_bias=True)),
    }
    torch.manual_seed(7)
    model = made[shape]().eval()
    with torch.no_grad():  # biases and norms start as 0 and 1, where a mistake would not show
        for name, weight in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                weight.add_(0.2 * torch.randn_like(weight))
    model.save_pretrained(folder)
    return model


def make_tokenizer():
    """A byte-level BPE trained on a few lines, as `tokenizers.Tokenizer`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    return tokenizer


def save_tokenizer(folder: Path):
    """tokenizer.json, tokenizer_config.json and chat_template.jinja, as an instruct model's folder has them."""
    tokenizer = make_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "pad_token": "<pad>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return tokenizer


def write_safetensors(path: Path, arrays: dict) -> None:
    """The file format by hand: float32 arrays by name."""
    header, data = {}, b""
    for name, array in arrays.items():
        raw = array.astype("<f4").tobytes()
        span = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def config(kind: str = "qwen2", **changes) -> dict:
    """A config.json for `SIZES`."""
    plain = {key: value for key, value in SIZES.items() if key != "initializer_range"}
    return plain | {"model_type": kind, "rms_norm_eps": 1e-6, "hidden_act": "silu"} | changes


def write_checkpoint(folder: Path, kind: str = "qwen2", **changes) -> dict:
    """A random checkpoint written without torch, `changes` going into its config.json; returns its weights by name."""
    import numpy as np

    from trimtab.engines.checkpoint import expected
    from trimtab.engines.shape import read_shape

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(kind, **changes)))
    random = np.random.default_rng(11)
    forms = expected(read_shape(folder / "config.json"))
    weights = {name: 0.1 * random.standard_normal(form).astype(np.float32) for name, form in forms}
    write_safetensors(folder / "model.safetensors", weights)
    return weights


def greedy(folder: Path, prompts: list[list[int]], length: int, **properties) -> list[list[int]]:
    """Tokens the engine itself chooses, prompts in one batch, with float32 arithmetic unless `properties` differ."""
    import numpy as np
    import openvino
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.enable_prefix_caching = True
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", exact | properties)
    wanted = openvino_genai.GenerationConfig(max_new_tokens=length, ignore_eos=True)
    wanted.eos_token_id = 1
    handles = [
        pipeline.add_request(number, openvino.Tensor(np.array([ids], dtype=np.int64)), wanted)
        for number, ids in enumerate(prompts)
    ]
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return [list(handle.read_all()[0].generated_ids) for handle in handles]


GGUF_NAMES = {
    "embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(path: Path, kind: str, weights: dict, quantisation: str = "F16") -> None:
    """A GGUF file of the same weights, matrices in `quantisation`, the rest in float32."""
    import gguf
    import numpy as np

    config = SIZES
    writer = gguf.GGUFWriter(str(path), kind)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["hidden_size"] // config["num_attention_heads"])
    writer.add_value_length(config["hidden_size"] // config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type({"F16": 1, "Q4_0": 2, "Q8_0": 7}.get(quantisation, 0))
    tokenizer = json.loads(make_tokenizer().to_str())
    table = tokenizer["model"]["vocab"]
    tokens = sorted(table, key=table.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(0)
    writer.add_chat_template(TEMPLATE)
    form = gguf.GGMLQuantizationType[quantisation]
    for name, array in weights.items():
        short = name
        for ours, theirs in GGUF_NAMES.items():
            short = short.replace(ours, theirs)
        short = short.replace("model.layers", "blk").replace("model.", "")
        if kind == "llama" and (".attn_q." in short or ".attn_k." in short):
            heads = config["num_attention_heads"] if ".attn_q." in short else config["num_key_value_heads"]
            rows = array.reshape(heads, 2, -1, array.shape[-1])  # llama.cpp pairs neighbours, not halves
            array = rows.swapaxes(1, 2).reshape(array.shape)
        if array.ndim == 2 and quantisation != "F32":
            stored = array.astype(np.float16) if quantisation == "F16" else gguf.quantize(array, form)
            writer.add_tensor(short, stored, raw_dtype=form)
        else:
            writer.add_tensor(short, array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
