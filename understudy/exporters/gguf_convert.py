"""A Hugging Face folder as one f16 GGUF file, with numpy and the gguf package only: a chunk of one tensor in memory."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from understudy.errors import ExportError
from understudy.exporters import gguf_families, gguf_weights
from understudy.exporters.gguf_families import BODY, HEAD, Family, ModelConfig, Rope, Shape
from understudy.exporters.gguf_quantize import replacing
from understudy.exporters.gguf_tokenizer import Tokenizer
from understudy.exporters.gguf_weights import Converted, Stored
from understudy.interfaces import Report

if TYPE_CHECKING:
    from gguf import GGUFWriter

F16, F32 = np.dtype("<f2"), np.dtype("<f4")
SPARE = 1.05
log = logging.getLogger("understudy")


def convert(model: Path, out: Path, name: str | None, report: Report) -> None:
    """Write the folder `model` as the f16 file `out`; `name` is what programs show. Raises ExportError.

    Every check that needs no weights comes before the first byte is written.
    """
    from gguf import GGML_QUANT_VERSION, GGUFWriter, LlamaFileType

    config, family = gguf_families.read(model)
    tokenizer = Tokenizer(model, config)
    tensors = dict(_tensors(config, family, gguf_weights.index(model)))
    writer = GGUFWriter(None, family.architecture)
    for gguf_name, tensor in tensors.items():
        shape = tensor.stored.shape if isinstance(tensor, Converted) else tensor.shape
        dtype = tensor.target if isinstance(tensor, Converted) else tensor.dtype
        writer.add_tensor_info(gguf_name, shape, dtype, tensor.nbytes)
    _add_metadata(writer, model, name)
    _add_shape(writer, config, family)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    family.add_keys(writer, config)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    tokenizer.write(writer)
    _require_space(out, sum(tensor.nbytes for tensor in tensors.values()))
    with replacing(out) as partial:
        try:
            _write(writer, partial, tensors, report)
        except OSError as error:
            raise ExportError(f"{out}: could not be written: {error.strerror or error}") from None
        finally:
            writer.close()


def _write(writer: "GGUFWriter", file: Path, tensors: "dict[str, Converted | np.ndarray]", report: Report) -> None:
    writer.write_header_to_file(file)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for number, (name, tensor) in enumerate(tensors.items()):
        report(number, len(tensors), name)
        writer.write_tensor_data(tensor)  # type: ignore[arg-type]  # Converted has the two members this uses
    report(len(tensors), len(tensors))


def _tensors(
    config: ModelConfig, family: Family, stored: dict[str, Stored]
) -> "Iterator[tuple[str, Converted | np.ndarray]]":
    """GGUF name > tensor, in the order of the file. Every one the family needs is there, and no other."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == family.architecture)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    tied = config.tie_word_embeddings if config.tie_word_embeddings is not None else HEAD not in stored
    required, allowed = _shapes(config, family, tied)
    missing = [name for name in required if name not in stored]
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ExportError(f"the model has no tensor {', '.join(missing[:3])}{rest}; fuse or download it again")
    yield from family.make_tensors(config).items()
    for name, tensor in stored.items():
        if name.endswith(".rotary_emb.inv_freq") or (tied and name == HEAD):
            continue  # computed by llama.cpp; the same values as the embeddings
        if name not in allowed:
            raise ExportError(f"{tensor.file}: {name} is no tensor of a {family.architecture} model")
        expected = tuple(config.sizes[size] for size in allowed[name])
        if tensor.shape != expected:
            raise ExportError(f"{tensor.file}: {name} is {tensor.shape}, and by config.json it should be {expected}")
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert gguf_name, name  # the families' names are the name map's
        paired = name.split(".", 3)[-1].startswith(family.rotated_in_pairs)
        target = F16 if len(tensor.shape) > 1 else F32  # llama.cpp computes with norms and biases in f32
        yield gguf_name, Converted(tensor, target, config.head_width if paired else 0)


def _shapes(config: ModelConfig, family: Family, tied: bool) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Name > shape of the tensors that must be there, and of those that may."""
    layers = [f"model.layers.{number}." for number in range(config.num_hidden_layers)]
    required = BODY | ({} if tied else {HEAD: BODY["model.embed_tokens.weight"]})
    required = required | {layer + name: shape for layer in layers for name, shape in family.layer.items()}
    return required, required | {layer + name: shape for layer in layers for name, shape in family.optional.items()}


def _add_metadata(writer: "GGUFWriter", model: Path, name: str | None) -> None:
    """What the file is called and where it comes from: the model card's, the folder's, generation_config.json's."""
    from gguf import GGUFType, Metadata, size_label

    total, shared, expert, experts = writer.get_total_parameter_count()
    try:
        metadata = Metadata.load(None, model, name, total)
    except Exception as error:  # gguf parses README.md's front matter with asserts; a bad card must not stop an export
        log.warning("%s: the model card could not be read (%s); only the name goes into the file", model, error)
        metadata = Metadata(name=name)
    metadata.name = metadata.name or model.name
    metadata.size_label = metadata.size_label or size_label(total, shared, expert, experts)
    writer.add_type(GGUFType.MODEL)
    metadata.set_gguf_meta_model(writer)


def _add_shape(writer: "GGUFWriter", config: ModelConfig, family: Family) -> None:
    writer.add_block_count(config.num_hidden_layers)
    if config.max_position_embeddings:
        writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads or config.num_attention_heads)
    if config.rope.rope_type in ("linear", "yarn"):  # llama3's stretching is in a tensor
        _add_stretching(writer, config.rope)
    writer.add_rope_freq_base(config.rope.rope_theta or 0.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.head_dim or family.tells_head_width:
        writer.add_key_length(config.head_width)
        writer.add_value_length(config.head_width)


def _add_stretching(writer: "GGUFWriter", rope: Rope) -> None:
    from gguf import RopeScalingType

    if rope.factor is None or (rope.rope_type == "yarn" and rope.original_max_position_embeddings is None):
        raise ExportError(f"config.json: rope type {rope.rope_type!r} lacks factor or original_max_position_embeddings")
    writer.add_rope_scaling_type(RopeScalingType(rope.rope_type))
    writer.add_rope_scaling_factor(rope.factor)
    if rope.rope_type == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope.original_max_position_embeddings or 0)
        for value, add in (
            (rope.extrapolation_factor, writer.add_rope_scaling_yarn_ext_factor),
            (rope.attention_factor, writer.add_rope_scaling_yarn_attn_factor),
            (rope.beta_fast, writer.add_rope_scaling_yarn_beta_fast),
            (rope.beta_slow, writer.add_rope_scaling_yarn_beta_slow),
        ):
            if value is not None:
                add(value)


def _require_space(out: Path, weights: int) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    needed, free = int(weights * SPARE), shutil.disk_usage(out.parent).free
    if needed > free:
        raise ExportError(
            f"{out.parent}: {needed / 1e9:.1f} GB needed for the f16 file, {free / 1e9:.1f} GB free; "
            "make room or set another home"
        )
