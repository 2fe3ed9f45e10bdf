"""
The README.md of a tuned model, as the Hugging Face Hub reads it: metadata first, then the page.

The metadata is also what `publish` goes by: what the card does not say is not known. A licence
that is not stated is 'unknown' there and "not stated" on the page, never a guess.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError
from yaml import YAMLError

from understudy.config import Config
from understudy.dataset.card import LABEL, NOT_STATED, PERMISSION
from understudy.errors import ConfigError
from understudy.records import AdapterCard, BaseCard, Interval, ParityReport, Scorecard
from understudy.text.table import table
from understudy.text.words import counted

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

SCRATCH = "scratch"
"""No licence at all: the base was made on the spot."""
LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "Llama 3.2 Community": "llama3.2", "Gemma Terms of Use": "gemma"}
"""What the tested bases' licences are called on the Hub."""
TAGS = ["ai-generated-text", "style-imitation", "question-answering", "lora", "gguf", "mlx", "understudy"]
METRIC_TYPES = {"perplexity": "perplexity", "nll_per_token": "loss"}
SETTINGS = (
    "rank", "alpha", "dropout", "num_layers", "learning_rate", "lr_scheduler", "batch_size",
    "gradient_accumulation_steps", "seed",
)  # fmt: skip
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


@dataclass(frozen=True)
class About:
    """What a card is written from."""

    config: Config
    scorecard: Scorecard
    base: BaseCard
    adapter: AdapterCard
    files: Mapping[str, tuple[str, int]]
    """Type > name and bytes of each exported file."""
    summary: str
    """The scorecard as markdown."""
    counts: Mapping[str, int]
    """talks, pairs and kept, train, valid and test rows."""
    languages: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    parity: ParityReport | None = None

    @property
    def licence(self) -> str | None:
        """The base's licence in the Hub's words, SCRATCH for a base made on the spot, None when it is not stated."""
        stated = self.config.publish.base_licence or self.base.notes.get("licence")
        return SCRATCH if self.base.name == SCRATCH else LICENCES.get(str(stated), str(stated) if stated else None)


class Statement(BaseModel):
    """What a card says of its model, for programs."""

    model_config = ConfigDict(extra="ignore")
    channel: str
    run: str
    permission: str | None
    base: str
    base_licence: str | None


def write(about: About) -> str:
    """The whole README.md."""
    return f"---\n{_metadata(about)}\n---\n\n" + "\n\n".join(part for part in _page(about) if part) + "\n"


def read(file: Path) -> Statement:
    """What the card in `file` says. Raises ConfigError when its metadata is not what we write, or the Hub reads."""
    from huggingface_hub import ModelCard

    again = "score the model again with `understudy run`, which writes it"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{file.parent} holds no {file.name}: a model goes with its card; {again}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file} cannot be read ({error}); {again}"]) from None
    try:
        # The Hub's library has no annotations here.
        data = ModelCard(text).data.to_dict() if text.startswith("---") else {}  # type: ignore[no-untyped-call]  # not typed there
        return Statement.model_validate(data.get("understudy"))
    except ValidationError:
        raise ConfigError(
            [f"{file} lacks the metadata that say whose talks and which base it is of; {again}"]
        ) from None
    except (ValueError, AttributeError, YAMLError) as error:
        why = " ".join(str(error).split())
        raise ConfigError([f"the metadata of {file} cannot be read ({why}); {again}"]) from None


def _metadata(about: About) -> str:
    from huggingface_hub import ModelCardData

    known = about.licence not in (None, SCRATCH)
    data = ModelCardData(
        model_name=about.config.name,
        base_model=about.base.name if _REPOSITORY.match(about.base.name) else None,
        license=about.licence if known else (about.config.licence or "unknown"),
        language=sorted(set(about.languages)) or None,
        library_name="mlx",
        pipeline_tag="text-generation",
        tags=TAGS,
        datasets=[about.config.publish.dataset] if about.config.publish.dataset else None,
        eval_results=_results(about),
        understudy=Statement(
            channel=about.config.name,
            run=about.scorecard.run,
            permission=about.config.permission,
            base=about.base.name,
            base_licence=about.licence,
        ).model_dump(),
    )
    return data.to_yaml().strip()


def _results(about: About) -> list["EvalResult"] | None:
    """The tuned model's numbers where they are numbers; the Hub shows them beside the card."""
    from huggingface_hub import EvalResult

    tuned = next((c for name in ("fused", "adapter") for c in about.scorecard.candidates if c.name == name), None)
    numbers = tuned.metrics.items() if tuned else ()
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out-talks",
            dataset_name=f"held-out talks of {about.config.name}",
            dataset_split="test",
            metric_type=METRIC_TYPES.get(name, name),
            metric_name=name.replace("_", " "),
            metric_value=round(interval.value, 4),
        )
        for name, interval in numbers
        if math.isfinite(interval.value)
    ] or None


def _page(about: About) -> list[str]:
    return [
        f"# {about.config.name}: a small model tuned on {about.config.plugin('recipe').UNIT}s",
        f"**{_by_whom(about)}** {LABEL}",
        "## Permission",
        f"`permission: {about.config.permission or NOT_STATED}`. {PERMISSION[about.config.permission]}",
        *_from_texts(about),
        "## The base and its licence",
        _base(about),
        "## What it was tuned on",
        _data(about),
        "## How it was trained",
        _training(about.adapter),
        "## Results",
        about.summary.strip().replace("## ", "### ", 1),
        _parity(about),
        "## How to run it",
        _programs(about),
        "## Limits",
        _limits(about),
    ]


def _by_whom(about: About) -> str:
    if about.config.plugin("recipe").closed_book:
        return "Written by AI from manuals, not by the people who are responsible for them."
    return "Written by AI in the style of the talks, not by the person who gave them."


