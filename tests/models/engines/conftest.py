"""A tiny random Llama with its own vocabulary, as a Hugging Face folder and as an f16 GGUF file."""

import json
from pathlib import Path

import pytest

from understudy.records import ChatExample, Message, Pair

SPECIALS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    ("Why does a candle burn?", "**Wax** is the fuel.\n\n- The flame *melts* it.\n- The wick draws it up."),
    (
        "What does the wick do?",
        "It lifts the melted wax to the flame, drop by drop, which we call **capillary action**.",
    ),
    ("Is the flame hollow?", "Yes.\n\nPut a card through it: you see a **ring** of soot, 12 or 1234 mm wide — été!"),
    ("What is left?", "Water and gas."),
    ("And then?", "**Nothing** is lost.\n\n1. Weigh it before.\n2. Weigh it after.\n\nThe sums agree. " * 3),
]
HIDDEN, HEADS, VOCABULARY = 64, 4, 512


@pytest.fixture(scope="session")
def rows() -> list[tuple[Pair, ChatExample]]:
    """Held-out rows about candles, two to a talk."""
    return [
        (
            Pair(
                pair_id=f"talk-{i // 2}#{i}",
                document_id=f"talk-{i // 2}",
                title="Candles",
                published=None,
                question_number=i + 1,
                question=question,
                answer=answer,
                tags=[],
                start_seconds=None,
                end_seconds=None,
                document_sha256="0",
                teacher="extractive",
                prompt_sha256=None,
                kept=True,
                gate=None,
                reason=None,
            ),
            ChatExample(messages=[Message(role="user", content=question), Message(role="assistant", content=answer)]),
        )
        for i, (question, answer) in enumerate(TEXTS)
    ]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: hidden 64, one layer, float16 weights, the Llama-3 chat template."""
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.models.llama import Model, ModelArgs

    folder = tmp_path_factory.mktemp("tiny")
    _write_tokenizer(folder)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HIDDEN // HEADS,
        "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 3,
    }
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(3)
    # Three times the usual start: answers then vary, and ties between tokens are rare.
    start = Model(ModelArgs.from_dict(config)).parameters()
    weights = tree_map(lambda weight: (3 * weight if weight.ndim == 2 else weight).astype(mx.float16), start)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(weights)), metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tiny_folder: Path) -> Path:
    """The same weights and vocabulary as a GGUF file."""
    import gguf
    import mlx.core as mx
    import numpy as np

    file = tiny_folder.parent / "tiny-f16.gguf"
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(1)
    writer.add_context_length(1024)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(128)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(1)
    tokenizer = json.loads((tiny_folder / "tokenizer.json").read_text())
    ids = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIALS else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(3)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    for name, weight in mx.load(str(tiny_folder / "model.safetensors")).items():
        array = np.array(weight)
        if "q_proj" in name or "k_proj" in name:  # llama.cpp rotates neighbouring rows, Hugging Face halves
            array = array.reshape(HEADS, 2, HIDDEN // HEADS // 2, HIDDEN).swapaxes(1, 2).reshape(array.shape)
        stored = array.astype(np.float32) if array.ndim == 1 else np.ascontiguousarray(array)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    corpus = (
        [text for pair in TEXTS for text in pair] * 3 + ["user assistant\n\n"] * 5 + [f"w{i} x{i}" for i in range(300)]
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIALS])
    assert tokenizer.get_vocab_size() == VOCABULARY
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[0],
        "eos_token": SPECIALS[3],
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
