"""
The data dictionary: what is on disk, where, what it is made of, and which stage makes it.

Reading this table from top to bottom is reading the pipeline. `understudy.graph` derives from it what is stale, the
order of a run and what `--only` needs.

    inputs         assets whose contents it is made of: 'name'; 'name*', of every talk, candidate or file there is;
                   'name?', where the run has it. A name that no row has ('model') is given by the caller
    settings       sections of the preset it depends on
    written_with   assets that the same task writes just before it
    when           value of the preset that must be set for the asset to be part of a run
    replaces       asset that it stands in for, once it is part of a run

A change in any of inputs, settings or the stage's VERSION makes an asset stale. Paths are relative to the home folder.
"""

import re
from typing import NamedTuple

from understudy import records

TALK = "data/{channel}/documents/{document}"
DATASET = "data/{channel}/dataset"
RUN = "models/{channel}/{run}"


class Asset(NamedTuple):
    """One row of the catalog."""

    record: type[records.Record] | None
    path: str
    stage: str
    settings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    written_with: tuple[str, ...] = ()
    when: str | None = None
    replaces: str | None = None


_SPLIT = ("split", "seed")
_EVERY_TALK = ("document*", "questions*", "answers*")

CATALOG: dict[str, Asset] = {
    "document": Asset(records.Document, f"{TALK}/document.json", "collect", ("source",)),
    "questions": Asset(
        records.Questions, f"{TALK}/questions.json", "extract_questions", ("teacher", "questions"), ("document",)
    ),
    "answers": Asset(
        records.Answers, f"{TALK}/answers.json", "generate_answers", ("teacher",), ("document", "questions")
    ),
    "gated": Asset(records.Pair, f"{DATASET}/gated.parquet", "gate", ("gates",), _EVERY_TALK, when="verify.on"),
    "verified": Asset(
        records.Verified, f"{TALK}/verified.json", "verify", ("verify", "seed"), ("document", "questions", "answers")
    ),
    "verdicts": Asset(records.Verdicts, f"{TALK}/verdicts.json", "gate", ("gates",)),
    "passages": Asset(
        records.Passage, f"{DATASET}/passages.parquet", "cut_passages", ("recipe",), ("document*",), when="composes"
    ),
    "talk_pairs": Asset(
        records.Pair,
        f"{DATASET}/talk_pairs.parquet",
        "gate",
        ("gates",),
        (*_EVERY_TALK, "gated?", "verified*"),
        when="composes",
    ),
    "composed": Asset(
        records.Pair,
        f"{DATASET}/composed.parquet",
        "compose",
        ("recipe", *_SPLIT),
        ("talk_pairs", "passages", "document*"),
        ("assignment",),
        when="composes",
    ),
    "assignment": Asset(records.SplitPlan, f"{DATASET}/assignment.json", "compose"),
    "pairs": Asset(
        records.Pair,
        f"{DATASET}/pairs.parquet",
        "gate",
        ("gates",),
        (*_EVERY_TALK, "gated?", "verified*", "composed?"),
    ),
    "split": Asset(
        records.SplitPlan,
        f"{DATASET}/split.json",
        "split",
        _SPLIT,
        ("pairs", "passages?"),
        ("train", "valid", "test"),
    ),
    "train": Asset(records.ChatExample, f"{DATASET}/train.jsonl", "split", _SPLIT),
    "valid": Asset(records.ChatExample, f"{DATASET}/valid.jsonl", "split", _SPLIT),
    "test": Asset(records.ChatExample, f"{DATASET}/test.jsonl", "split", _SPLIT),
    "contradictions": Asset(
        records.Contradictions,
        f"{DATASET}/contradictions.json",
        "contradict",
        ("verify",),
        ("pairs", "passages", "document*"),
        when="seeks_contradictions",
    ),
    "gold": Asset(
        records.GoldRow,
        f"{DATASET}/gold.jsonl",
        "gold",
        ("recipe",),
        ("pairs", "split", "document*", "contradictions?"),
        ("rejects",),
        when="closed_book",
    ),
    "rejects": Asset(records.RejectedRow, f"{DATASET}/rejects.jsonl", "gold", ("recipe",)),
    "combined": Asset(records.Combined, f"{DATASET}/combined.json", "combine"),
    "variants": Asset(records.Variant, f"{DATASET}/variants.jsonl", "augment", ("augment", "seed")),
    "augmented": Asset(
        records.ChatExample,
        f"{DATASET}/train-augmented.jsonl",
        "augment",
        ("augment", "seed"),
        ("pairs", "split", "document*", "base?"),
        ("variants",),
        when="augment.on",
        replaces="train",
    ),
    "description": Asset(
        records.DescriptionCard,
        f"{DATASET}/description/",
        "describe",
        (),
        ("pairs", "split", "contradictions?"),
        ("pairs_page",),
    ),
    "pairs_page": Asset(records.DescriptionCard, f"{DATASET}/pairs.md", "describe"),
    "format": Asset(
        records.FormatCard,
        f"{DATASET}/formats/{{format}}/",
        "write_format",
        ("permission", "licence", "base", "trainer", "seed"),
        ("pairs", "split", "description", "augmented?"),
    ),
    "dataset_card": Asset(None, f"{DATASET}/README.md", "split"),
    "base": Asset(records.BaseCard, "models/bases/{base}/", "prepare_base", ("base", "seed"), ("pairs", "split")),
    "trial": Asset(
        records.TrialCard, "models/{channel}/tune/{trial}/", "tune", ("trainer", "seed"), ("base", "train", "valid")
    ),
    "adapter": Asset(
        records.AdapterCard,
        f"{RUN}/adapter/",
        "train",
        ("trainer", "seed"),
        ("base", "train", "valid"),
        ("run", "lora"),
    ),
    "snapshot": Asset(records.Snapshot, "data/{channel}/dataset@{digest}/", "train"),
    "run": Asset(records.RunRecord, f"{RUN}/run.json", "train", ("trainer", "seed")),
    "lora": Asset(None, f"{RUN}/lora.yaml", "train", ("trainer", "seed")),
    "fused": Asset(records.FusedCard, f"{RUN}/fused/", "fuse", ("trainer",), ("base", "adapter")),
    "f16": Asset(records.GgufCard, f"{RUN}/gguf/{{channel}}-{{type}}.gguf", "convert", ("export",), ("fused",)),
    "importance": Asset(
        records.ImportanceCard,
        f"{RUN}/importance/",
        "importance",
        ("export",),
        ("fused", "train"),
        when="export.importance",
    ),
    "gguf": Asset(
        records.GgufCard,
        f"{RUN}/gguf/{{channel}}-{{type}}.gguf",
        "quantize",
        ("export",),
        ("f16", "importance?"),
    ),
    "adapter_file": Asset(
        records.LoraFileCard,
        f"{RUN}/gguf/{{channel}}-adapter.gguf",
        "convert_adapter",
        ("export",),
        ("base", "adapter"),
    ),
    "modelfile": Asset(None, f"{RUN}/gguf/{{channel}}-{{type}}.Modelfile", "quantize"),
    "samples": Asset(records.Sample, f"{RUN}/samples/{{candidate}}.jsonl", "answer", (), ("model", "lora?", "test")),
    "parity": Asset(
        records.ParityReport,
        f"{RUN}/parity.json",
        "parity",
        ("seed",),
        ("base", "adapter", "fused", "file*", "sample*"),
    ),
    "base_file": Asset(
        records.GgufCard, "models/bases/{base}.scoring/{type}.gguf", "convert_base", ("export",), ("base",)
    ),
    "suites": Asset(records.SuiteAnswers, "models/{place}/suites.json", "ask_suites", (), ("model", "lora?")),
    "drift": Asset(
        records.Drift, f"{RUN}/drift.jsonl", "measure_drift", (), ("base", "adapter", "suites/base", "samples/adapter")
    ),
    "judgements": Asset(
        records.Judgement,
        f"{RUN}/judgements.jsonl",
        "judge",
        (),
        ("pairs", "split", "test", "samples/adapter", "samples/base"),
        when="evaluate.judge.on",
    ),
    "grades": Asset(
        records.Grade,
        f"{RUN}/grades.jsonl",
        "grade",
        (),
        ("pairs", "split", "test", *(f"samples/{name}" for name in records.ARMS)),
        when="marks_answers",
    ),
    "scorecard": Asset(
        records.Scorecard,
        f"{RUN}/scorecard.json",
        "score",
        ("evaluate", "seed"),
        ("pairs", "split", "samples*", "parity", "suites*", "drift?", "judgements?", "grades?"),
        ("report",),
    ),
    "report": Asset(None, f"{RUN}/report.html", "score"),
    "model_card": Asset(None, f"{RUN}/README.md", "score"),
    "trained_on": Asset(records.TrainedOn, f"{RUN}/trained_on.json", "promote"),
    "challenge": Asset(
        records.Challenge,
        f"{RUN}/challenge.json",
        "promote",
        ("evaluate", "seed"),
        ("pairs", "split", "champion_samples", "challenger_samples"),
    ),
}
WRITTEN_BY = {part: name for name, asset in CATALOG.items() for part in asset.written_with}
"""Asset > the one whose task writes it."""

_PARTS = {"{place}": "[^/]+/[^/]+"}
_PATHS = [
    re.compile("".join(_PARTS.get(part, "[^/]+") if part[:1] == "{" else re.escape(part) for part in parts))
    for parts in (re.split(r"({\w+})", asset.path) for asset in CATALOG.values())
]


def is_asset(path: str) -> bool:
    """Whether an asset may lie at `path`, relative to the home folder."""
    names = path.removesuffix("/").split("/")
    return not {"", ".", ".."}.intersection(names) and any(known.fullmatch(path) for known in _PATHS)
