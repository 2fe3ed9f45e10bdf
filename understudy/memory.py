"""
How much memory a LoRA run takes at its peak, before it starts, and what to change when that is too much.

The formula is closed: weights, activations of the adapted blocks, logits, adapter. Its constants were fitted to
mlx 0.32.4 on a CPU, float32 and bfloat16, with hidden sizes of 256 and 512; `make bench ONLY=memory` checks them.
From mlx only a GPU's limit is read; `understudy.trainers.mlx_measure` measures.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from understudy.errors import ConfigError

GROUP, GEMMA = 64, 1.25
MARGIN = 1.1
RESERVE_BYTES = 500_000_000
"""For the process itself and what the allocator cannot give back."""

FEWEST_LAYERS = 8
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

# Bytes per token that one block keeps for its backward pass, by bytes per number: of each hidden unit, query and
# key or value unit, inner unit of the feed-forward, head and token of context, and rank. LoRA computes in
# float32 whatever the base is, so half the precision does not halve them.
_KEPT = {4: (16.2, 9.0, 7.0, 20.1, 4.2, 28.0), 2: (24.0, 7.0, 4.0, 15.0, 2.3, 28.0)}
_ATTENTION = 4  # its place among them
_EAGER = (4.05, 1.75)
"""Times what a block keeps, and what its attention keeps, where each part of a step is computed at once (`cpu`)."""
_EAGER_HEAD, _CHUNKED_HEAD = 192_000_000, 6 * (64 << 20)
"""The most that the loss takes then, and where mlx makes its logits, in parts (`trainers.mlx_head`)."""
_KEPT_TORCH = {4: (16.0, 20.0, 0.0, 16.0, 0.0, 28.0), 2: (14.0, 10.0, 0.0, 8.0, 0.0, 28.0)}
"""As _KEPT, of transformers' blocks in torch: keys and values are kept once per head, and no scores of attention."""
_TORCH_MARGIN = 1.3
"""What the C library gives back late, and weights in the order that a processor multiplies, are no arrays."""
_TORCH_LEAST = 48_000_000
"""What torch takes for threads and kernels at its first step, however small the model."""
_TORCH_HEAD, _TORCH_BLOCKS = 5 * (64 << 20), 2.0
"""The most that the loss takes in parts (`trainers.torch_head`), and the blocks' worth that is computed at once."""
_BLOCKS_AT_ONCE = {True: 4.0, False: 2.8}
"""Blocks' worth of activations while one is computed again, in a compiled step and without compiling."""


