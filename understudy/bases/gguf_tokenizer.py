"""
The tokenizer of a GGUF file as tokenizer.json, and the proof that it reads text as llama.cpp does.

Two kinds: merges over bytes ('gpt2'), whose splitting rule the file names, and SentencePiece's over characters
('llama'), whose merges follow from the scores.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.errors import ConfigError, ExportError
from understudy.gguf.families._sentencepiece import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, UNUSED, USER_DEFINED
from understudy.gguf.tokenizer import PRE, SAME_RULE, pre_tokenizer
from understudy.serving.gguf import Gguf, Unusable
from understudy.text.tokenizer import FROM_FILE, PROBE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PADDING = re.compile(r"\[PAD\d+\]")
SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding", "mask": "mask"}
"""Our name > the name in the key of the file."""
ENDS = ("eos", "eot", "eom")


class Words(NamedTuple):
    """The vocabulary of the file."""

    metadata: Mapping[str, Any]
    tokens: list[str]
    types: list[int]

    def special(self, name: str) -> int | None:
        """The number of the token for e.g. 'eos'."""
        number = self.metadata.get(f"tokenizer.ggml.{SPECIAL.get(name, name)}_token_id")
        return int(number) if number is not None and 0 <= int(number) < len(self.tokens) else None


def write(file: Path, metadata: Mapping[str, Any], out: Path, context: int | None) -> list[int]:
    """Write tokenizer and chat template of the GGUF `file` into folder `out`; the numbers of its end tokens.

    Raises ConfigError, before anything is written, where llama.cpp reads text otherwise.
    """
    from tokenizers import Tokenizer

    words = _words(file, metadata)
    try:
        gguf = Gguf(file)
        raw = _bytes(words) if metadata["tokenizer.ggml.model"] == "gpt2" else _characters(words)
        raw["post_processor"] = _around(words, gguf)
        content = json.dumps(raw, ensure_ascii=False)
        tokenizer = Tokenizer.from_str(content)
        _require_same(tokenizer, gguf, words)
    except (Unusable, ExportError) as error:
        raise ConfigError([f"base: {file}: {error}"]) from None
    except Exception as error:  # tokenizers raises bare Exception for a vocabulary that does not hold together
        raise ConfigError(
            [f"base: {file}: its vocabulary makes no tokenizer ({error}); make the file again"]
        ) from error
    (out / "tokenizer.json").write_text(content, encoding="utf-8")
    (out / "tokenizer_config.json").write_text(_settings(words, context), encoding="utf-8")
    (out / "chat_template.jinja").write_text(metadata["tokenizer.chat_template"], encoding="utf-8")
    return _ends(words, gguf)


def problem(metadata: Mapping[str, Any]) -> str | None:
    """Why this vocabulary or template cannot be taken over, as far as it shows without llama.cpp."""
    kind, pre = metadata.get("tokenizer.ggml.model"), str(metadata.get("tokenizer.ggml.pre", "default"))
    if kind not in ("gpt2", "llama"):
        return f"its tokenizer is of the kind {kind!r}, and only 'gpt2' and 'llama' can be unpacked; take another base"
    if kind == "gpt2" and pre_tokenizer(pre) is None:
        known = ", ".join(sorted({*PRE.values(), *SAME_RULE}))
        return f"its text is split by the rule {pre!r}, which is none of {known}; take the Hugging Face folder"
    if not metadata.get("tokenizer.chat_template"):
        return "it has no chat template; take an instruct model, whose name often ends in -Instruct or -it"
    if metadata.get("tokenizer.ggml.eos_token_id") is None:
        return "it names no end token, and a model without one never stops; take another file"
    return None


def _words(file: Path, metadata: Mapping[str, Any]) -> Words:
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata.get("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    if len(types) != len(tokens):
        raise ConfigError([f"base: {file}: {len(tokens):,} words and {len(types):,} types of words; make it again"])
    return Words(metadata, tokens, types)


def _vocabulary(words: Words) -> dict[str, int]:
    """Text > number, without the places that only fill up the embeddings."""
    listed = enumerate(zip(words.tokens, words.types, strict=True))
    return {text: number for number, (text, kind) in listed if not (kind == UNUSED and _PADDING.fullmatch(text))}


def _added(words: Words) -> list[dict[str, Any]]:
    """The tokens that are found in a text before it is split."""
    kinds = (CONTROL, USER_DEFINED, UNKNOWN)
    return [
        {
            "id": number,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != USER_DEFINED,
        }
        for number, (text, kind) in enumerate(zip(words.tokens, words.types, strict=True))
        if kind in kinds
    ]


def _file(words: Words, model: dict[str, Any], **steps: Any) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(words),
        "normalizer": None,
        "pre_tokenizer": None,
        **steps,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
        | {"end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
        | model,
    }


def _bytes(words: Words) -> dict[str, Any]:
    """tokenizer.json of merges over bytes."""
    known = pre_tokenizer(str(words.metadata.get("tokenizer.ggml.pre", "default")))
    assert known, "problem() was asked first"
    steps, whole_words = known
    merges = [pair.split(" ", 1) for pair in words.metadata.get("tokenizer.ggml.merges", [])]
    if not merges:
        raise ExportError("it lists no merges; make the file again")
    return _file(
        words,
        {"vocab": _vocabulary(words), "merges": merges, "ignore_merges": whole_words},
        pre_tokenizer={"type": "Sequence", "pretokenizers": steps},
        decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    )


def _characters(words: Words) -> dict[str, Any]:
    """tokenizer.json of SentencePiece's merges over characters, with bytes as a last resort."""
    vocabulary, unknown = _vocabulary(words), words.special("unk")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    space_first = words.metadata.get("tokenizer.ggml.add_space_prefix", True)
    before = [{"type": "Prepend", "prepend": SPACE}] if space_first else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space_first else []
    back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    model = {
        "vocab": vocabulary,
        "merges": _merges(words, vocabulary),
        "unk_token": None if unknown is None else words.tokens[unknown],
        "fuse_unk": True,
        "byte_fallback": BYTE in words.types,
    }
    return _file(
        words,
        model,
        normalizer={"type": "Sequence", "normalizers": [*before, replace]},
        decoder={"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
    )


def _merges(words: Words, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two, best scores first: llama.cpp merges what scores best."""
    scores: Sequence[float] = words.metadata.get("tokenizer.ggml.scores", [])
    if len(scores) != len(words.tokens):
        raise ExportError(f"it lists {len(words.tokens):,} words and {len(scores):,} scores; make the file again")

    def ways() -> Iterator[tuple[float, int, int, tuple[str, str]]]:
        for number, (piece, kind) in enumerate(zip(words.tokens, words.types, strict=True)):
            for at in range(1, len(piece)) if kind in (NORMAL, USER_DEFINED) else ():
                left, right = piece[:at], piece[at:]
                if left in vocabulary and right in vocabulary:
                    yield -scores[number], number, vocabulary[left], (left, right)

    return [pair for *_, pair in sorted(ways())]


def _around(words: Words, gguf: Gguf) -> dict[str, Any] | None:
    """What is put around every text: llama.cpp knows it also where the file leaves it open."""
    import llama_cpp

    bos, eos = words.special("bos"), words.special("eos")
    first = bos if llama_cpp.llama_vocab_get_add_bos(gguf.vocabulary) else None
    last = eos if llama_cpp.llama_vocab_get_add_eos(gguf.vocabulary) else None
    if first is None and last is None:
        return None
    marks = {words.tokens[number]: number for number in (first, last) if number is not None}

    def around(text: str, kind: int) -> list[dict[str, Any]]:
        sides = [
            [{"SpecialToken": {"id": words.tokens[number], "type_id": kind}}] if number is not None else []
            for number in (first, last)
        ]
        return [*sides[0], {"Sequence": {"id": text, "type_id": kind}}, *sides[1]]

    special = {mark: {"id": mark, "ids": [number], "tokens": [mark]} for mark, number in marks.items()}
    single, pair = around("A", 0), [*around("A", 0), *around("B", 1)]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def _require_same(tokenizer: "Tokenizer", gguf: Gguf, words: Words) -> None:
    """Raise ExportError that names the first text which llama.cpp reads otherwise."""
    marks = [words.tokens[n] for n in (words.special(name) for name in ("bos", "eos", "eot")) if n is not None]
    chats = [f"{mark}{mark}\n\n{text}{mark} {text}" for mark in marks for text in PROBE[:3]]
    for text in (*PROBE, *chats, ""):
        ours, theirs = tokenizer.encode(text, add_special_tokens=False).ids, gguf.tokens(text)
        if ours != theirs:
            place = next((at for at, both in enumerate(zip(ours, theirs)) if both[0] != both[1]), 0)
            raise ExportError(
                f"as tokenizer.json its vocabulary splits {text[:30]!r} into other tokens than in llama.cpp (token "
                f"{place + 1} of {len(theirs)}); take the Hugging Face folder it was made of"
            )


def _settings(words: Words, context: int | None) -> str:
    special = {f"{name}_token": words.special(name) for name in SPECIAL}
    settings: dict[str, Any] = {
        "tokenizer_class": FROM_FILE,
        **{name: words.tokens[number] for name, number in special.items() if number is not None},
        "clean_up_tokenization_spaces": False,
    }
    if context:
        settings["model_max_length"] = context
    return json.dumps(settings, indent=1, ensure_ascii=False) + "\n"


def _ends(words: Words, gguf: Gguf) -> list[int]:
    """The end token first, then those that the file names or its chat template writes."""
    named = [number for number in map(words.special, ENDS) if number is not None]
    template = words.metadata["tokenizer.chat_template"]
    control = [number for number, kind in enumerate(words.types) if kind in (CONTROL, USER_DEFINED)]
    written = [number for number in control if words.tokens[number] in template and gguf.is_end(number)]
    return list(dict.fromkeys([*named, *written]))
