"""A Hugging Face folder as one f16 GGUF file, with numpy and the gguf package only: a chunk of one tensor in memory."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from understudy.errors import ExportError
from understudy.exporters.gguf_quantize import LOG_LINES_SHOWN, replacing, require_space
from understudy.exporters.gguf_write import write
from understudy.gguf import families, layout, weights
from understudy.gguf.families import HEAD, Family, ModelConfig
from understudy.gguf.families._shape import add_shape
from understudy.gguf.tokenizer import Tokenizer
from understudy.gguf.weights import BLOCKS, Converted, Stored
from understudy.interfaces import Progress

if TYPE_CHECKING:
    from gguf import GGUFWriter

F32 = np.dtype("<f4")
TYPES = ("F16", "BF16", "Q8_0")
SPARE = 1.05
log = logging.getLogger("understudy")


def convert(
    model: Path, out: Path, name: str | None, progress: Progress, type: str = "F16", llama_cpp_dir: Path | None = None
) -> None:
    """Write the folder `model` as the file `out`, its matrices as `type`; `name` is what programs show.

    A model of no family here is converted by llama.cpp's own program when `llama_cpp_dir` is its
    folder. Every check that needs no weights comes before the first byte is written. Raises ExportError.
    """
    if type not in TYPES:
        raise ExportError(f"{type!r} cannot be written directly; choose from {', '.join(TYPES)}, or quantize the F16")
    if llama_cpp_dir and families.kind(model) not in families.known():
        _convert_by_llama_cpp(model, out, type, llama_cpp_dir, progress)
        return
    from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, LlamaFileType

    config, family = families.read(model)
    tokenizer = Tokenizer(model, config)
    tensors = dict(_tensors(config, family, weights.index(model), type))
    writer = GGUFWriter(None, family.architecture)
    for gguf_name, tensor in tensors.items():
        if isinstance(tensor, Converted):
            kind = GGMLQuantizationType[tensor.type]
            writer.add_tensor_info(gguf_name, tensor.stored.shape, F32, tensor.nbytes, raw_dtype=kind)
        else:
            writer.add_tensor_info(gguf_name, tensor.shape, tensor.dtype, tensor.nbytes)
    _add_metadata(writer, model, name)
    add_shape(writer, config, family)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{type}"])
    family.add_keys(writer, config)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    tokenizer.write(writer)
    require_space(out, SPARE * sum(tensor.nbytes for tensor in tensors.values()), type)
    write(writer, out, tensors, progress)


def require_writable(model: Path, llama_cpp_dir: Path | None = None) -> None:
    """Raise ExportError now for everything that `convert` would refuse of the folder later; reads no weights."""
    if llama_cpp_dir and families.kind(model) not in families.known():
        return
    config, family = families.read(model)
    Tokenizer(model, config)
    if not _is_quantized(model):  # what is fused from it has plain weights
        dict(_tensors(config, family, weights.index(model), "F16"))


def _is_quantized(model: Path) -> bool:
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return "quantization" in config or "quantization_config" in config


def write_vocabulary(model: Path, out: Path) -> None:
    """Write tokenizer and chat template of the folder `model` as a GGUF file without weights. Raises ExportError."""
    from gguf import GGUFType, GGUFWriter

    config, family = families.read(model)
    writer = GGUFWriter(None, family.architecture)
    writer.add_type(GGUFType.MODEL)
    writer.add_name(model.name)
    add_shape(writer, config, family)
    family.add_keys(writer, config)
    Tokenizer(model, config).write(writer)
    write(writer, out, {}, lambda done, total, note="": None)


def _tensors(
    config: ModelConfig, family: Family, stored: dict[str, Stored], type: str
) -> "Iterator[tuple[str, Converted | np.ndarray]]":
    """GGUF name > tensor, in the order of the file. Every one the family needs is there, and no other."""
    tied = config.tie_word_embeddings if config.tie_word_embeddings is not None else HEAD not in stored
    if family.mlx_layer and not any(part in name for part in family.split_into for name in stored):
        family = replace(family, layer=family.mlx_layer, split_into={})
    required, allowed = layout.shapes(config, family, tied)
    missing = [name for name in required if name not in stored]
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ExportError(f"the model has no tensor {', '.join(missing[:3])}{rest}; fuse or download it again")
    yield from family.make_tensors(config).items()
    named = layout.names(config, family)
    for name, tensor in stored.items():
        if name.endswith(".rotary_emb.inv_freq") or (tied and name == HEAD):
            continue  # computed by llama.cpp; the same values as the embeddings
        if name not in allowed:
            raise ExportError(f"{tensor.file}: {name} is no tensor of a {family.architecture} model")
        expected = tuple(config.sizes[size] for size in allowed[name])
        if tensor.shape != expected:
            raise ExportError(f"{tensor.file}: {name} is {tensor.shape}, and by config.json it should be {expected}")
        matrix = len(tensor.shape) > 1  # llama.cpp computes with norms and biases in f32
        fits = expected[-1] % BLOCKS[type][0] == 0  # where it does not, llama.cpp's converter takes f16 too
        kind = "F32" if not matrix else type if fits else "F16"
        gguf_names = named(name)
        rows = config.head_width if layout.in_pairs(family, name) else 0
        added = family.norm_offset if name.endswith("norm.weight") else 0.0
        for gguf_name, part in zip(gguf_names, tensor.parts(len(gguf_names)), strict=True):
            yield gguf_name, Converted(part, kind, rows, added)


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


def _convert_by_llama_cpp(model: Path, out: Path, type: str, folder: Path, progress: Progress) -> None:
    """Let llama.cpp's converter write `out`, with the Python of a virtual environment in or beside its folder."""
    program = folder / "convert_hf_to_gguf.py"
    if not program.is_file():
        raise ExportError(f"llama_cpp_dir {folder}: holds no convert_hf_to_gguf.py; name the folder of llama.cpp")
    own = [place / "bin" / "python" for place in (folder / ".venv", folder / "venv", folder.parent / "venv")]
    python = next((str(file) for file in own if file.exists()), sys.executable)
    out.parent.mkdir(parents=True, exist_ok=True)
    progress(0, 1, "llama.cpp's converter")
    with replacing(out) as partial:
        arguments = [str(model.absolute()), "--outfile", str(partial.absolute()), "--outtype", type.lower()]
        command = [python, str(program), *arguments]
        process = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if process.returncode and "mtp" in process.stderr:  # some conversions for mlx lack the layers that draft ahead
            process = subprocess.run([*command, "--no-mtp"], capture_output=True, text=True, cwd=folder)
        if process.returncode or not partial.exists():
            tail = "\n".join(f"    {line}" for line in process.stderr.strip().splitlines()[-LOG_LINES_SHOWN:])
            lacks = "No module named" in process.stderr
            hint = f"; make a virtual environment {own[0].parents[1]} with llama.cpp's requirements" if lacks else ""
            raise ExportError(
                f"{program} could not convert {model} (code {process.returncode}){hint}. Its last lines:\n{tail}"
            )
    progress(1, 1)


