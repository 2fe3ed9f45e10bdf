"""config.json of the model in a GGUF file, by the tables that exporters write such files with, read backwards."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from understudy.errors import ConfigError, ExportError
from understudy.gguf import families, layout
from understudy.gguf.families import Family, ModelConfig, Read
from understudy.gguf.families._shape import add_shape, shape_settings
from understudy.gguf.header import Header, Tensor

VISION, EXPERTS = ("v.", "mm.", "a."), "_exps."
UNSAID = ("vocab_size", "rope.dimension_count", "attention.key_length", "attention.value_length")
"""Keys that some converters leave out; where they are, they say what follows from the others."""
WITHOUT_MEANING = ("tensor_data_layout", "rope.scaling.finetuned", "attention.causal")
ANOTHER = "take the text model's file, or the Hugging Face folder it was made of"


class Source(NamedTuple):
    """A tensor of the folder to be, and where its values come from."""

    name: str
    tensor: Tensor
    head: int
    """Rows of one head when its rows are to be put back, else 0."""
    added: float
    """What the file's values have on top of the folder's."""


class Model(NamedTuple):
    """What is in the file, for a Hugging Face folder."""

    raw: dict[str, Any]
    """config.json."""
    config: ModelConfig
    family: Family
    sources: list[Source]


def read(header: Header) -> Model:
    """The model that `header` describes. Raises ConfigError that names the file, and what it is instead."""
    try:
        return _model(header, *_family(header))
    except ExportError as error:
        raise ConfigError([f"base: {header.file}: {error}"]) from None


def _family(header: Header) -> tuple[str, Family]:
    metadata, names = header.metadata, {tensor.name for tensor in header.tensors}
    architecture, kind = str(metadata.get("general.architecture")), metadata.get("general.type", "model")
    known = families.by_architecture()
    if architecture == "clip" or kind == "mmproj" or any(name.startswith(VISION) for name in names):
        raise ExportError(f"it holds a vision or audio model ({architecture}), or a part of one; {ANOTHER}")
    if kind != "model":
        raise ExportError(f"it holds no model but a file of the kind {kind!r}; take the model that it goes with")
    if metadata.get("split.count", 0) > 1:
        raise ExportError(
            f"it is one of {metadata['split.count']} parts of a model; join them first: "
            "llama-gguf-split --merge FIRST-PART OUT.gguf, and give the joined file"
        )
    if architecture not in known:
        raise ExportError(
            f"the architecture {architecture!r} cannot be unpacked; supported: {', '.join(sorted(known))}. "
            "Take one of these, or the Hugging Face folder it was made of"
        )
    if not names:
        raise ExportError("it holds a vocabulary and no weights; take the model's own file")
    if any(EXPERTS in name for name in names):
        raise ExportError("it is a mixture of experts, and only dense models can be unpacked; take a dense one")
    return known[architecture], families.of_type(known[architecture])


def _model(header: Header, name: str, family: Family) -> Model:
    keys = {
        key.removeprefix(f"{family.architecture}."): _shortest(value)
        for key, value in header.metadata.items()
        if key.startswith(f"{family.architecture}.")
    }
    by_name = {tensor.name: tensor for tensor in header.tensors}
    made = {n: _values(header, t) for n, t in by_name.items() if not n.startswith(("blk.", "token_", "output"))}
    settings = {"model_type": name, "architectures": [family.classes[0]], **shape_settings(keys)}
    settings |= {
        "vocab_size": _vocabulary(header, by_name),
        "tie_word_embeddings": "output.weight" not in by_name,
        "attention_bias": "blk.0.attn_q.bias" in by_name,
        "mlp_bias": "blk.0.ffn_gate.bias" in by_name,
        "rope_theta": keys.get("rope.freq_base", 10_000.0),
    }
    settings |= family.settings(Read(keys, made, settings)) | _special(header.metadata)
    raw = {key: value for key, value in settings.items() if value is not None}
    config, family = families.validated(raw["model_type"], raw, "its metadata")
    _refuse_more(config, family, keys)
    return Model(raw, config, family, list(_sources(config, family, by_name, made)))


def _vocabulary(header: Header, tensors: Mapping[str, Tensor]) -> int:
    """How many words it has. Raises ExportError where metadata and weights disagree."""
    words, rows = header.metadata.get("tokenizer.ggml.tokens"), tensors.get("token_embd.weight")
    if not words or rows is None:
        raise ExportError(f"it has no {'embeddings' if words else 'vocabulary'}; take a whole model")
    if len(words) != rows.shape[0]:
        raise ExportError(f"it lists {len(words):,} words and has {rows.shape[0]:,} embeddings; make the file again")
    return len(words)


def _special(metadata: Mapping[str, Any]) -> dict[str, Any]:
    names = {"bos": "bos", "eos": "eos", "padding": "pad"}
    return {f"{ours}_token_id": metadata.get(f"tokenizer.ggml.{theirs}_token_id") for theirs, ours in names.items()}


def _values(header: Header, tensor: Tensor) -> np.ndarray:
    """A small tensor in float32."""
    return dequantized(header, tensor, 0, tensor.shape[0]).reshape(tensor.shape)


def dequantized(header: Header, tensor: Tensor, first: int, rows: int) -> np.ndarray:
    """Rows of a tensor in float32, by the gguf package's own arithmetic. Raises ConfigError for an unknown type."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    content = raw_rows(header, tensor, first, rows)
    try:
        values: np.ndarray = dequantize(content, GGMLQuantizationType[tensor.type])
    except NotImplementedError:
        raise ConfigError(
            [f"base: {header.file}: {tensor.name} is stored as {tensor.type}; take another type"]
        ) from None
    return values


