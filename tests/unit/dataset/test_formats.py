"""What is written is read back letter by letter by the libraries that train on it."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

from tests.unit.pairs import pair
from understudy.dataset.formats import FORMATS, by_split, cell, link, write
from understudy.dataset.formats.training import Training
from understudy.errors import ConfigError, DatasetError
from understudy.records import Document, Leakage, Pair, Paragraph, Split, SplitPlan
from understudy.trainers.lora_job import LoraOptions

TEXTS = [
    "**Emoji** 🫖👩‍🔬 stay.\n\n- one\n- two\n\n1. first\n2. second\n",
    "התה **מתקרר** מהר.\n\nالشاي يبرد بسرعة، والماء أيضاً.",
    "Run it:\n\n```python\nprint(\"a\\tb\\n\")  # \\n stays two letters\n\tx = 'y'\n```\n\nDone.",
    'Odd ends\u2028of\u2029lines\x85here,\r\nand | pipes, "quotes", \\ and \x0b.',
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "  leading and trailing  \n",
]
PAIRS = [pair(f"yt-abcdefghij{i % 2}", i, f"{i}. Why?\nAnd 🫖 how?", text) for i, text in enumerate(TEXTS, 1)]


def planned(pairs: list[Pair], **named: list[str]) -> SplitPlan:
    splits: dict[Split, list[str]] = {split: named.get(split, []) for split in ("train", "valid", "test")}
    talks = {p.pair_id: p.document_id for p in pairs}
    return SplitPlan(
        splits=splits,
        documents={split: sorted({talks[name] for name in ids if name in talks}) for split, ids in splits.items()},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
    )


IDS = [p.pair_id for p in PAIRS]
PLAN = planned(PAIRS, train=[*IDS[4:], *IDS[:2]], valid=IDS[2:3], test=IDS[3:4])
WANTED = {split: [(p.question, p.answer) for p in rows] for split, rows in by_split(PAIRS, PLAN).items()}


def rows_of(file: Path) -> list[dict]:
    if file.suffix == ".json":
        return json.loads(file.read_text(encoding="utf-8"))
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def alpaca(row: dict) -> tuple[str, str]:
    assert row["input"] == ""
    return row["instruction"], row["output"]


def sharegpt(row: dict) -> tuple[str, str]:
    (question_turn, answer_turn) = row["conversations"]
    assert (question_turn["from"], answer_turn["from"]) == ("human", "gpt")
    return question_turn["value"], answer_turn["value"]


def chat(row: dict) -> tuple[str, str]:
    (question_turn, answer_turn) = row["messages"]
    assert (question_turn["role"], answer_turn["role"]) == ("user", "assistant")
    return question_turn["content"], answer_turn["content"]


@pytest.mark.parametrize(
    ("kind", "ending", "read"),
    [("alpaca", "json", alpaca), ("sharegpt", "jsonl", sharegpt), ("openai_chat", "jsonl", chat)],
)
def test_every_letter_survives_in_json(kind: str, ending: str, read: Callable, tmp_path: Path) -> None:
    files = write(kind, PAIRS, PLAN, "tea", "owned", tmp_path / "out")
    assert [file.name for file in files] == [f"{split}.{ending}" for split in ("train", "valid", "test")]
    for file in files:
        assert [read(row) for row in rows_of(file)] == WANTED[file.stem]
        assert [read(row) for row in pd.read_json(file, lines=ending == "jsonl").to_dict("records")] == WANTED[
            file.stem
        ]


def test_every_letter_survives_in_parquet(tmp_path: Path) -> None:
    write("huggingface", PAIRS, PLAN, "tea", "owned", tmp_path / "out")
    for split, name in (("train", "train"), ("valid", "validation"), ("test", "test")):
        file = tmp_path / "out" / "data" / f"{name}.parquet"
        assert [chat(row) for row in pq.read_table(file).to_pylist()] == WANTED[split]
        assert [chat(row) for row in pd.read_parquet(file).to_dict("records")] == WANTED[split]


def test_dataset_info_names_every_file_by_its_columns(tmp_path: Path) -> None:
    written = write("llama_factory", PAIRS, PLAN, "tea", "owned", tmp_path / "out")
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert {tmp_path / "out" / entry["file_name"] for entry in info.values()} == set(written[1:])
    assert len(info) == 6
    for entry in info.values():
        row = rows_of(tmp_path / "out" / entry["file_name"])[0]
        assert set(entry["columns"].values()) <= set(row)
        if entry["formatting"] == "sharegpt":
            tags, turns = entry["tags"], row[entry["columns"]["messages"]]
            assert [turn[tags["role_tag"]] for turn in turns] == [tags["user_tag"], tags["assistant_tag"]]
            assert all(turn[tags["content_tag"]] for turn in turns)


@pytest.mark.parametrize("valid", [True, False])
def test_settings_name_files_that_are_there_and_what_the_preset_sets(valid: bool, tmp_path: Path) -> None:
    options = LoraOptions(rank=4, alpha=12, learning_rate=3e-4, target_modules=["self_attn.q_proj", "mlp.up_proj"])
    settings = Training("owner/name", 7, options.model_dump())
    plan = PLAN if valid else planned(PAIRS, train=IDS)
    for kind in ("llama_factory", "axolotl"):
        write(kind, PAIRS, plan, "tea", "owned", tmp_path / kind, training=settings)
    factory = yaml.safe_load((tmp_path / "llama_factory/train.yaml").read_text())
    other = yaml.safe_load((tmp_path / "axolotl/axolotl.yml").read_text())
    info = json.loads((tmp_path / "llama_factory/dataset_info.json").read_text())
    assert factory["dataset"] in info and (factory.get("eval_dataset") in info) == valid
    named = [entry["path"] for entry in [*other["datasets"], *other.get("test_datasets", [])]]
    assert named == ["train.jsonl", "valid.jsonl"][: 1 + valid]
    assert all((tmp_path / "axolotl" / name).is_file() for name in named)
    assert (factory["lora_rank"], factory["lora_alpha"], factory["lora_target"]) == (4, 12, "q_proj,up_proj")
    assert (other["lora_r"], other["lora_alpha"], other["lora_target_modules"]) == (4, 12, ["q_proj", "up_proj"])
    for each, base in ((factory, "model_name_or_path"), (other, "base_model")):
        assert (each[base], each["learning_rate"], each["seed"]) == ("owner/name", 3e-4, 7)


def test_without_rows_to_train_on_there_are_no_settings(tmp_path: Path) -> None:
    settings = Training("owner/name", 7, LoraOptions().model_dump())
    for kind in ("llama_factory", "axolotl"):
        files = write(kind, PAIRS, planned(PAIRS, test=IDS), "tea", "owned", tmp_path / kind, training=settings)
        assert not [file for file in files if file.suffix in (".yaml", ".yml")]


def test_the_card_is_metadata_the_hub_reads_and_names_every_file(tmp_path: Path) -> None:
    document = Document(
        document_id="yt-abcdefghij1", title="Tea | [and] <b>bread</b>", locator="x", how="captions", language="en-GB",
        paragraphs=[Paragraph(text="Tea.")],
    )  # fmt: skip
    out = tmp_path / "out"
    licences = {"yt-abcdefghij1": "CC BY 4.0"}
    options = {"documents": [document], "licence": "cc-by-4.0", "licences": licences, "pictures": {"c.png": b"png"}}
    files = write("huggingface", PAIRS, PLAN, "tea", "permitted", out, summary="SUMMARY", **options)
    card = DatasetCard.load(out / "README.md")
    metadata = card.data.to_dict()
    assert {out / entry["path"] for entry in metadata["configs"][0]["data_files"]} < set(files)
    assert [entry["split"] for entry in metadata["configs"][0]["data_files"]] == ["train", "validation", "test"]
    assert (metadata["license"], metadata["language"], metadata["size_categories"]) == ("cc-by-4.0", ["en"], ["n<1K"])
    assert metadata["task_categories"] and "tea" in metadata["pretty_name"]
    assert r"[Tea \| \[and\] &lt;b&gt;bread&lt;/b&gt;](https://youtu.be/abcdefghij1)" in card.text
    assert "| CC BY 4.0 | permitted | 3 |" in card.text
    assert "| not stated | permitted | 3 |" in card.text
    assert "SUMMARY" in card.text and "(pictures/c.png)" in card.text and "What it is not" in card.text


def test_no_licence_is_given_without_permission(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="licence 'mit' cannot be given"):
        write("huggingface", PAIRS, PLAN, "tea", "own_risk", tmp_path / "out", licence="mit")
    write("huggingface", PAIRS, PLAN, "tea", None, tmp_path / "out")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.to_dict()["license"] == "unknown"
    assert "Do not pass it on" in card.text


@pytest.mark.parametrize("kind", FORMATS)
def test_a_side_without_rows_has_no_file(kind: str, tmp_path: Path) -> None:
    files = write(kind, PAIRS, planned(PAIRS, train=IDS), "tea", "owned", tmp_path / "out")
    assert not [file for file in files if "valid" in file.name or "test" in file.name]
    assert "valid" not in (files[0].read_text() if files[0].name == "dataset_info.json" else "")
    assert all(file.stat().st_size for file in files)


def test_a_dataset_without_a_kept_pair_is_not_written(tmp_path: Path) -> None:
    refused = [p.model_copy(update={"kept": False}) for p in PAIRS]
    with pytest.raises(DatasetError, match="no pair is kept"):
        write("alpaca", refused, planned(PAIRS), "tea", "owned", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_pairs_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    first, second = (write(kind, PAIRS, PLAN, "tea", "owned", tmp_path / name) for name in ("one", "two"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize(
    ("pairs", "plan", "message"),
    [
        (PAIRS[:5], PLAN, rf"{IDS[5]!r} is in the plan, but not among the pairs"),
        ([*PAIRS, PAIRS[0]], PLAN, rf"two pairs are called {IDS[0]!r}"),
        ([*PAIRS, pair("new", 1)], PLAN, "'new#1' is kept, but in no split"),
        ([PAIRS[0].model_copy(update={"kept": False}), *PAIRS[1:]], PLAN, "in the plan, but refused"),
        ([PAIRS[0].model_copy(update={"answer": " \n"}), *PAIRS[1:]], PLAN, f"{IDS[0]!r} has no answer"),
        (PAIRS, planned(PAIRS, train=IDS, test=IDS[:1]), f"{IDS[0]!r} is 2 times in the plan"),
    ],
)
def test_pairs_edited_by_hand_are_told_by_name(
    pairs: list[Pair], plan: SplitPlan, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=f"{message}.*delete it and run again"):
        write("alpaca", pairs, plan, "tea", "owned", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_link_opens_the_video_at_the_second_the_answer_begins() -> None:
    video = pair("yt-a_c-efghij1").model_copy(update={"start_seconds": 754.9})
    assert link(video) == "https://youtu.be/a_c-efghij1?t=754"
    assert link(video.model_copy(update={"start_seconds": None})) == "https://youtu.be/a_c-efghij1"
    assert link(pair("lecture-1")) is None
    assert link(pair("yt-notes")) is None


def test_no_title_breaks_a_table() -> None:
    assert cell("a|b\nc [d](e) `f`") == r"a\|b c \[d\](e) \`f\`"
