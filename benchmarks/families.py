"""
Which model families go all the way: trained, merged, written as GGUF, and computed alike by llama.cpp and mlx.

For each family transformers makes a tiny model of random weights, with SmolLM2's vocabulary; a few steps of LoRA over
all linear layers change it, and the file of the merged model is compared with what mlx computes. Families without a
file in `gguf/families` are written by llama.cpp's own converter (`make converter`), which also brings the torch that
transformers needs here. `python -m benchmarks.families` writes docs/families.md.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Figure
from tests.models.exporters.gguf_models import TEMPLATE, make_sentencepiece
from understudy.exporters.converter import VOCABULARY

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "families.md"
SIZES = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 2048, "vocab_size": 49152,
    "initializer_range": 0.06, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32,
          "linear_value_head_dim": 32}  # fmt: skip
UNTIED = {"tie_word_embeddings": False}
WINDOWS = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
ALIKE = 0.1  # the largest difference of a logit, over the spread of the logits


class Family(NamedTuple):
    """A family people tune, and how a tiny model of it is made."""

    type: str
    people_say: str
    changes: dict[str, Any] = {}
    trap: str = ""
    published: dict[str, Any] = {}
    """Settings under the names that published models have and transformers does not write any more."""


FAMILIES = (
    Family("llama", "Llama 3.x, SmolLM2", {}, "the template writes today's date; it is pinned"),
    Family("smollm3", "SmolLM3", {}, "thinking is on by default; switched off"),
    Family("qwen2", "Qwen2.5"),
    Family("qwen3", "Qwen3", {}, "the hybrids think by default; switched off"),
    Family("qwen3_5_text", "Qwen3.5",
           LINEAR | {"vocab_size": 151936, "layer_types": [*["linear_attention"] * 3, "full_attention"]},
           "linear attention: 0.8 of the speed where the vocabulary is as small", {"model_type": "qwen3_5"}),
    Family("gemma3_text", "Gemma 3 (text)",
           {"num_hidden_layers": 6, "layer_types": [*["sliding_attention"] * 5, "full_attention"],
            "query_pre_attn_scalar": 64, "sliding_window": 64},
           "no system role; 262,144 tokens make the head most of a small model"),
    Family("gemma4_text", "Gemma 4 (text)", {"layer_types": WINDOWS, "sliding_window": 64, "vocab_size": 578,
            "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 0}, "",
           {"rope_parameters": {"full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6,
                                                   "rope_type": "proportional"},
                                "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}},
            "global_head_dim": 512}),
    Family("gpt_oss", "gpt-oss", EXPERTS | UNTIED | {"layer_types": WINDOWS[2:] * 2, "sliding_window": 64},
           "experts stay in the 4 bits they are published in (mxfp4)",
           {"quantization_config": {"quant_method": "mxfp4"}}),
    Family("ministral3", "Ministral 3"),
    Family("mistral", "Mistral"),
    Family("phi3", "Phi-4-mini", {"sliding_window": None}),
    Family("granite", "Granite 3.3", {"attention_multiplier": 0.125}),
    Family("granitemoehybrid", "Granite 4 (micro)",
           {"num_local_experts": 0, "shared_intermediate_size": 512, "position_embedding_type": "rope",
            "attention_multiplier": 0.125, "layer_types": ["attention"] * 4},
           "h-micro and h-tiny have Mamba layers: llama.cpp's converter",
           {"layer_types": ["attention"] * 4}),
    Family("lfm2", "LFM2", {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False}, "",
           {"block_dim": 256, "block_ff_dim": 512, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0,
            "full_attn_idxs": [1, 3]}),
    Family("olmo2", "OLMo 2", UNTIED),
    Family("olmo3", "OLMo 3", UNTIED | {"layer_types": WINDOWS, "sliding_window": 64}),
    Family("ernie4_5", "ERNIE 4.5", {"use_bias": False}),
    Family("glm4", "GLM-4", UNTIED, "a turn ends where the next one begins", {"partial_rotary_factor": 0.5}),
    Family("qwen3_moe", "Qwen3-30B-A3B", EXPERTS | {"norm_topk_prob": True}, "attention is tuned, experts are not",
           {"num_experts": 4}),
    Family("mixtral", "Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2},
           "attention is tuned, experts are not"),
)  # fmt: skip

MAKE = """
import json, sys
import torch
from transformers import AutoConfig, AutoModelForCausalLM
kind, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
torch.manual_seed(7)
config = AutoConfig.for_model(kind, **settings)
model = AutoModelForCausalLM.from_config(config)
with torch.no_grad():
    for name, value in model.named_parameters():
        if value.ndim > 1:
            value.copy_(torch.randn_like(value) * 0.06)
