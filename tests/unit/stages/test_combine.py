"""Two gold sets become one: nothing that one holds out is trained on, nothing is asked twice, all keep their place."""

from pathlib import Path

import pytest

from tests.unit.pairs import example, pair
from understudy import preflight
from understudy.channel import forgetting
from understudy.channel.ledger import Row
from understudy.cli import main
from understudy.config import Config
from understudy.dataset.combined import Placed, chosen
from understudy.errors import ConfigError, DatasetError
from understudy.records import (
    ChatExample,
    Combined,
    Document,
    GoldRow,
    Leakage,
    Pair,
    PairSource,
    Paragraph,
    Split,
    SplitPlan,
)
from understudy.stages import gold
from understudy.stages.combine import Place, combine
from understudy.workspace import Workspace


def placed(channel: str, section: str, number: int, question: str, split: Split, recall: bool = False) -> Placed:
    own = pair(section, number, question).model_copy(update={"pair_id": f"{channel}/{section}#{number}"})
    return Placed(own, split, recall, channel)


def test_what_one_set_holds_out_no_other_trains_on() -> None:
    rows = [
        placed("a", "s1", 1, "How hot may the kiln get at night?", "test"),
        placed("a", "s2", 1, "Who checks the pager before a round?", "train"),
        placed("a", "s2", 2, "How long is a round of the pager?", "test", recall=True),
        placed("a", "s7", 1, "How are damp bricks stacked?", "train"),
        placed("b", "s1", 2, "Which code does the panel show first?", "train"),  # a section that a holds out
        placed("b", "s3", 1, "How hot may the kiln get at night?", "train"),  # a question that a holds out
        placed("b", "s4", 1, "How long is a round of the pager?", "train"),  # one that a holds out to recall
        placed("b", "s5", 1, "How are damp bricks stacked?", "train"),  # asked in a already
        placed("b", "s6", 1, "Where do the glazed tiles dry?", "train"),
        placed("b", "s2", 3, "What colour is the spare pager?", "valid"),  # a trains on its section: valid holds
    ]
    kept, left_out = chosen(rows)
    names = [one.pair.pair_id for one in kept]
    assert names == ["a/s1#1", "a/s2#2", "a/s7#1", "b/s6#1", "b/s2#3"]
    assert not any(one.recall for one in kept), "nothing of s2 is trained on any more"
    assert left_out["b/s1#2"] == "a holds out its section s1" and "near-duplicate of a/s1#1" in left_out["b/s3#1"]
    assert chosen(rows)[0] == kept


def channel(home: Path, name: str, sections: dict[str, Split], reasoning: bool = False) -> list[Pair]:
    """A gold set whose sections ask three questions each."""
    place, pairs = Place(home, name), list[Pair]()
    documents = {}
    for section in sections:
        text = f"The {section} is kept dry, and its lid is shut at night."
        documents[section] = Document(document_id=section, title=section, locator="", how="",
                                      paragraphs=[Paragraph(text=text)])  # fmt: skip
        place.save("document", [documents[section]], "x", document=section)
        source = PairSource(document_id=section, title=section)
        for number, ask in enumerate(("Who opens the {} first?", "When is the {} shut?", "What does a {} weigh?"), 1):
            made = pair(section, number, ask.format(section)).model_copy(update={"sources": [source], "manual": "M"})
            pairs.append(made.model_copy(update={"reasoning": "So it is."}))
    ids = {s: [p.pair_id for p in pairs if sections[p.document_id] == s] for s in ("train", "valid", "test")}
    plan = SplitPlan.model_validate({
        "splits": ids, "documents": {s: [d for d in sections if sections[d] == s] for s in ids}, "honest": True,
        "leakage": Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
    })  # fmt: skip
    known = {one.pair_id: example(one) for one in pairs}
    if reasoning:
        known = {key: _with_reasoning(row) for key, row in known.items()}
    for split in ("train", "valid", "test"):
        place.save(split, [known[key] for key in ids[split]], "x")
    accepted, rejects = gold.rows(pairs, plan, documents)
    for asset, rows in {"pairs": pairs, "split": [plan], "gold": accepted, "rejects": rejects}.items():
        place.save(asset, rows, "x")
    (home / "home.json").write_text('{"format": 1}')
    (home / "data" / name / "ledger.sqlite").touch()
    return pairs


