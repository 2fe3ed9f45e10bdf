"""Tiny models made on the spot for the exporter's laws: an own vocabulary of 600 entries and random weights."""

import importlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from understudy.gguf import tokenizer as gguf_tokenizer

BOS, END = "<|begin_of_text|>", "<|eot_id|>"
SPECIAL = [BOS, END, "<|start_header_id|>", "<|end_header_id|>"]
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}"
NASTY = [
    "plain words, then more words.",
    "two  three   four    spaces",
    "  leading and trailing  ",
    "\n",
    "\n\n\n a \n\n b\n",
    "tabs\tand\t\ttabs \t\n",
    "1234567 12 3 0.001 1,000,000",
    "it's we're I'LL they'd 'tis O'Neil's",
    "Ünïcödé ß ÆØÅ ñ",
    "你好，世界。こんにちは 세계",
    "🙂👍🏽👩‍👩‍👧 ok 🚀",
    "# Title\n\n- **bold** item\n- `code`\n\n```py\nx = 1\n```\n",
    "«quotes» — dashes… ½ ² ﬁ",
    "a_b-c.d/e\\f@g:h;i",
    "!!!???===----....",
    "x\u00a0y\u200bz",
    "CamelCaseWords and ALLCAPS",
    "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "",
]
SIZES = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "hidden_act": "silu",
}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "num_hidden_layers": 7,
        "query_pre_attn_scalar": 64,
        "sliding_window": 16,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "smollm3": {"num_hidden_layers": 5},
    "granite": {
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "logits_scaling": 2.0,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "phi3": {
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 64,
        "rope_scaling": {
            "type": "longrope",
            "long_factor": [1.0 + 0.25 * at for at in range(24)],
            "short_factor": [1.0] * 24,
        },
    },
}
OWN_SIZES["olmo2"] = {"head_dim": None, "tie_word_embeddings": False}
OWN_SIZES["olmo3"] = OWN_SIZES["olmo2"] | {"num_hidden_layers": 5, "sliding_window": 16}
OWN_SIZES["ernie4_5"] = {"use_bias": False}
OWN_SIZES["granitemoehybrid"] = OWN_SIZES["granite"] | {
    "layer_types": ["attention", "attention"],
    "shared_intermediate_size": 512,
    "num_local_experts": 0,
}
LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def silent(done: int, total: int, note: str = "") -> None:
    """A report nobody reads."""


