"""
The bases that are supported, as data; and those that stock mlx-lm cannot train, with the reason.

Their layers, templates and exports are handled here; no test trains their real weights.
Anything else trains only with `allow_untested: true`.
"""

import re
from typing import Any, Literal, NamedTuple

Thinking = Literal["none", "switchable", "always"]


class KnownBase(NamedTuple):
    """One model, from its maker or any converter."""

    name: str
    owner: str
    architecture: str
    """model_type of config.json."""
    sizes: dict[str, int | bool]
    """The part of config.json that decides how much memory training takes."""
    context: int
    template: str
    """The family of its chat template."""
    thinking: Thinking
    """Whether it writes its reasoning before an answer: never, when asked to, or always."""
    stops: tuple[str, ...]
    licence: str
    note: str = ""

    @property
    def layers(self) -> int:
        """Blocks."""
        return self.sizes["num_hidden_layers"]

    @property
    def config(self) -> dict[str, Any]:
        """As much of config.json as is known without downloading it."""
        return {"model_type": self.architecture, **self.sizes}

    @property
    def repository(self) -> str:
        """Where its maker keeps it."""
        return f"{self.owner}/{self.name}"


def _sizes(
    hidden: int, inner: int, layers: int, heads: int, kv_heads: int, head: int, vocabulary: int, tied: bool = True
) -> dict[str, int | bool]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }


_APACHE, _LLAMA, _GEMMA = "Apache-2.0", "Llama 3.2 Community", "Gemma Terms of Use"
_DATED = "its template writes today's date into every chat: pin date_string"
_CHATML, _HEADERS = ("<|im_end|>", "<|endoftext|>"), ("<|eot_id|>", "<|end_of_text|>")


def _llama(name: str, sizes: dict[str, int | bool]) -> KnownBase:
    return KnownBase(name, "meta-llama", "llama", sizes, 131_072, "llama3", "none", _HEADERS, _LLAMA, _DATED)


def _qwen(name: str, sizes: dict[str, int | bool], thinking: Thinking, context: int = 40_960) -> KnownBase:
    return KnownBase(name, "Qwen", "qwen3", sizes, context, "chatml", thinking, _CHATML, _APACHE)


_QWEN_4B = _sizes(2560, 9728, 36, 32, 8, 128, 151_936)
KNOWN: tuple[KnownBase, ...] = (
    _llama("Llama-3.2-1B-Instruct", _sizes(2048, 8192, 16, 32, 8, 64, 128_256)),
    _llama("Llama-3.2-3B-Instruct", _sizes(3072, 8192, 28, 24, 8, 128, 128_256)),
    _qwen("Qwen3-0.6B", _sizes(1024, 3072, 28, 16, 8, 128, 151_936), "switchable"),
    _qwen("Qwen3-1.7B", _sizes(2048, 6144, 28, 16, 8, 128, 151_936), "switchable"),
    _qwen("Qwen3-4B", _QWEN_4B, "switchable"),
    _qwen("Qwen3-4B-Instruct-2507", _QWEN_4B, "none", 262_144),
    _qwen("Qwen3-4B-Thinking-2507", _QWEN_4B, "always", 262_144),
    _qwen("Qwen3-8B", _sizes(4096, 12_288, 36, 32, 8, 128, 151_936, tied=False), "switchable"),
    KnownBase(
        "granite-4.0-micro",
        "ibm-granite",
        "granitemoehybrid",
        _sizes(2560, 8192, 40, 40, 8, 64, 100_352),
        131_072,
        "granite",
        "none",
        ("<|end_of_text|>",),
        _APACHE,
        "dense, with attention in every block, though its class is that of the hybrids",
    ),
    KnownBase(
        "SmolLM3-3B",
        "HuggingFaceTB",
        "smollm3",
        _sizes(2048, 11_008, 36, 16, 4, 128, 128_256),
        65_536,
        "smollm3",
        "switchable",
        ("<|im_end|>", "<|end_of_text|>"),
        _APACHE,
    ),
    KnownBase(
        "gemma-3-1b-it",
        "google",
        "gemma3_text",
        _sizes(1152, 6912, 26, 4, 1, 256, 262_144),
        32_768,
        "gemma3",
        "none",
        ("<end_of_turn>", "<eos>"),
        _GEMMA,
        "its large vocabulary takes most of the memory",
    ),
)

