"""
The data dictionary: what is on disk, where, which record it holds and which stage writes it.

Reading this table from top to bottom is reading the pipeline. `settings` are the sections of
the preset that an asset depends on; a change in one of them makes it stale. Paths are relative
to the home folder.
"""

import re
from typing import NamedTuple

from understudy import records


class Asset(NamedTuple):
    """One row of the catalog."""

    record: type[records.Record] | None
    path: str
    stage: str
    settings: tuple[str, ...] = ()


CATALOG: dict[str, Asset] = {
    "document": Asset(records.Document, "data/{channel}/documents/{document}/document.json", "collect", ("source",)),
    "questions": Asset(
        records.Questions,
        "data/{channel}/documents/{document}/questions.json",
        "extract_questions",
        ("teacher", "questions"),
    ),
    "answers": Asset(
        records.Answers, "data/{channel}/documents/{document}/answers.json", "generate_answers", ("teacher",)
    ),
    "judged": Asset(records.Pair, "data/{channel}/dataset/judged.parquet", "gate", ("gates",)),
    "verified": Asset(
        records.Verified, "data/{channel}/documents/{document}/verified.json", "verify", ("verify", "seed")
    ),
    "verdicts": Asset(records.Verdicts, "data/{channel}/documents/{document}/verdicts.json", "gate", ("gates",)),
    "pairs": Asset(records.Pair, "data/{channel}/dataset/pairs.parquet", "gate", ("gates",)),
    "split": Asset(records.SplitPlan, "data/{channel}/dataset/split.json", "split", ("split", "seed")),
    "train": Asset(records.ChatExample, "data/{channel}/dataset/train.jsonl", "split", ("split", "seed")),
    "valid": Asset(records.ChatExample, "data/{channel}/dataset/valid.jsonl", "split", ("split", "seed")),
    "test": Asset(records.ChatExample, "data/{channel}/dataset/test.jsonl", "split", ("split", "seed")),
    "variants": Asset(records.Variant, "data/{channel}/dataset/variants.jsonl", "augment", ("augment", "seed")),
    "augmented": Asset(
        records.ChatExample, "data/{channel}/dataset/train-augmented.jsonl", "augment", ("augment", "seed")
    ),
    "description": Asset(records.DescriptionCard, "data/{channel}/dataset/description/", "describe"),
    "format": Asset(
        records.FormatCard, "data/{channel}/dataset/formats/{format}/", "write_format", ("permission", "licence")
    ),
    "dataset_card": Asset(None, "data/{channel}/dataset/README.md", "split"),
    "base": Asset(records.BaseCard, "models/bases/{base}/", "prepare_base", ("base", "seed")),
    "adapter": Asset(records.AdapterCard, "models/{channel}/{run}/adapter/", "train", ("trainer", "seed")),
    "run": Asset(records.RunRecord, "models/{channel}/{run}/run.json", "train", ("trainer", "seed")),
    "trial": Asset(records.TrialCard, "models/{channel}/tune/{trial}/", "tune", ("trainer", "seed")),
    "fused": Asset(records.FusedCard, "models/{channel}/{run}/fused/", "fuse", ("trainer",)),
    "f16": Asset(records.GgufCard, "models/{channel}/{run}/gguf/{channel}-{type}.gguf", "convert", ("export",)),
    "gguf": Asset(records.GgufCard, "models/{channel}/{run}/gguf/{channel}-{type}.gguf", "quantize", ("export",)),
    "adapter_file": Asset(
        records.LoraFileCard, "models/{channel}/{run}/gguf/{channel}-adapter.gguf", "convert", ("export",)
    ),
    "importance": Asset(records.ImportanceCard, "models/{channel}/{run}/importance/", "importance", ("export",)),
    "modelfile": Asset(None, "models/{channel}/{run}/gguf/{channel}-{type}.Modelfile", "quantize"),
    "samples": Asset(records.Sample, "models/{channel}/{run}/samples/{candidate}.jsonl", "evaluate"),
    "base_file": Asset(records.GgufCard, "models/bases/{base}.scoring/{type}.gguf", "convert_base", ("export",)),
    "suites": Asset(records.SuiteAnswers, "models/{place}/suites.json", "evaluate"),
    "drift": Asset(records.Drift, "models/{channel}/{run}/drift.jsonl", "evaluate"),
    "judgements": Asset(records.Judgement, "models/{channel}/{run}/judgements.jsonl", "judge"),
    "parity": Asset(records.ParityReport, "models/{channel}/{run}/parity.json", "parity", ("seed",)),
    "scorecard": Asset(records.Scorecard, "models/{channel}/{run}/scorecard.json", "evaluate", ("evaluate", "seed")),
    "report": Asset(None, "models/{channel}/{run}/report.html", "evaluate"),
    "model_card": Asset(None, "models/{channel}/{run}/README.md", "evaluate"),
    "trained_on": Asset(records.TrainedOn, "models/{channel}/{run}/trained_on.json", "promote"),
    "challenge": Asset(records.Challenge, "models/{channel}/{run}/challenge.json", "promote", ("evaluate", "seed")),
}

_PARTS = {"{place}": "[^/]+/[^/]+"}
_PATHS = [
    re.compile("".join(_PARTS.get(part, "[^/]+") if part[:1] == "{" else re.escape(part) for part in parts))
    for parts in (re.split(r"({\w+})", asset.path) for asset in CATALOG.values())
]


def is_asset(path: str) -> bool:
    """Whether an asset may lie at `path`, relative to the home folder."""
    names = path.removesuffix("/").split("/")
    return not {"", ".", ".."}.intersection(names) and any(known.fullmatch(path) for known in _PATHS)
