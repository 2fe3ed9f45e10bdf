"""Tiny models made on the spot for the exporter's laws: an own vocabulary of 600 entries and random weights."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from understudy.exporters import gguf_tokenizer

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


def make_model(folder: Path, kind: str = "llama", dtype: str = "float32", shards: int = 1, **changes: Any) -> Path:
    """Fill `folder` with a model of random weights; the same in mlx as in the files."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer.json").exists():
        make_tokenizer(folder)
    config = {"model_type": kind, "vocab_size": 640, "tie_word_embeddings": True} | SIZES | changes
    (folder / "config.json").write_text(json.dumps(config))
    module = importlib.import_module(f"mlx_lm.models.{kind}")
    mx.random.seed(7)
    model = module.Model(module.ModelArgs.from_dict(config))
    weights = {
        name: mx.random.normal(value.shape) * 0.05 + (value.ndim == 1)
        for name, value in tree_flatten(model.parameters())
    }
    save(folder, {name: value.astype(getattr(mx, dtype)) for name, value in weights.items()}, shards)
    return folder


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

    config = json.loads((folder / "config.json").read_text())
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(config))
    files = sorted(folder.glob("*.safetensors"))
    model.load_weights([(k, v.astype(mx.float32)) for file in files for k, v in mx.load(str(file)).items()])
    return np.array(model(mx.array([ids]))[0])
