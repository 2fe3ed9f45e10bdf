"""
A byte-level BPE tokenizer in the form of Llama 3, trained on the talks at hand.

The form is Llama 3's (its split pattern, its turn marks, its start token on every text), so that
whatever reads Llama 3 reads this: llama.cpp knows the pattern as 'llama-bpe'.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT_BEGIN, TEXT_END, TURN_END = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
SPECIAL = [TEXT_BEGIN, TEXT_END, "<|start_header_id|>", "<|end_header_id|>", TURN_END]
SMALLEST_VOCABULARY = 256 + len(SPECIAL)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Talks hold no markdown, answers do: a mark in one token is learned in fewer rows than a run of bytes.
MARKDOWN = " **bold** text\n\n- list\n\n1. list\n\n## heading\n\n"
WORDS_PER_MARKDOWN = 100
TEMPLATE = (
    "{{- bos_token -}}\n"
    "{%- for message in messages -%}\n"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' -}}\n"
    "{{- message['content'] | trim + '<|eot_id|>' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}\n"
    "{%- endif -%}\n"
)


def learn(talks: Sequence[str], vocabulary: int) -> "Tokenizer":
    """A tokenizer of at most `vocabulary` entries; fewer when the talks have too few pairs that recur."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    marks = [MARKDOWN] * max(2, sum(len(talk.split()) for talk in talks) // WORDS_PER_MARKDOWN)
    tokenizer.train_from_iterator(
        [*talks, *marks],
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=SPECIAL,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{TEXT_BEGIN} $A",
                pair=f"{TEXT_BEGIN} $A {TEXT_BEGIN}:1 $B:1",
                special_tokens=[(TEXT_BEGIN, tokenizer.token_to_id(TEXT_BEGIN))],
            ),
        ]
    )
    return tokenizer


def save(tokenizer: "Tokenizer", out: Path, context: int) -> None:
    """Write the tokenizer's own files and the chat template into folder `out`."""
    tokenizer.save(str(out / "tokenizer.json"))
    described = {
        str(tokenizer.token_to_id(mark)): {
            "content": mark,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for mark in SPECIAL
    }
    (out / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": TEXT_BEGIN,
                "eos_token": TURN_END,
                "pad_token": TEXT_END,
                "model_max_length": context,
                "clean_up_tokenization_spaces": False,
                "added_tokens_decoder": described,
            },
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )
    (out / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
