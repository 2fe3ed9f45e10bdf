"""Fusing and GGUF files: against llama.cpp's own converter, and against the time it takes to copy as many bytes.

UNDERSTUDY_LLAMA_CPP names the folder of llama.cpp, with a virtual environment for its converter in or
beside it; every */hf beside it is a model both convert. Without it those figures are left out.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures import Figure
from understudy.exporters.gguf_convert import adapter

if TYPE_CHECKING:
    from understudy.records import ChatExample, Pair

ROOT = Path(__file__).resolve().parents[1]
LLAMA_CPP = Path(os.environ["UNDERSTUDY_LLAMA_CPP"]) if "UNDERSTUDY_LLAMA_CPP" in os.environ else None
ROUNDS, PAIRS, SHARDS, RANK = 3, 5, 4, 8
START = """
import sys, time; from pathlib import Path
import gguf, numpy
from benchmarks.figures import peak_mb
a, b, type, silent = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], lambda done, total, note="": None
"""
CONVERT = f"""{START}
from understudy.exporters.gguf_convert import convert
began = time.perf_counter()
convert(a, b, None, silent, type)
print(time.perf_counter() - began, peak_mb())
"""
QUANTIZE = f"""{START}
from understudy.exporters.gguf_quantize import quantize
quantize(a, b, type, silent)
print(peak_mb())
"""
FUSE = f"""{START}
from understudy.trainers.fuse import fuse
fuse(a, Path(type), b, silent)
print(peak_mb())
"""
THEIRS = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def figures() -> Iterator[Figure]:
    """Every figure of the group; about three minutes, more with llama.cpp's converter."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        yield from _small(Path(folder))
        yield from _side_by_side(Path(folder))
        yield from _gigabyte(Path(folder))


def _small(folder: Path) -> Iterator[Figure]:
    """Every file of a model as large as the demo's, by the stages as a run calls them, one after another."""
    from tests.models.exporters.gguf_models import silent
    from understudy.bases.scratch import ScratchBase
    from understudy.engines.llama_cpp import LlamaCppEngine
    from understudy.exporters.gguf import GgufExporter
    from understudy.stages import convert, fuse, quantize
    from understudy.trainers.mlx_lora import MlxLoraTrainer

    base, fused = folder / "base", folder / "fused"
    for model in (base, fused):
        model.mkdir()
    talk = " ".join(f"The {number} candles burn, and the wax of {number} melts." for number in range(2000))
    ScratchBase(ScratchBase.Options(steps=1)).prepare([talk], base, 7, silent)
    lora = _make_adapter(folder / "small-adapter", base)
    exporter, engine = GgufExporter(GgufExporter.Options()), LlamaCppEngine(LlamaCppEngine.Options())
    row, first = _row(), folder / "first.gguf"
    began = time.perf_counter()
    fuse.fuse(MlxLoraTrainer(MlxLoraTrainer.Options()), exporter, base, lora, fused, silent)
    convert.convert(exporter, engine, fused, first, "F16", row, silent)
    exporter.adapter(base, lora, folder / "lora.gguf", silent)
    for type in ("Q8_0", "Q4_K_M"):
        quantize.quantize(exporter, engine, first, folder / f"{type}.gguf", type, None, row, silent)
    yield Figure("demo_model_all_files_seconds", time.perf_counter() - began, "<=", 20)


def _row() -> "tuple[Pair, ChatExample]":
    """A held-out question with its answer."""
    from understudy.records import ChatExample, Message, Pair

    blank = dict.fromkeys(Pair.model_fields) | {"tags": [], "kept": True, "document_sha256": "0"}
    pair = Pair.model_construct(**blank | {"pair_id": "a-1", "document_id": "a", "question": "Why?", "answer": "Wax."})
    turns = [Message(role="user", content="Why?"), Message(role="assistant", content="Wax.")]
    return pair, ChatExample(messages=turns)


