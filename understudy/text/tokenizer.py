"""
The tokenizer of a model folder: its tokens are those of tokenizer.json.

transformers rebuilds some tokenizers from the class that tokenizer_config.json names, and leaves out steps of the
file in doing so: `GPT2Tokenizer` drops a step that splits digits, `Qwen2Tokenizer` splits numbers as Qwen does whatever
the file says. A model reads what its file says, and so does llama.cpp; so the file wins.
"""

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROBE = (
    "Plain words, then a few more of them.",
    " one  two   three    four\t\ttabs \n\n\n lines\r\n end  ",
    "7 42 365 2024 12345678 3.14 1,000,000 0x1F 10:45 2nd ½ — ½ de x² m³ IV",
    "it's we're I'LL they'd DON'T o'clock 'tis",
    "Über straße façade ñandú Æther ﬁne CamelCaseWord snake_case ALLCAPS",
    "Привет, мир. Γειά σου. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया। สวัสดีชาวโลก 你好，世界。こんにちは 안녕하세요",
    "🙂👍🏽👩‍👩‍👧🚀 ok🚀 x\u00a0y\u200bz",
    "# Title\n\n- **bold** item\n1. `code`\n\n```py\nif x != 1: return {'a': [0]}\n```\nhttps://a.example/b?c=d&e#f",
)
"""Scripts, digits, spaces, emoji, markdown: texts that tokenizers split differently."""
FROM_FILE = "PreTrainedTokenizerFast"
"""The class that takes tokenizer.json as it is."""
PLAIN = "llama"
"""A kind of model for which transformers takes the class that the folder names."""
FILES = (
    "tokenizer*",
    "chat_template*",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "*.model",
)
Loaded = TypeVar("Loaded")
log = logging.getLogger("understudy")


def load(folder: Path) -> Any:
    """The tokenizer of `folder` for transformers. Raises ValueError when it cannot be read."""
    return of_file(_by_class(folder), folder, _by_class)


def _by_class(folder: Path) -> Any:
    """What transformers makes of the folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raises bare Exception for a file that it cannot parse
        raise ValueError(f"{folder.name}: its tokenizer cannot be read ({str(error).splitlines()[0][:200]})") from error


def for_mlx(loaded: Any, folder: Path) -> Any:
    """The tokenizer that mlx-lm loaded from `folder`, or one with the tokens of its file and the same end tokens."""
    from mlx_lm.utils import load_tokenizer

    return of_file(loaded, folder, lambda place: load_tokenizer(place, eos_token_ids=list(loaded.eos_token_ids)))


def of_file(loaded: Loaded, folder: Path, loader: Callable[[Path], Loaded]) -> Loaded:
    """`loaded`, or what `loader` makes of tokenizer.json alone where the class splits a probe text otherwise."""
    difference = differs(loaded, folder)
    if difference is None:
        return loaded
    log.info("%s: %s; the file is used", folder.name, difference)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / folder.name
        copy.mkdir()
        for file in {file for pattern in FILES for file in folder.glob(pattern) if file.is_file()}:
            (copy / file.name).write_bytes(file.read_bytes())
        name_class(copy)
        (copy / "config.json").write_text(json.dumps({"model_type": PLAIN}))
        return loader(copy)


def differs(loaded: Any, folder: Path) -> str | None:
    """A sentence that names the first text which `loaded` splits unlike tokenizer.json; None when there is none.

    Before the merges too: whether another split shows in the tokens depends on the vocabulary.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    own, by_class = Tokenizer.from_file(str(file)), getattr(loaded, "backend_tokenizer", None)
    for text in PROBE:
        expected = own.encode(text, add_special_tokens=False).ids
        same = list(loaded.encode(text, add_special_tokens=False)) == expected
        pieces = [_pieces(one, text) for one in (own, by_class) if one is not None]
        if not same or (None not in pieces and pieces[0] != pieces[-1]):
            return f"the class {_class(folder)} of tokenizer_config.json splits {text[:30]!r} unlike tokenizer.json"
    return None


def _pieces(tokenizer: "Tokenizer", text: str) -> list[str] | None:
    """What a text is split into before the merges; None where it is not."""
    if tokenizer.pre_tokenizer is None:
        return None
    whole = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(whole)]


def name_class(folder: Path) -> None:
    """Let tokenizer_config.json of `folder` name the class that takes tokenizer.json as it is."""
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    settings["tokenizer_class"] = FROM_FILE
    file.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def mend(folder: Path) -> str | None:
    """Have other programs split text by the tokenizer.json of `folder`; what was wrong, None when nothing.

    Not all of them: for some kinds of model transformers takes its own class, whatever the folder names. Raises
    ValueError when the tokenizer cannot be read.
    """
    if not (folder / "tokenizer.json").is_file():
        return None
    difference = differs(_by_class(folder), folder)
    if difference is not None:
        name_class(folder)
    return difference


def _class(folder: Path) -> str:
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    return str(settings.get("tokenizer_class", "of its kind of model"))
