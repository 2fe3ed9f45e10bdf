"""
A BPE tokenizer as llama.cpp wants it, read from tokenizer.json: over bytes, or SentencePiece's over characters.

llama.cpp has splitting rules of its own and reads the name of one from the file (`tokenizer.ggml.pre`). Its
converter finds the name by hashing the token ids of a probe text, which works for published vocabularies only;
here it follows from the split pattern, so that new vocabularies work.
"""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from understudy.errors import ExportError
from understudy.gguf.families import ModelConfig, _sentencepiece
from understudy.gguf.families._sentencepiece import CONTROL, NORMAL, UNUSED, USER_DEFINED, Piece

if TYPE_CHECKING:
    from gguf import GGUFWriter

_CONTRACTIONS, _REST = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
QWEN_2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_MARK = r"[^\r\n\p{L}\p{N}]?"
_WORDS = f"{_MARK}{_UPPER}*{_LOWER}+(end)|{_MARK}{_UPPER}+{_LOWER}*(end)|"
_REST_4O = _REST.replace(r"[\r\n]*", r"[\r\n/]*", 1)
GPT_4O = _WORDS.replace("(end)", _CONTRACTIONS + "?") + r"\p{N}{1,3}" + _REST_4O
TEKKEN = _WORDS.replace("(end)", "") + r"\p{N}" + _REST_4O
BYTES, GPT_2, DIGITS = "ByteLevel", "ByteLevel with GPT-2's pattern", "Digits, one by one"
PRE: dict[tuple[tuple[str, ...], bool], str] = {
    # what happens before the merges, and whether a whole word that is in the vocabulary skips them
    ((LLAMA_3, BYTES), True): "llama-bpe",
    ((LLAMA_3, BYTES), False): "smaug-bpe",
    ((QWEN_2, BYTES), False): "qwen2",
    ((GPT_2,), False): "gpt-2",
    ((DIGITS, GPT_2), False): "smollm",
    ((GPT_4O, BYTES), False): "gpt-4o",
    ((TEKKEN, BYTES), True): "tekken",
}

SAME_RULE = {
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "dbrx": "smaug-bpe",
    "deepseek-r1-qwen": "qwen2",
    "llama4": "gpt-4o",
    "olmo": "gpt-2",
    "phi-2": "gpt-2",
    "mpt": "gpt-2",
    "starcoder": "smollm",
    "refact": "smollm",
    "command-r": "smollm",
}
"""Other names for which llama.cpp splits a text in the same way."""


def pre_tokenizer(name: str) -> tuple[list[dict[str, Any]], bool] | None:
    """The way back: the pre-tokenizers of tokenizer.json for a name, and `ignore_merges`; None for an unknown name."""
    rules = {known: rule for rule, known in PRE.items()}.get(SAME_RULE.get(name, name))
    return ([_step(rule) for rule in rules[0]], rules[1]) if rules else None


def _step(rule: str) -> dict[str, Any]:
    if rule == DIGITS:
        return {"type": "Digits", "individual_digits": True}
    if rule in (BYTES, GPT_2):
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": rule == GPT_2}
    return {"type": "Split", "pattern": {"Regex": rule}, "behavior": "Isolated", "invert": False}