def _side_by_side(folder: Path) -> Iterator[Figure]:
    """The same models, converted by us and by llama.cpp; seconds and memory are of a whole process each."""
    program = LLAMA_CPP / "convert_hf_to_gguf.py" if LLAMA_CPP else None
    models = sorted(LLAMA_CPP.parent.glob("*/hf")) if LLAMA_CPP else []
    if program is None or not program.exists() or not models:
        reason = "is not set" if program is None else "has no converter" if not program.exists() else "has no */hf"
        print(f"export: no comparison with llama.cpp's converter: UNDERSTUDY_LLAMA_CPP {reason}", file=sys.stderr)
        return
    places = (program.parent / ".venv", program.parent / "venv", program.parent.parent / "venv")
    python = next((str(p / "bin/python") for p in places if (p / "bin/python").exists()), sys.executable)
    faster, leaner = [], []
    for model in models:
        seconds, peak = _best([sys.executable, "-c", CONVERT, str(model), str(folder / "ours.gguf"), "F16"])
        options = ["--outfile", str(folder / "theirs.gguf"), "--outtype", "f16"]
        their_seconds, their_peak = _best([python, "-c", THEIRS, str(program), str(model), *options])
        faster.append(their_seconds / seconds)
        leaner.append(peak / their_peak)
    yield Figure("models_beside_llama_cpp", len(models))
    yield Figure("times_faster_at_least", min(faster), ">=", 3)
    yield Figure("share_of_its_memory_at_most", max(leaner), "<=", 0.5)


def _gigabyte(folder: Path) -> Iterator[Figure]:
    """A bf16 model of one gigabyte: fused in several shards, written as f16, bf16 and Q8_0, quantized; its adapter."""
    model = folder / "gigabyte"
    _make_gigabyte(model)
    f16, other = folder / "f16.gguf", folder / "other.gguf"
    yield from _beside_a_copy(model, f16, other)
    seconds, peak = _best([sys.executable, "-c", CONVERT, str(model), str(other), "Q8_0"])
    yield Figure("convert_1gb_Q8_0_seconds", seconds)
    yield Figure("convert_1gb_Q8_0_peak_mb", peak)
    for type in ("Q8_0", "Q4_K_M"):
        seconds, peak = _best([sys.executable, "-c", QUANTIZE, str(f16), str(other), type], rounds=1)
        yield Figure(f"quantize_1gb_{type}_seconds", seconds)
        yield Figure(f"quantize_1gb_{type}_peak_mb", peak)
    lora = _make_adapter(folder / "adapter", model)
    began = time.perf_counter()
    adapter(model, lora, folder / "adapter.gguf")
    yield Figure("adapter_seconds", time.perf_counter() - began, "<=", 1)
    yield Figure("adapter_mb", (folder / "adapter.gguf").stat().st_size / 1e6)
    yield from _fused(folder, model, lora)


def _beside_a_copy(model: Path, f16: Path, bf16: Path) -> Iterator[Figure]:
    """Copying and converting in turn, each written to the disk, from a warm source onto a disk with nothing to do."""
    taken: dict[str, list[float]] = {"copy": [], "F16": [], "BF16": [], "peak": [], "F16 process": []}
    for _ in range(PAIRS):
        bf16.unlink(missing_ok=True)
        os.sync()
        taken["copy"].append(_copied(model / "model.safetensors", bf16))
        for type, out in (("F16", f16), ("BF16", bf16)):
            out.unlink(missing_ok=True)
            os.sync()
            began = time.perf_counter()
            seconds, peak = _run([sys.executable, "-c", CONVERT, str(model), str(out), type])
            taken[type].append(seconds)
            if type == "F16":
                taken["F16 process"].append(time.perf_counter() - began)
                taken["peak"].append(peak)
    bf16.unlink()
    median = {name: statistics.median(values) for name, values in taken.items()}
    yield Figure("copy_1gb_seconds", median["copy"])
    for type in ("F16", "BF16"):
        yield Figure(f"convert_1gb_{type}_seconds", median[type])
        yield Figure(f"convert_1gb_{type}_over_copy", median[type] / median["copy"], "<=", 1.5)
    yield Figure("convert_1gb_F16_process_seconds", median["F16 process"])
    yield Figure("convert_1gb_F16_peak_mb", median["peak"])