def make_tokenizer(
    folder: Path, rules: tuple[str, ...] = (gguf_tokenizer.LLAMA_3, gguf_tokenizer.BYTES), whole_words: bool = True
) -> None:
    """Train a byte-level BPE of 600 entries into `folder`; its splitting rule is one of gguf_tokenizer.PRE."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    steps = {
        gguf_tokenizer.BYTES: lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        gguf_tokenizer.GPT_2: lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        gguf_tokenizer.DIGITS: lambda: pre_tokenizers.Digits(individual_digits=True),
    }
    made = [steps[rule]() if rule in steps else pre_tokenizers.Split(Regex(rule), "isolated") for rule in rules]
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole_words))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(made)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        NASTY * 3,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=SPECIAL,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]),
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": BOS, "eos_token": END, "pad_token": END}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def make_sentencepiece(folder: Path, first: str) -> None:
    """Fill `folder` with a SentencePiece BPE of about 600 pieces; `first` is how a space comes in front of a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    spaces = normalizers.Replace(" ", "\u2581")
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend("\u2581"), spaces]) if first == "always" else spaces
    )
    special = ["<unk>", BOS, END, *byte_pieces]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text for text in NASTY if text.isascii()] * 3, trainer)
    raw = json.loads(tokenizer.to_str())
    vocab = raw["model"]["vocab"]
    pieces = [piece for piece in vocab if piece not in special]
    splits = [(piece[:at], piece[at:]) for piece in pieces for at in range(1, len(piece))]  # every way to make a piece
    raw["model"]["merges"] = [[left, right] for left, right in splits if left in vocab and right in vocab]
    raw["added_tokens"] = [added for added in raw["added_tokens"] if added["content"] not in byte_pieces]
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    if first == "first":
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": BOS, "eos_token": END, "pad_token": END, "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def write_sentencepiece(folder: Path) -> None:
    """Write tokenizer.model as SentencePiece would, for the vocabulary of tokenizer.json."""

    def field(number: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([number * 8 + 2, len(content)]) + content

    kinds = {"<unk>": 2, BOS: 3, END: 3}
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    message = b""
    for piece, number in sorted(vocab.items(), key=lambda entry: entry[1]):
        kind = 6 if piece.startswith("<0x") else kinds.get(piece, 1)
        score = struct.pack("<f", 0.0 if kind > 1 else -float(number))
        message += field(1, field(1, piece.encode()) + bytes([2 * 8 + 5]) + score + bytes([3 * 8, kind]))
    bpe_with_bytes = bytes([3 * 8, 2, 0x98, 2, 1])  # trainer_spec: model_type (3) BPE, byte_fallback (35) true
    (folder / "tokenizer.model").write_bytes(message + field(2, bpe_with_bytes))


def make_model(folder: Path, kind: str = "llama", dtype: str = "float32", shards: int = 1, **changes: Any) -> Path:
    """Fill `folder` with a model of random weights; the same in mlx as in the files."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer.json").exists():
        make_tokenizer(folder)
    config = {"model_type": kind, "vocab_size": 640, "tie_word_embeddings": True} | SIZES | OWN_SIZES.get(kind, {})
    config |= changes
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(7)
    model = mlx_model(config)
    weights = {
        name: mx.random.normal(value.shape) * 0.05 + (value.ndim == 1 and kind != "gemma3_text")
        for name, value in tree_flatten(model.parameters())
    }
    if config["tie_word_embeddings"]:
        weights.pop("lm_head.weight", None)
    if kind == "granitemoehybrid":
        weights = fused_gate(weights)
    save(folder, {name: value.astype(getattr(mx, dtype)) for name, value in weights.items()}, shards)
    return folder


def fused_gate(weights: dict[str, Any]) -> dict[str, Any]:
    """Granite 4's own names and shapes, which mlx parts when it loads them."""
    import mlx.core as mx

    renamed = {}
    for name, value in weights.items():
        if "mlp.gate_proj" in name:
            both = [value, weights[name.replace("gate_proj", "up_proj")]]
            renamed[name.replace("mlp.gate_proj", "shared_mlp.input_linear")] = mx.concatenate(both)
        elif "mlp.up_proj" not in name:
            renamed[name.replace("mlp.down_proj", "shared_mlp.output_linear")] = value
    return renamed


def mlx_model(config: dict[str, Any]) -> Any:
    """The model `config` describes, with weights that mean nothing."""
    from mlx_lm.utils import MODEL_REMAPPING

    kind = config["model_type"]
    module = importlib.import_module(f"mlx_lm.models.{MODEL_REMAPPING.get(kind, kind)}")
    return module.Model(module.ModelArgs.from_dict(config))


def save(folder: Path, weights: dict[str, Any], shards: int = 1) -> None:
    """Write `weights` as transformers does: one file, or several and an index."""
    import mlx.core as mx

    if shards == 1:
        mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
        return
    names, where = sorted(weights), {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: weights[name] for name in names[number::shards]}
        mx.save_safetensors(str(folder / file), part, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def mlx_logits(folder: Path, ids: list[int]) -> np.ndarray:
    """The model in `folder`, run by mlx in float32."""
    import mlx.core as mx

    model = mlx_model(json.loads((folder / "config.json").read_text()))
    files = sorted(folder.glob("*.safetensors"))
    weights = {k: v.astype(mx.float32) for file in files for k, v in mx.load(str(file)).items()}
    model.load_weights(list((model.sanitize(weights) if "sanitize" in dir(model) else weights).items()))
    return np.array(model(mx.array([ids]))[0])