def raw_rows(header: Header, tensor: Tensor, first: int, rows: int) -> np.ndarray:
    """The bytes [rows, bytes of a row] of some rows, as they lie in the file; a vector is rows of one value."""
    width = tensor.bytes // tensor.shape[0]
    with header.file.open("rb") as file:
        file.seek(header.start + tensor.offset + first * width)
        content = np.fromfile(file, np.uint8, rows * width)
    return content.reshape(rows, width)


def _sources(
    config: ModelConfig, family: Family, tensors: Mapping[str, Tensor], made: Mapping[str, np.ndarray]
) -> Iterator[Source]:
    """Every tensor of the folder. Raises ExportError where one is missing, of another shape, or left over."""
    tied = bool(config.tie_word_embeddings)
    required, allowed = layout.shapes(config, family, tied)
    named, unused = layout.names(config, family), set(tensors) - set(family.make_tensors(config))
    for name, sizes in allowed.items():
        [gguf_name] = named(name)
        tensor = tensors.get(gguf_name)
        if tensor is None and name in required:
            raise ExportError(f"it has no tensor {gguf_name}; make the file again")
        if tensor is None:
            continue
        unused.discard(gguf_name)
        shape = tuple(config.sizes[size] for size in sizes)
        if tensor.shape != shape:
            raise ExportError(f"{gguf_name} is {tensor.shape}, and by its metadata it should be {shape}")
        head = config.head_width if layout.in_pairs(family, name) else 0
        yield Source(name, tensor, head, family.norm_offset if name.endswith("norm.weight") else 0.0)
    if unused:
        raise ExportError(
            f"{', '.join(sorted(unused)[:3])} {'is' if len(unused) == 1 else 'are'} no part of a "
            f"{config.model_type} model as it is known here; take the Hugging Face folder it was made of"
        )


def _refuse_more(config: ModelConfig, family: Family, keys: Mapping[str, Any]) -> None:
    """Raise ExportError for a setting of the file that its config.json does not say: it would be another model."""
    from gguf import GGUFWriter

    writer = GGUFWriter(None, family.architecture)
    add_shape(writer, config, family)
    family.add_keys(writer, config)
    said = {key.removeprefix(f"{family.architecture}."): value.value for key, value in writer.kv_data[0].items()}
    follows = dict.fromkeys(UNSAID[1:], config.head_width) | {"vocab_size": config.vocab_size}
    wrong = [
        f"{family.architecture}.{key} = {value!r}"
        for key, value in keys.items()
        if key not in WITHOUT_MEANING and value and not _same(value, (follows | said).get(key))
    ]
    if wrong:
        raise ExportError(
            f"its setting {', '.join(wrong[:3])} has no place in a {config.model_type} model's config.json here; "
            "take the Hugging Face folder it was made of"
        )


def _same(one: Any, other: Any) -> bool:
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return math.isclose(one, other, rel_tol=1e-6) if numbers else one in (other, "none")


def _shortest(value: Any) -> Any:
    """A float as the shortest text of its 32 bits: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