def adapter(base: Path, adapter: Path, out: Path) -> None:
    """Write the LoRA weights of the folder `adapter` as the GGUF file `out`, for the GGUF file of `base`.

    llama.cpp takes it with --lora, Ollama as ADAPTER. `base` needs only its config.json; `adapter` is
    mlx-lm's: adapters.safetensors and adapter_config.json. Raises ExportError, also when the two do not fit.
    """
    from gguf import GGUFType, GGUFWriter

    config, family = families.read(base)
    scale = _lora_scale(adapter / "adapter_config.json")
    gains = dict(_gains(config, family, weights.tensors(adapter / "adapters.safetensors")))
    writer = GGUFWriter(None, family.architecture)
    ranks = {matrix.shape[0] for name, matrix in gains.items() if name.endswith(".lora_a")}
    if len(ranks) != 1:
        raise ExportError(f"{adapter}: ranks {sorted(ranks)}, and a GGUF adapter has exactly one; train with one rank")
    for name, matrix in gains.items():
        writer.add_tensor_info(name, matrix.shape, matrix.dtype, matrix.nbytes)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", scale * ranks.pop())  # llama.cpp divides by the rank
    writer.add_name(adapter.name)
    require_space(out, SPARE * sum(matrix.nbytes for matrix in gains.values()), "adapter's")
    write(writer, out, dict(gains), lambda done, total, note="": None)


def _lora_scale(file: Path) -> float:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        kind, scale = settings.get("fine_tune_type", "lora"), float(settings["lora_parameters"]["scale"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{file}: cannot be read as an adapter's settings ({error!r}); train again") from None
    if kind != "lora":
        raise ExportError(
            f"{file}: fine_tune_type {kind!r}; llama.cpp runs plain LoRA only: use the fused model's file"
        )
    return scale


def _gains(config: ModelConfig, family: Family, stored: dict[str, Stored]) -> "Iterator[tuple[str, np.ndarray]]":
    """GGUF name > matrix: a as [rank, inputs], b as [outputs, rank] in the order of the base's rows."""
    named, shapes = layout.names(config, family), layout.matrices(config, family)
    for stem in sorted({name.rpartition(".")[0] for name in stored}):
        a, b = (stored.get(f"{stem}.lora_{half}") for half in "ab")
        if (
            a is None
            or b is None
            or any(name not in (a.name, b.name) for name in stored if name.startswith(f"{stem}."))
        ):
            raise ExportError(f"the adapter holds more or less than lora_a and lora_b of {stem}; train plain LoRA")
        if (shape := shapes.get(f"{stem}.weight")) is None:
            raise ExportError(f"the adapter changes {stem}, which this base lacks: it was trained on another base")
        if (b.shape[-1], a.shape[0]) != shape:
            raise ExportError(
                f"the adapter's {stem} is {b.shape[-1]} x {a.shape[0]}, and the base's {shape[0]} x {shape[1]}: "
                "it was trained on another base"
            )
        down, up = np.ascontiguousarray(a.read().T), np.ascontiguousarray(b.read().T)
        if not (np.isfinite(down).all() and np.isfinite(up).all()):
            raise ExportError(f"the adapter's {stem} holds NaN or infinity; training went wrong: take an earlier one")
        if layout.in_pairs(family, f"{stem}.weight"):
            up = weights.interleaved(up, config.head_width, up.shape[1])
        gguf_names = named(f"{stem}.weight")
        for gguf_name, rows in zip(gguf_names, np.split(up, len(gguf_names)), strict=True):
            yield f"{gguf_name}.lora_a", down
            yield f"{gguf_name}.lora_b", rows