def _from_texts(about: About) -> list[str]:
    """What a model needs that answers from passages; nothing for the others."""
    if not about.config.plugin("recipe").retrieves:
        return []
    system = about.config.plugin("recipe").system()
    return [
        "## What it needs",
        "It answers **from passages that come with the question**, not from memory: a system text, then each passage "
        "under its title, then `Question: ...`. `understudy chat` and `understudy serve` find the passages "
        "and put them there; other programs have to. Without passages its answers mean nothing.",
        f"The system text: {system}",
    ]


def _base(about: About) -> str:
    if about.licence == SCRATCH:
        licence = about.config.licence or NOT_STATED
        return f"A tiny model made from the talks themselves, for trying things out. Licence of the model: {licence}."
    name = f"[{about.base.name}](https://huggingface.co/{about.base.name})"
    place = "GGUF file" if "quantization" in about.base.notes else "folder"
    named = name if _REPOSITORY.match(about.base.name) else f"the {place} `{about.base.name}`"
    kind = f"{about.base.architecture}, {about.base.parameters:,} parameters" + ", quantized" * about.base.quantized
    built = "\n\nBuilt with Llama." if (about.licence or "").startswith("llama") else ""
    terms = "Its terms hold for this model too."
    return f"Base: {named} ({kind}). Licence of the base: **{about.licence or NOT_STATED}**. {terms}{built}"


def _data(about: About) -> str:
    count, languages = about.counts, ", ".join(sorted(set(about.languages))) or NOT_STATED
    dataset = about.config.publish.dataset
    where = f"The dataset: [{dataset}](https://huggingface.co/datasets/{dataset})." if dataset else ""
    unit = about.config.plugin("recipe").UNIT
    source = "whole transcripts" if unit == "talk" else f"whole {unit}s"
    return (
        f"{count['kept']} question-and-answer pairs from {counted(count['talks'], unit)} ({count['pairs']} before the "
        f"quality gates), written from {source} by `{about.config.teacher.use}`: {count['train']} train, "
        f"{count['valid']} valid, {count['test']} test rows. Language: {languages}. The {unit}s are not "
        f"part of the model's files. {where}"
    ).strip()


def _training(adapter: AdapterCard) -> str:
    rows = {name: adapter.settings[name] for name in SETTINGS if adapter.settings.get(name) is not None}
    rows |= {
        "trainable parameters": f"{adapter.trainable_parameters:,}",
        "steps": adapter.steps,
        "epochs": f"{adapter.epochs:.2f}",
        "weights kept": f"iteration {adapter.best_iteration}",
        "valid loss": f"{adapter.base_valid_loss:.3f} (base) to {adapter.best_valid_loss:.3f} (tuned)",
    }
    return table(["LoRA", ""], [[name.replace("_", " "), str(value)] for name, value in rows.items()])


def _parity(about: About) -> str:
    """Whether each file is the model that was trained, by the parity check where it was made."""
    if about.parity is None:
        return ""

    def rounded(value: Interval | None) -> str:
        return f"{value.value:.4f}" if value else ""

    rows = [
        [
            f"{check.reference} → {check.name}",
            rounded(check.nll_change),
            rounded(check.kl),
            rounded(check.top1_agreement),
            f"refused: {check.refused}" if check.refused else "as trained",
        ]
        for check in about.parity.checks
        if check.reference
    ]
    return "### Is each file what was trained?\n\n" + table(
        ["file", "change of loss, nats per token", "KL, nats per token", "top-1 agreement", ""], rows
    )


def _programs(about: About) -> str:
    name, files = about.config.name, {k: v for k, v in about.files.items() if k not in about.refused}
    if not files:
        return "No file is offered: each was refused by the parity check."
    file = min(files.values(), key=lambda known: known[1])[0]
    kept = table(["file", "type", "MB"], [[f"`{f}`", kind, f"{size / 1e6:,.1f}"] for kind, (f, size) in files.items()])
    ways = {
        "llama.cpp": f"llama-cli -m {file} -cnv",
        "Ollama": f"ollama create {name} -f {file.removesuffix('.gguf')}.Modelfile\nollama run {name}",
        "LM Studio": f"lms import {file}",
        "mlx-lm": "mlx_lm.chat --model .            # in the folder that holds config.json",
        "Understudy": f"understudy chat {file}",
    }
    return f"{kept}\n\n" + "\n\n".join(f"**{way}**\n\n```sh\n{line}\n```" for way, line in ways.items())


def _limits(about: About) -> str:
    unit, compared = about.config.plugin("recipe").UNIT, about.scorecard.against_retrieval
    limits = [
        "It imitates a manner. What it states may be wrong, out of date, or never said by anyone.",
        compared.sentence
        if compared
        else f"It knows no more than its base does; the {unit}s are not looked up when it answers.",
        f"It was measured on {counted(about.scorecard.test_pairs, 'question')} of "
        f"{counted(about.scorecard.test_documents, f'held-out {unit}')} "
        "only; a verdict 'not enough data' means just that.",
    ]
    if not about.scorecard.honest:
        limits.append(f"The held-out questions come from {unit}s it was trained on: the scorecard shows no learning.")
    worse = [name for name, word in about.scorecard.verdicts.items() if word == "worse"]
    limits += [f"{name.replace('_', ' ')}: **worse** than the base." for name in worse]
    if about.licence == SCRATCH:
        limits.append("The base is a toy of a few million weights: its sentences are not worth reading.")
    limits += [f"Not offered: {kind}, because {why}" for kind, why in about.refused.items()]
    return "\n".join(f"- {limit}" for limit in limits)