model.save_pretrained(out)
"""


class Outcome(NamedTuple):
    """How far a family came; a step that failed says why."""

    trains: str = ""
    tokens_per_second: float = 0.0
    fuses: str = ""
    written_by: str = ""
    writes: str = ""
    difference: float | None = None


def make(family: Family, tokenizer: Path, out: Path, converter: Path) -> None:
    """A tiny model as transformers saves it, under the settings' names that published models have."""
    site = sysconfig.get_paths()["purelib"]
    command = [
        str(converter / "venv/bin/python"),
        "-c",
        MAKE,
        family.type,
        str(out),
        json.dumps(SIZES | family.changes),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": site})
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    if family.type == "qwen3_5_text":  # whose tokenizer transformers makes again from its words
        from understudy.bases import gguf_tokenizer
        from understudy.gguf import header

        file = converter / VOCABULARY
        gguf_tokenizer.write(file, header.read(file).metadata, out, None)
        shutil.copy(tokenizer / "chat_template.jinja", out)
        names = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8")) | {"eos_token": "<|im_end|>"}
        (out / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
        tokenizer = out
    if family.type == "gemma4_text":
        make_sentencepiece(out, "always")
        (out / "chat_template.jinja").write_text(TEMPLATE)
        words = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
        words["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
        (out / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
        tokenizer = out
    for file in tokenizer.iterdir() if tokenizer != out else ():
        if "token" in file.name or "template" in file.name:
            shutil.copy(file, out / file.name)
    settings = json.loads((out / "config.json").read_text(encoding="utf-8"))
    rope = settings.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    if "rope_theta" in rope:
        settings["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type", "default") != "default" and rope == settings["rope_parameters"]:
        settings["rope_scaling"] = rope
    if family.type == "qwen3_5_text":
        settings["text_config"] = dict(settings)
    (out / "config.json").write_text(json.dumps(settings | family.published), encoding="utf-8")
    if family.type == "gpt_oss":
        in_four_bits(out / "model.safetensors")
    if family.type == "glm4":
        for file in (out / "tokenizer.json", out / "tokenizer_config.json"):
            file.write_text(file.read_text(encoding="utf-8").replace("<repo_name>", "<|user|>"), encoding="utf-8")


def in_four_bits(file: Path) -> None:
    """gpt-oss's experts as they are published: blocks of 32 values in 4 bits, with a shared exponent each."""
    import mlx.core as mx

    weights = mx.load(str(file))
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = weights.pop(name).shape
        mx.random.seed(len(name))
        weights[f"{name}_blocks"] = mx.random.randint(0, 256, (experts, outputs, inputs // 32, 16)).astype(mx.uint8)
        weights[f"{name}_scales"] = mx.random.randint(121, 123, (experts, outputs, inputs // 32)).astype(mx.uint8)
    mx.save_safetensors(str(file), weights, metadata={"format": "pt"})


def goes(folder: Path, work: Path) -> Outcome:
    """Train, merge, write and compare."""
    from understudy.exporters.gguf import GgufExporter
    from understudy.trainers.mlx_lora import MlxLoraTrainer

    def silent(done: int, total: int, note: str = "") -> None: ...

    result = Outcome()
    rows = [{"messages": [{"role": "user", "content": f"What is the number after {n}?"},
                          {"role": "assistant", "content": f"**{n + 1}** comes after {n}, by counting. " * 3}]}
            for n in range(16)]  # fmt: skip
    for split in ("train", "valid"):
        (work / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = MlxLoraTrainer.Options.model_validate(
        {"rank": 8, "alpha": 64, "learning_rate": 3e-3, "epochs": 2, "batch_size": 4, "evaluations_per_epoch": 1}
    )
    trainer, exporter = MlxLoraTrainer(options), GgufExporter(GgufExporter.Options())
    try:
        card = trainer.train(folder, work / "train.jsonl", work / "valid.jsonl", work / "adapter", 5, silent)
        result = result._replace(trains="yes", tokens_per_second=card.tokens_per_second)
    except Exception as error:
        return result._replace(trains=short(error))
    try:
        (work / "fused").mkdir()
        trainer.fuse(folder, work / "adapter", work / "fused", silent)
        result = result._replace(fuses="yes")
    except Exception as error:
        return result._replace(fuses=short(error))
    result = result._replace(written_by="Understudy" if exporter.knows(work / "fused") else "llama.cpp's converter")
    try:
        exporter.convert(work / "fused", work / "model.gguf", "F16", silent)
        result = result._replace(writes="yes", difference=difference(work / "fused", work / "model.gguf"))
    except Exception as error:
        result = result._replace(writes=short(error))
    return result


def short(error: Exception) -> str:
    """The last line of what went wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()[:300]


def difference(folder: Path, file: Path) -> float:
    """The largest difference of a logit between mlx and llama.cpp at the middle position, over the spread of mlx's.

    Where two experts fit a token alike, rounding decides, and that position says nothing.
    """
    import llama_cpp
    import mlx.core as mx
    import numpy as np
    from mlx_lm.utils import load_model

    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    text = "**Why** does tea cool?\n\nBecause 12 things happen, and heat leaves the cup in three ways. " * 6
    other = llama_cpp.Llama(str(file), n_ctx=512, n_threads=2, verbose=False, logits_all=True)
    ids = other.tokenize(text.encode(), add_bos=False, special=True)
    other.eval(ids)
    ours, theirs = np.array(model(mx.array([ids]))[0].astype(mx.float32)), np.array(other.scores[: len(ids)])
    return float(np.median(np.abs(ours - theirs).max(axis=1)) / ours.std())


def one(name: str) -> Outcome:
    """A family in a process of its own: llama.cpp may end it."""
    program = "import sys, json; from benchmarks.families import here; here(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, cwd=ROOT)
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            return Outcome(**json.loads(line))
    return Outcome(trains=(done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1][:300])


def here(name: str) -> None:
    """Print the outcome of one family as JSON."""
    from understudy.exporters import converter

    place = converter.installed()
    if place is None:
        raise SystemExit("make converter comes first")
    family = next(one for one in FAMILIES if one.type == name)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        try:
            make(family, tokenizer(), work / "base", place)
            print(json.dumps(goes(work / "base", work)._asdict()))
        except Exception as error:
            print(json.dumps(Outcome(trains=f"no tiny model: {short(error)}")._asdict()))


def tokenizer() -> Path:
    """The demo's base, unpacked once."""
    from understudy.config import load
    from understudy.workspace import Workspace

    home = Path(tempfile.gettempdir()) / "understudy-families"
    workspace = Workspace(home=home, config=load(ROOT / "deployments/presets/demo.yaml"))
    out = home / "smollm2"
    if not (out / "tokenizer.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        workspace.config.plugin("base").prepare([], out, 0, lambda done, total, note="": None)
    return out


def table(outcomes: Sequence[tuple[Family, Outcome]]) -> str:
    """The outcomes as a page of markdown."""
    llama = next(o.tokens_per_second for f, o in outcomes if f.type == "llama") or 1.0
    lines = [
        "# Model families",
        "",
        "Made by `python -m benchmarks.families`: for each family a tiny model of random weights was trained,",
        "merged and written as GGUF, and what llama.cpp computes from the file was compared with what mlx computes.",
        "*Speed* is that of training against Llama's at the same size, on a CPU. *Written by*: Understudy itself,",
        "without torch, or llama.cpp's own converter, which `make converter` installs once.",
        "",
        "| family | `model_type` | trains | speed | GGUF written by | llama.cpp agrees | known trap |",
        "|---|---|---|--:|---|---|---|",
    ]
    for family, outcome in outcomes:
        alike = outcome.tokens_per_second and "vocab_size" not in family.changes  # the head is most of the work
        speed = f"{outcome.tokens_per_second / llama:.2f}" if alike else ""
        agrees = outcome.writes
        if outcome.difference is not None:
            agrees = "yes" if outcome.difference < ALIKE else f"**no** ({outcome.difference:.2f})"
        trains = outcome.trains if outcome.fuses in ("", "yes") else f"yes; merging: {outcome.fuses}"
        name = family.published.get("model_type", family.type)
        cells = (family.people_say, f"`{name}`", trains, speed, outcome.written_by, agrees, family.trap)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figures(only: Sequence[Family] = ()) -> Iterator[Figure]:
    """One figure per family: the largest difference of a logit over the spread of all; and the page."""
    from understudy.exporters import converter

    if converter.installed() is None:
        print("families: make converter comes first", file=sys.stderr)
        return
    outcomes = []
    for family in only or FAMILIES:
        outcomes.append((family, outcome := one(family.type)))
        print(family.type, outcome, file=sys.stderr, flush=True)
        if outcome.difference is not None:
            yield Figure(f"{family.type}_logit_difference", outcome.difference, "<=", ALIKE)
    if only:
        return
    TABLE.write_text(table(outcomes), encoding="utf-8")


if __name__ == "__main__":
    for figure in figures([one for one in FAMILIES if one.type in sys.argv[1:]]):
        print(figure.line(), flush=True)