def _fused(folder: Path, model: Path, lora: Path) -> Iterator[Figure]:
    """The adapter merged into the same model in several shards: each is copied, then changed a few rows at a time."""
    sharded, out = folder / "sharded", folder / "fused-gigabyte"
    _make_gigabyte(sharded, SHARDS)
    largest = max(file.stat().st_size for file in sharded.glob("*.safetensors")) / 2**20
    runs = []
    for _ in range(ROUNDS):
        out.mkdir()
        runs.append(_best([sys.executable, "-c", FUSE, str(sharded), str(out), str(lora)], rounds=1))
        shutil.rmtree(out)
    seconds, peak = min(runs)
    yield Figure("fuse_1gb_seconds", seconds)
    yield Figure("fuse_1gb_peak_over_largest_shard", peak / largest, "<=", 2)


def _make_adapter(folder: Path, model: Path) -> Path:
    """Fill `folder` with gains for every matrix of every layer of the llama in `model`."""
    from safetensors.numpy import save_file

    from understudy.gguf import families, layout

    folder.mkdir()
    config, family = families.read(model)
    sizes = layout.matrices(config, family)
    gains, dice = {}, np.random.default_rng(3)
    for name, (outputs, inputs) in sizes.items():
        for half, shape in (("a", (inputs, RANK)), ("b", (RANK, outputs))):
            gains[f"{name.removesuffix('.weight')}.lora_{half}"] = dice.normal(0, 0.01, shape).astype(np.float32)
    save_file(gains, folder / "adapters.safetensors")
    settings = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": {"rank": RANK, "scale": 2.0}}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def _make_gigabyte(folder: Path, shards: int = 1) -> None:
    """A llama of random bf16 weights around the vocabulary of the tests."""
    from tests.models.exporters.gguf_models import make_tokenizer
    from understudy.gguf import families

    folder.mkdir()
    make_tokenizer(folder)
    config = {
        "model_type": "llama", "vocab_size": 640, "hidden_size": 2048, "intermediate_size": 8192, "rms_norm_eps": 1e-5,
        "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "tie_word_embeddings": True, "max_position_embeddings": 4096, "rope_theta": 10000.0,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    shape, dice = families.read(folder)[0], np.random.default_rng(7)
    names = dict(families.BODY) | {
        f"model.layers.{layer}.{name}": sizes for layer in range(8) for name, sizes in families.LAYER.items()
    }
    pool = (dice.normal(0, 0.02, 2**24).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    sides = {name: [shape.sizes[size] for size in sizes] for name, sizes in names.items()}
    listed, where = list(sides), {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        part = {
            name: sides[name] for name in listed[number * len(listed) // shards : (number + 1) * len(listed) // shards]
        }
        _write_shard(folder / file, part, pool)
        where |= dict.fromkeys(part, file)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def _write_shard(file: Path, sides: dict[str, list[int]], pool: np.ndarray) -> None:
    header, at = {}, 0
    for name, side in sides.items():
        end = at + 2 * int(np.prod(side))
        header[name] = {"dtype": "BF16", "shape": side, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with file.open("wb") as content:
        content.write(len(text).to_bytes(8, "little") + text)
        for side in sides.values():
            pool[: int(np.prod(side))].tofile(content)


def _copied(source: Path, out: Path) -> float:
    """Seconds to copy a file and have it on the disk, as a finished export is."""
    began = time.perf_counter()
    shutil.copyfile(source, out)
    with out.open("rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    out.unlink()
    return seconds


def _best(command: list[str], rounds: int = ROUNDS) -> tuple[float, float]:
    """Seconds of the whole process, and peak megabytes, of the fastest of some runs."""
    runs = []
    for _ in range(rounds):
        began = time.perf_counter()
        *_, peak = _run(command)
        runs.append((time.perf_counter() - began, peak))
    return min(runs)


def _run(command: list[str]) -> list[float]:
    """The numbers on the last line that a program prints."""
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{process.stderr[-2000:]}")
    return [float(number) for number in process.stdout.splitlines()[-1].split()]
