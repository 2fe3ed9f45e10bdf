"""GGUF files against llama.cpp's own converter, and against the time it takes to copy as many bytes.

UNDERSTUDY_LLAMA_CPP names the folder of llama.cpp, with a virtual environment for its converter in or
beside it; every */hf beside it is a model both convert. Without it those figures are left out.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from understudy.exporters.gguf_convert import adapter

ROOT = Path(__file__).resolve().parents[1]
LLAMA_CPP = Path(os.environ["UNDERSTUDY_LLAMA_CPP"]) if "UNDERSTUDY_LLAMA_CPP" in os.environ else None
ROUNDS = 3
START = """
import sys; from pathlib import Path
from benchmarks.figures import peak_mb
a, b, type, silent = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], lambda done, total, note="": None
"""
CONVERT = f"""{START}
from understudy.exporters.gguf_convert import convert
convert(a, b, None, silent, type)
print(peak_mb())
"""
QUANTIZE = f"""{START}
from understudy.exporters.gguf_quantize import quantize
quantize(a, b, type, silent)
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
    """Every figure of the group; about two minutes, more with llama.cpp's converter."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        yield from _side_by_side(Path(folder))
        yield from _gigabyte(Path(folder))


def _side_by_side(folder: Path) -> Iterator[Figure]:
    """The same models, converted by us and by llama.cpp; seconds and memory are of a whole process each."""
    program = LLAMA_CPP / "convert_hf_to_gguf.py" if LLAMA_CPP else None
    models = sorted(LLAMA_CPP.parent.glob("*/hf")) if LLAMA_CPP else []
    if program is None or not program.exists() or not models:
        reason = "is not set" if program is None else "has no converter" if not program.exists() else "has no */hf"
        print(f"export: nothing beside llama.cpp's converter: UNDERSTUDY_LLAMA_CPP {reason}", file=sys.stderr)
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
    """A bf16 model of one gigabyte: written as f16, bf16 and Q8_0, quantized, and its adapter."""
    model = folder / "gigabyte"
    _make_gigabyte(model)
    f16, other = folder / "f16.gguf", folder / "other.gguf"
    copy = min(_copied(model / "model.safetensors", other) for _ in range(ROUNDS))
    yield Figure("copy_1gb_seconds", copy)
    for type, limit in (("F16", 1.5), ("BF16", 1.5), ("Q8_0", None)):
        out = f16 if type == "F16" else other
        seconds, peak = _best([sys.executable, "-c", CONVERT, str(model), str(out), type])
        yield Figure(f"convert_1gb_{type}_seconds", seconds)
        yield Figure(f"convert_1gb_{type}_over_copy", seconds / copy, "<=" if limit else None, limit)
        yield Figure(f"convert_1gb_{type}_peak_mb", peak)
    for type in ("Q8_0", "Q4_K_M"):
        seconds, peak = _best([sys.executable, "-c", QUANTIZE, str(f16), str(other), type], rounds=1)
        yield Figure(f"quantize_1gb_{type}_seconds", seconds)
        yield Figure(f"quantize_1gb_{type}_peak_mb", peak)
    yield from _adapter(folder, model)


def _adapter(folder: Path, model: Path) -> Iterator[Figure]:
    from safetensors.numpy import save_file

    config = json.loads((model / "config.json").read_text())
    made, rank, hidden = folder / "adapter", 8, config["hidden_size"]
    made.mkdir()
    gains = {
        f"model.layers.{layer}.self_attn.{linear}.lora_{half}": np.ones(shape, np.float32)
        for layer in range(config["num_hidden_layers"])
        for linear in ("q_proj", "o_proj")
        for half, shape in (("a", (hidden, rank)), ("b", (rank, hidden)))
    }
    save_file(gains, made / "adapters.safetensors")
    (made / "adapter_config.json").write_text(json.dumps({"lora_parameters": {"scale": 2.0}}))
    began = time.perf_counter()
    adapter(model, made, folder / "adapter.gguf")
    yield Figure("adapter_seconds", time.perf_counter() - began, "<=", 1)
    yield Figure("adapter_mb", (folder / "adapter.gguf").stat().st_size / 1e6)


def _make_gigabyte(folder: Path) -> None:
    """A llama of random bf16 weights around the vocabulary of the tests."""
    from tests.models.exporters.gguf_models import make_tokenizer
    from understudy.exporters import gguf_families

    folder.mkdir()
    make_tokenizer(folder)
    config = {
        "model_type": "llama", "vocab_size": 640, "hidden_size": 2048, "intermediate_size": 8192, "rms_norm_eps": 1e-5,
        "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "tie_word_embeddings": True, "max_position_embeddings": 4096, "rope_theta": 10000.0,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    shape, dice = gguf_families.read(folder)[0], np.random.default_rng(7)
    names = dict(gguf_families.BODY) | {
        f"model.layers.{layer}.{name}": sizes for layer in range(8) for name, sizes in gguf_families.LAYER.items()
    }
    pool = (dice.normal(0, 0.02, 2**24).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    sides = {name: [shape.sizes[size] for size in sizes] for name, sizes in names.items()}
    header, at = {}, 0
    for name, side in sides.items():
        end = at + 2 * int(np.prod(side))
        header[name] = {"dtype": "BF16", "shape": side, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for side in sides.values():
            pool[: int(np.prod(side))].tofile(file)


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
    """Seconds and peak megabytes of the fastest of some runs."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        found.append((time.perf_counter() - began, float(done.stdout.split()[-1])))
    return min(found)