class _Outside(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


_Read = TypeVar("_Read", bound=_Outside)


class Step(_Outside):
    """One normalizer, pre-tokenizer or post-processor, or a sequence of them."""

    type: str
    parts: list["Step"] = Field(default=[], validation_alias=AliasChoices("pretokenizers", "processors", "normalizers"))
    pattern: dict[str, str] = {}
    behavior: str = ""
    invert: bool = False
    add_prefix_space: bool = False
    use_regex: bool = True
    individual_digits: bool = False
    single: list[dict[str, dict[str, Any]]] = []
    content: str = ""
    prepend: str = ""
    replacement: str = ""
    prepend_scheme: str = "always"

    def steps(self) -> list["Step"]:
        """This step, or those of the sequence it is."""
        return [inner for part in self.parts for inner in part.steps()] if self.type == "Sequence" else [self]

    @property
    def rule(self) -> str:
        """What this pre-tokenizer does, in the words `PRE` is keyed with."""
        if self.type == "Split" and (self.behavior, self.invert) in (("Isolated", False), ("Removed", True)):
            return next(iter(self.pattern.values()), "")
        if self.type == "Digits" and self.individual_digits:
            return DIGITS
        if self.type == "ByteLevel" and not self.add_prefix_space:
            return GPT_2 if self.use_regex else BYTES
        return self.model_dump_json(exclude_defaults=True)


class AddedToken(_Outside):
    """A token that is matched in the text before anything is split."""

    id: int
    content: str
    special: bool = False


class Bpe(_Outside):
    """The vocabulary and the merges, in the order of their rank."""

    vocab: dict[str, int]
    merges: list[str] | list[tuple[str, str]]
    ignore_merges: bool = False
    byte_fallback: bool = False


class TokenizerFile(_Outside):
    """tokenizer.json."""

    added_tokens: list[AddedToken] = []
    normalizer: Step | None = None
    pre_tokenizer: Step | None = None
    post_processor: Step | None = None
    model: Bpe


class TokenizerConfig(_Outside):
    """tokenizer_config.json; a token is its text, or a mapping with its text as `content`."""

    bos_token: str | dict[str, Any] | None = None
    eos_token: str | dict[str, Any] | None = None
    unk_token: str | dict[str, Any] | None = None
    sep_token: str | dict[str, Any] | None = None
    pad_token: str | dict[str, Any] | None = None
    mask_token: str | dict[str, Any] | None = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    chat_template: str | list[dict[str, str]] | None = None

    def text(self, kind: str) -> str | None:
        """The token for `kind`, e.g. 'eos'."""
        token = getattr(self, f"{kind}_token")
        return token.get("content") if isinstance(token, dict) else token


class Tokenizer:
    """Everything the GGUF file says about text."""

    def __init__(self, model: Path, config: ModelConfig) -> None:
        self.file = model / "tokenizer.json"
        self.parsed = _parsed(self.file)
        settings = model / "tokenizer_config.json"
        self.config = _validated(TokenizerConfig, settings, _json(settings))
        self.over_bytes = not self.parsed.model.byte_fallback
        self.pre = self._pre() if self.over_bytes else "default"
        self.space_first = not self.over_bytes and self._space_first()
        self.tokens, self.scores, self.types = self._vocabulary(model, config.vocab_size)
        self.merges = [_merge(pair) for pair in self.parsed.model.merges]
        self.special = self._special(config)
        self.add_bos, self.add_eos = self._added()
        jinja = model / "chat_template.jinja"  # where there is one, transformers prefers it too
        self.chat_template = jinja.read_text(encoding="utf-8") if jinja.exists() else self.config.chat_template

    def write(self, writer: "GGUFWriter") -> None:
        """Add every tokenizer key to `writer`."""
        writer.add_tokenizer_model("gpt2" if self.over_bytes else "llama")
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.over_bytes:
            writer.add_token_merges(self.merges)
        else:
            writer.add_token_scores(self.scores)
            writer.add_add_space_prefix(self.space_first)
        for kind, number in self.special.items():
            getattr(writer, f"add_{kind}_token_id")(number)
        writer.add_add_bos_token(self.add_bos)
        writer.add_add_eos_token(self.add_eos)
        if self.chat_template:
            writer.add_chat_template(self.chat_template)

    def _pre(self) -> str:
        for step in self.parsed.normalizer.steps() if self.parsed.normalizer else []:
            if step.type != "NFC":  # llama.cpp leaves NFC out as well; composed text is the same with and without
                raise ExportError(f"{self.file}: llama.cpp has no normalizer {step.type!r}; take another base")
        steps = self.parsed.pre_tokenizer.steps() if self.parsed.pre_tokenizer else []
        rules, whole_words = tuple(step.rule for step in steps), self.parsed.model.ignore_merges
        if (rules, whole_words) not in PRE:
            raise ExportError(
                f"{self.file}: splits text by {' then '.join(map(repr, rules)) or 'nothing'} "
                f"(ignore_merges {whole_words}), which is none of {', '.join(PRE.values())}; take a base that splits "
                "like one of these, or convert with llama.cpp's convert_hf_to_gguf.py"
            )
        return PRE[rules, whole_words]

    def _space_first(self) -> bool:
        """Whether a space goes in front of a text before SentencePiece's merges. Raises ExportError for other steps.

        Where only the very first piece of a text gets one ("first"), this is False: llama.cpp would add one
        after every control token, and a chat begins with a control token.
        """
        first, spaces = False, False
        both = (self.parsed.normalizer, self.parsed.pre_tokenizer)
        for step in [step for part in both if part for step in part.steps()]:
            if step.type == "Prepend" and step.prepend == _sentencepiece.SPACE:
                first = True
            elif step.type == "Replace" and (step.pattern.get("String"), step.content) == (" ", _sentencepiece.SPACE):
                spaces = True
            elif step.type == "Metaspace" and step.replacement == _sentencepiece.SPACE:
                first, spaces = step.prepend_scheme == "always", True
            elif (step.type, step.pattern, step.behavior) != ("Split", {"String": " "}, "MergedWithPrevious"):
                raise ExportError(f"{self.file}: llama.cpp cannot follow the step {step.type!r} of this tokenizer")
        if not spaces:
            raise ExportError(f"{self.file}: keeps spaces as they are, which SentencePiece's own never does")
        return first

    def _vocabulary(self, model: Path, size: int) -> tuple[list[str], list[float], list[int]]:
        pieces = {number: Piece(token, 0.0, NORMAL) for token, number in self.parsed.model.vocab.items()}
        if not self.over_bytes:
            pieces |= _sentencepiece.pieces(model, self.parsed.model.vocab, self.parsed.model.merges)
        for added in self.parsed.added_tokens:
            control = added.special or _looks_special(added.content)
            text = added.content if control else added.content.replace(_sentencepiece.SPACE, " ")
            pieces[added.id] = Piece(text, _sentencepiece.ADDED_SCORE, CONTROL if control else USER_DEFINED)
        if (last := max(pieces)) >= size:
            raise ExportError(
                f"{self.file}: token {pieces[last].text!r} has number {last}, but config.json's vocab_size "
                f"is {size}: the tokenizer belongs to another model"
            )
        pad = _sentencepiece.PADDING_SCORE
        listed = [pieces.get(number) or Piece(f"[PAD{number}]", pad, UNUSED) for number in range(size)]
        tokens, scores, types = (list(column) for column in zip(*listed, strict=True))
        if len(set(tokens)) < size:  # llama.cpp ends the process on these
            twice = Counter(tokens).most_common(1)[0][0]
            raise ExportError(f"{self.file}: token {twice!r} has two numbers; remove one of them")
        return tokens, scores, types

    def _special(self, config: ModelConfig) -> dict[str, int]:
        """Kind > token number: tokenizer_config.json's, else config.json's."""
        numbers = self.parsed.model.vocab | {added.content: added.id for added in self.parsed.added_tokens}
        special = {
            kind: numbers[text]
            for kind in ("bos", "eos", "unk", "sep", "pad", "mask")
            if (text := self.config.text(kind)) in numbers
        }
        for kind in ("bos", "eos", "pad"):
            listed = getattr(config, f"{kind}_token_id")
            number = listed[0] if isinstance(listed, list) and listed else listed
            if isinstance(number, int) and 0 <= number < config.vocab_size:
                special.setdefault(kind, number)
        if "eos" not in special:
            raise ExportError(
                f"{self.file.parent}: no end token, and a model without one never stops: name a vocabulary entry as "
                f"eos_token in tokenizer_config.json (now {self.config.text('eos')!r}) or eos_token_id in config.json"
            )
        return special

    def _added(self) -> tuple[bool, bool]:
        """Whether every text begins with the bos token, and whether it ends with the eos token."""
        first = last = None
        for step in self.parsed.post_processor.steps() if self.parsed.post_processor else []:
            if step.type == "TemplateProcessing" and len(step.single) > 1:
                first = step.single[0].get("SpecialToken", {}).get("id")
                last = step.single[-1].get("SpecialToken", {}).get("id")
            elif step.type not in ("ByteLevel", "TemplateProcessing"):
                raise ExportError(f"{self.file}: llama.cpp cannot follow the post-processor {step.type!r}")
        for mark, kind in ((first, "bos"), (last, "eos")):
            if mark is not None and self.tokens[self.special.get(kind, 0)] != mark:
                raise ExportError(f"{self.file}: puts {mark!r} around every text, which is not the {kind}_token")
        if self.parsed.post_processor is None:
            first, last = self.config.add_bos_token, self.config.add_eos_token
        if first and "bos" not in self.special:
            raise ExportError(f"{self.file.parent}: add_bos_token is set, but there is no bos_token; set one")
        return bool(first), bool(last)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{file}: cannot be read ({error}); copy the tokenizer files from the base") from None


def _validated(record: type[_Read], file: Path, raw: Any) -> _Read:
    try:
        return record.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise ExportError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


def _parsed(file: Path) -> TokenizerFile:
    raw = _json(file)
    kind = (raw.get("model") or {}).get("type") if isinstance(raw, dict) else None
    if kind != "BPE":
        raise ExportError(f"{file}: a {kind!r} tokenizer; only BPE can be written: take another base")
    parsed = _validated(TokenizerFile, file, raw)
    if not parsed.model.merges:
        raise ExportError(f"{file}: has no merges, and llama.cpp refuses a BPE vocabulary without any")
    return parsed


def _merge(pair: str | tuple[str, str]) -> str:
    """Two sides with a space between; a space inside a side becomes the byte alphabet's sign for it."""
    return pair if isinstance(pair, str) else " ".join(side.replace(" ", chr(ord(" ") + 256)) for side in pair)


def _looks_special(text: str) -> bool:
    """Control tokens that some published tokenizers forget to mark as special (llama.cpp's own list)."""
    if text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]"):
        return True
    return any(text.startswith(a) and text.endswith(z) for a, z in (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">")))