@dataclass(frozen=True)
class Model:
    """The sizes of a dense decoder."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool = True
    gemma: bool = False
    """Twice the norms, and a GELU of several operations: more is kept for the backward pass."""

    @property
    def linear_units(self) -> int:
        """Sum of inputs + outputs over the seven linear layers of one block; rank times that is its adapter."""
        query, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        return 2 * (self.hidden + query) + 2 * (self.hidden + kv) + 3 * (self.hidden + self.inner)

    @property
    def parameters(self) -> int:
        """Weights of the linear layers and the embeddings; norms and biases are too few to matter."""
        query, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        block = 2 * self.hidden * (query + kv) + 3 * self.hidden * self.inner
        return self.layers * block + self.hidden * self.vocabulary * (1 if self.tied else 2)


@dataclass(frozen=True)
class Shape:
    """One way to train: the model, what is adapted, and how much goes through it in one iteration."""

    model: Model
    rank: int
    layers: int
    """Blocks that are adapted, from the top."""
    batch_tokens: int
    """Tokens of the largest batch, padding included."""
    row_tokens: int
    """Tokens of the longest row, padding included: not the limit, what the data has."""
    bits: int = 16
    """Of a weight of the base: 32, 16, or 8 and 4 where it is quantized."""
    number_bytes: int = 2
    """Of what is computed: 2 on a GPU, 4 on a CPU."""
    checkpointing: bool = False
    compiled: bool = True
    eager: bool = False
    """With `understudy.cpu`: faster on a processor, and mlx lets go of nothing before the step is over."""
    torch: bool = False
    """Computed by torch and not by mlx."""


class Plan(NamedTuple):
    """What to train with on a machine."""

    shape: Shape
    bytes: int
    remedies: list[str]
    sentence: str
    problem: str | None
    """Why not even the smallest shape fits; None when one does."""


class Limit(NamedTuple):
    """What a run may take, and where that figure comes from."""

    bytes: int
    why: str


def model_of(config: Mapping[str, Any]) -> Model:
    """The sizes in a config.json. Raises ConfigError when they are missing, or the model is not a dense decoder."""
    text = config.get("text_config") or config
    experts = next((text[k] for k in ("num_local_experts", "num_experts", "n_routed_experts") if text.get(k)), 0)
    if experts > 1:
        raise ConfigError([f"base: it has {experts} experts a block; memory is estimated for dense models only"])
    try:
        hidden, inner, layers, heads, vocabulary = (int(text[name]) for name in _SIZES)
        kv_heads = int(text.get("num_key_value_heads") or heads)
        head_size = int(text.get("head_dim") or hidden // heads)
        gemma = str(text.get("model_type")).startswith("gemma")
        tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", True)))
        return Model(hidden, inner, layers, heads, kv_heads, head_size, vocabulary, tied, gemma)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError([f"base: config.json does not have the model's size ({error}); take another base"]) from None


def predicted(shape: Shape) -> int:
    """The most bytes mlx holds at once during a step; above what is measured, by at most 30 % of it."""
    model, size = shape.model, shape.number_bytes
    bits = shape.bits + 16 * size / GROUP if shape.bits <= 8 else shape.bits  # a scale and a bias for each group
    weights = model.parameters * bits / 8
    weights += _TORCH_LEAST if shape.torch else 0
    adapter = 16 * shape.rank * model.linear_units * min(shape.layers, model.layers)  # weight, gradient, two moments
    logits = 4 * size * shape.batch_tokens * model.vocabulary
    logits = min(_EAGER_HEAD if shape.eager else _TORCH_HEAD if shape.torch else _CHUNKED_HEAD, logits)
    block, at_once = _block(shape), _TORCH_BLOCKS if shape.torch else _BLOCKS_AT_ONCE[shape.compiled]
    if shape.checkpointing:
        inputs = 2 * size * model.hidden * shape.batch_tokens * shape.layers
        activations = inputs + max(at_once * block, block + logits)
    else:
        scores = 0 if shape.torch else 1.2 * shape.row_tokens
        backward = size * shape.batch_tokens * model.heads * (scores + 10 * model.head_size)
        activations = (shape.layers + 1) * block + max(backward, logits)
    return round((_TORCH_MARGIN if shape.torch else MARGIN) * (weights + adapter + activations))


def _block(shape: Shape) -> float:
    """Bytes of activations one adapted block keeps."""
    model = shape.model
    query, kv = model.heads * model.head_size, model.kv_heads * model.head_size
    units = (model.hidden, query, kv, model.inner, model.heads * shape.row_tokens, shape.rank)
    parts = [factor * unit for factor, unit in zip((_KEPT_TORCH if shape.torch else _KEPT)[shape.number_bytes], units)]
    if shape.eager:
        rest, attention = _EAGER
        parts = [(attention if at == _ATTENTION else rest) * part for at, part in enumerate(parts)]
    numbers = sum(parts)
    return shape.batch_tokens * numbers * (GEMMA if model.gemma else 1)


def fits(shape: Shape, limit: Limit) -> bool:
    """Whether a run of this shape stays under the limit."""
    return predicted(shape) + RESERVE_BYTES <= limit.bytes


def plan(shape: Shape, limit: Limit, fixed: Collection[str] = ()) -> Plan:
    """The first fallback that fits, with the remedies it applied and what they cost.

    Fallbacks that would change a field of the shape named in `fixed` are left out.
    """
    initial = need = predicted(shape) + RESERVE_BYTES
    applied: dict[str, str] = {}
    for step, field, remedy in _FALLBACKS:
        if field in fixed:
            continue
        while need > limit.bytes and (smaller := step(shape)) is not None:
            shape, need = smaller, predicted(smaller) + RESERVE_BYTES
            applied[remedy] = remedy.format(shape)
    remedies, space = list(applied.values()), f"{limit.bytes / 1e9:.1f} GB ({limit.why})"
    if need > limit.bytes:
        row = longest_row(shape, limit)
        shorter = f", or leave out the rows of more than {row} tokens" if row else ""
        problem = (
            f"training needs {initial / 1e9:.1f} GB as it is set, and {need / 1e9:.1f} GB with everything reduced; "
            f"it may take {space}: take a smaller base{shorter}"
        )
        return Plan(shape, need, remedies, problem, problem)
    if not remedies:
        return Plan(shape, need, [], f"fits: {need / 1e9:.1f} GB of {space}", None)
    sentence = f"{initial / 1e9:.1f} GB as it is set is over {space}; {need / 1e9:.1f} GB with {'; '.join(remedies)}"
    return Plan(shape, need, remedies, sentence, None)


def _checkpoint(shape: Shape) -> Shape | None:
    checkpointed = replace(shape, checkpointing=True)
    return checkpointed if predicted(checkpointed) < predicted(shape) else None


def _smaller_batch(shape: Shape) -> Shape | None:
    tokens = max(shape.row_tokens, shape.batch_tokens // 2)
    return replace(shape, batch_tokens=tokens) if tokens < shape.batch_tokens else None


def _quantize(bits: int) -> Callable[[Shape], Shape | None]:
    return lambda shape: replace(shape, bits=bits) if bits < shape.bits else None


def _fewer_layers(shape: Shape) -> Shape | None:
    layers = max(FEWEST_LAYERS, shape.layers // 2)
    return replace(shape, layers=layers) if layers < shape.layers else None


_FALLBACKS: tuple[tuple[Callable[[Shape], Shape | None], str, str], ...] = (
    (_checkpoint, "checkpointing", "checkpointing (about a third more time)"),
    (_smaller_batch, "batch_tokens", "batches of {0.batch_tokens} tokens (slower; more of them make a step)"),
    (_quantize(8), "bits", "an 8-bit base (the exported model differs a little from the trained one)"),
    (_quantize(4), "bits", "a 4-bit base (the exported model differs from the trained one: compare them)"),
    (_fewer_layers, "layers", "only the top {0.layers} blocks adapted (less of the manner is learned)"),
)


def longest_row(shape: Shape, limit: Limit, most: int = 8192) -> int | None:
    """The longest row, alone in its batch, that fits: a multiple of 32, at most `most`; None when not even 32 does."""
    longest, low, high = None, 1, most // 32
    while low <= high:
        tokens = 32 * (middle := (low + high) // 2)
        if fits(replace(shape, batch_tokens=tokens, row_tokens=tokens), limit):
            longest, low = tokens, middle + 1
        else:
            high = middle - 1
    return longest


def cannot_fit(config: Mapping[str, Any]) -> str | None:
    """Why a base with this config.json can never be tuned in the memory of this machine; None when it may."""
    try:
        model = model_of(config)
    except ConfigError:
        return None  # no formula for its shape; training measures it
    smallest = Shape(model, 1, 1, 32, 32, bits=4, checkpointing=True)
    best = plan(smallest, Limit(physical_bytes(), "all of its memory"))
    if not best.problem:
        return None
    return (
        f"base: {model.parameters / 1e9:.1f} B parameters need {best.bytes / 1e9:.1f} GB even as 4 bits with one "
        f"short row at a time, and this machine has {physical_bytes() / 1e9:.1f} GB in all; take a smaller base"
    )


def machine_limit() -> Limit:
    """What training may take here: 85 % of what a GPU gives, 90 % of the free memory where it is the CPU's, too."""
    import mlx.core as mx

    free = Limit(int(0.9 * free_bytes()), "90 % of the memory that is free now")
    if mx.default_device().type != mx.DeviceType.gpu:
        return free
    info = mx.device_info()
    if recommended := info.get("max_recommended_working_set_size"):
        return min(free, Limit(int(0.85 * int(recommended)), "85 % of what Metal recommends"))
    own = info.get("free_memory") or info.get("total_memory") or info.get("memory_size")
    return Limit(int(0.85 * int(own)), "85 % of the GPU's memory") if own else free


def free_bytes() -> int:
    """Memory that is available without swapping; all there is where the system does not say."""
    if sys.platform == "win32":
        return _windows_memory()[1]
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return physical_bytes()
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def physical_bytes() -> int:
    """All memory of this machine."""
    if sys.platform == "win32":
        return _windows_memory()[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _windows_memory() -> tuple[int, int]:
    """All memory and what is free, by GlobalMemoryStatusEx: nine numbers behind their own length."""
    status = struct.pack("<II7Q", 64, *[0] * 8)
    buffer = ctypes.create_string_buffer(status, 64)
    getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx(buffer)  # noqa: B009
    numbers = struct.unpack("<II7Q", buffer.raw)
    return numbers[2], numbers[3]