def _with_reasoning(row: ChatExample) -> ChatExample:
    answer = row.messages[-1]
    return ChatExample(messages=[*row.messages[:-1], answer.model_copy(update={"content": f"So. {answer.content}"})])


def test_a_combined_channel_has_the_rows_of_both_and_can_be_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channel(tmp_path, "a", {"kiln": "train", "glaze": "test", "shelf": "valid"})
    channel(tmp_path, "b", {"kiln": "train", "glaze": "train", "lamp": "train"})
    assert main(["combine", "a", "b", "--name", "c", "--home", str(tmp_path)]) == 0
    assert main(["status", "c", "--home", str(tmp_path)]) == 0
    assert "--set name=c --only model" in capsys.readouterr().out.partition("next")[2]
    place = Place(tmp_path, "c")
    [card] = place.rows("description")
    assert (card.pairs, card.kept) == (18, 12)
    [plan], pairs = place.rows("split"), {one.pair_id: one for one in place.rows("pairs")}
    assert plan.honest and set(plan.documents["test"]) == {"a.glaze"}
    assert {pairs[key].document_id for key in plan.splits["train"]} == {"a.kiln", "b.lamp"}, "b's glaze is left out"
    for split in ("train", "valid", "test"):
        rows = [row.messages[0].content for row in place.rows(split)]
        assert rows == [pairs[key].question for key in plan.splits[split]]
    accepted: list[GoldRow] = place.rows("gold")
    assert {source.section for row in accepted for source in row.sources} == {row.document for row in accepted}
    assert {row.gate for row in place.rows("rejects")} == {"combine"} and len(place.rows("rejects")) == 6
    [known] = place.rows("combined")
    assert isinstance(known, Combined) and [(one.rows, one.left_out) for one in known.sets] == [(9, 0), (3, 6)]
    accepts_no_run_of_its_own(tmp_path)
    before = {file.name: file.read_bytes() for file in (tmp_path / "data/c/dataset").glob("[!.]*.*")}
    assert combine(tmp_path, ["a", "b"], "c") == known
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "data/c/dataset").glob("[!.]*.*")}
    forgetting.forget(tmp_path / "data/b", [Row("lamp", "lamp", "lamp", "r", "ok")])
    assert not (tmp_path / "data/c/dataset").exists() and not (tmp_path / "data/c/documents").exists()


def accepts_no_run_of_its_own(home: Path) -> None:
    config = Config.model_validate({"name": "c", "source": {"use": "documents", "path": str(home)}, "base": "scratch",
                                    "teacher": "extractive", "trainer": {"use": "mlx_lora"}})  # fmt: skip
    workspace = Workspace(home=home, config=config)
    with pytest.raises(ConfigError, match="c was combined of a and b: run it with --only model"):
        preflight.check(workspace, "dataset")
    preflight.check(workspace, "model")


def test_what_does_not_fit_together_is_refused_in_a_sentence(tmp_path: Path) -> None:
    channel(tmp_path, "a", {"kiln": "train", "glaze": "test"})
    channel(tmp_path, "b", {"lamp": "train", "vent": "test"}, reasoning=True)
    (tmp_path / "data/a/dataset/.gold.jsonl.manifest.json").rename(tmp_path / "gold")
    for name, why in {"c": "no gold set", "a": "one of the sets"}.items():
        with pytest.raises(DatasetError, match=why):
            combine(tmp_path, ["a", "b"], name)
    (tmp_path / "gold").rename(tmp_path / "data/a/dataset/.gold.jsonl.manifest.json")
    with pytest.raises(DatasetError, match="recipe.reasoning alike"):
        combine(tmp_path, ["a", "b"], "c")
    with pytest.raises(DatasetError, match="two or more"):
        combine(tmp_path, ["a"], "c")
    channel(tmp_path, "d", {"sieve": "train"})
    with pytest.raises(DatasetError, match="talks of its own"):
        combine(tmp_path, ["a", "b"], "d")