_CONVERTERS = ("mlx-community", "unsloth", "lmstudio-community")
# What converters put behind the name; formats that mlx does not read (gguf, awq, bnb) are not among them.
_FORMAT = r"(?:-(?:mlx|bf16|bfloat16|fp16|fp32|[234568]-?bits?|dwq(?:-\d+)?|mxfp[48]|nvfp4|qat|g(?:32|64)|text))*"
_GGUF, _BITSANDBYTES = re.compile(r"-gguf$", re.IGNORECASE), re.compile(r"-(?:unsloth-)?bnb-\d-?bit$", re.IGNORECASE)
_OLLAMA = re.compile(r"[a-z0-9][a-z0-9._-]*:[\w.-]+")

_DELTA = (
    "stock mlx-lm trains its linear attention without the fast kernel: one block takes 10 GB at 1,024 tokens; "
    "take a dense base, e.g. Qwen/Qwen3-4B-Instruct-2507"
)
REFUSED: dict[str, str] = dict.fromkeys(
    ("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_next", "kimi_linear", "kimi_k3", "olmo_hybrid"), _DELTA
)
"""model_type > why a model of it is not trained here, untested or not."""
_REFUSED_NAMES = re.compile(r"qwen3\.[56]-|qwen3-next-|qwen3-coder-next|kimi-linear-|olmo-hybrid-", re.IGNORECASE)


def known(repository: str) -> KnownBase | None:
    """The tested base that `repository` holds, from its maker or a converter; None when it is none of them."""
    owner, _, name = repository.partition("/")
    for base in KNOWN:
        ours = owner.lower() in (base.owner.lower(), *_CONVERTERS)
        if ours and re.fullmatch(re.escape(base.name) + _FORMAT, name, re.IGNORECASE):
            return base
    return None


def another_name(name: str) -> str | None:
    """What to give instead of a name that means a model in another form; None when it may be one of the hub's."""
    if _OLLAMA.fullmatch(name):
        return f"base: {name!r} is a name of Ollama's; write ollama:{name} to take what it has pulled{_or(name)}"
    if _GGUF.search(name):
        return (
            f"base: {name} holds GGUF files; download the one with the most bits and give its path"
            f"{_or(_GGUF.sub('', name))}"
        )
    if _BITSANDBYTES.search(name):
        return (
            f"base: {name} is quantized with bitsandbytes, which MLX does not tune"
            f"{_or(_BITSANDBYTES.sub('', name)) or '; take the repository it was made of'}"
        )
    return None


def _or(name: str) -> str:
    """'; or take OWNER/NAME' of the tested base that a name begins with."""
    wanted = name.rpartition("/")[2].replace(":", "-").lower()
    near = [base.repository for base in KNOWN if base.name.lower().startswith(wanted) and base.thinking != "always"]
    return f"; or take {min(near, key=len)}" if near else ""


def problem(repository: str, allow_untested: bool) -> str | None:
    """Why the model in `repository` is not to be tuned, as one sentence; None when it may be."""
    if _REFUSED_NAMES.match(repository.partition("/")[2]):
        return f"base: {repository} cannot be trained: {_DELTA}"
    base = known(repository)
    if base is not None and base.thinking == "always" and not allow_untested:
        return (
            f"base: {repository} always reasons before it answers, which the answers it would be tuned on never do; "
            "take Qwen/Qwen3-4B-Instruct-2507, or set base.allow_untested=true"
        )
    return None if base is not None or allow_untested else _untested(repository)


def config_problem(name: str, config: dict[str, Any], allow_untested: bool) -> str | None:
    """The same of a model whose config.json is here, whatever it is called."""
    inside = config.get("text_config")
    kinds = [config.get("model_type"), inside.get("model_type") if isinstance(inside, dict) else None]
    for kind in kinds:
        if kind in REFUSED:
            return f"base: {name} ({kind}) cannot be trained: {REFUSED[kind]}"
    if allow_untested:
        return None
    if "mamba" in (config.get("layer_types") or ()):
        return f"base: {name} has Mamba blocks, which are untested here; set base.allow_untested=true to try"
    return None if kinds[0] in {base.architecture for base in KNOWN} else _untested(f"{name} ({kinds[0]})")


def _untested(name: str) -> str:
    tested = ", ".join(base.repository for base in KNOWN if base.thinking != "always")
    return (
        f"base: {name} is not on the tested list ({tested}, and conversions of them by {', '.join(_CONVERTERS)}); "
        "take one of these, or set base.allow_untested=true"
    )
