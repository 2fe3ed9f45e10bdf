"""Laws of answering from texts, and a published regression that its own numbers do not show."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from understudy.errors import ConfigError
from understudy.scoring.statistics import mean_change, sign_test
from understudy.scoring.suites.retrieval import (
    Context,
    Outcome,
    RetrievalItem,
    compare,
    conversation,
    load,
    measure,
    outcome,
)
from understudy.scoring.verdicts import MARGINS, verdict

TEXTS = [Context(title="On Bread", text="Yeast breathes out gas."), Context(title="On Salt", text="Salt slows yeast.")]
ASKED = RetrievalItem(item_id="1", question="Why does bread rise?", contexts=TEXTS, keywords=["yeast", "gas"])
UNANSWERED = RetrievalItem(item_id="2", question="Who invented bread?", contexts=TEXTS, declines=True)


def test_every_text_is_shown_with_its_title_before_the_question() -> None:
    text = conversation(ASKED)[0].content
    assert text.index("## On Bread\nYeast") < text.index("## On Salt") < text.index("Why does bread rise?")


@pytest.mark.parametrize(
    ("item", "answer", "expected"),
    [
        (ASKED, "By On Bread, yeast makes gas.", Outcome(False, False, 1.0, True)),
        (ASKED, "Yeast lifts it.", Outcome(False, False, 0.5, False)),
        (ASKED, "Gasoline and yeasty things.", Outcome(False, False, 0.0, False)),
        (ASKED, "The texts do not say.", Outcome(True, False, 0.0, False)),
        (ASKED, "Yeast makes gas; the texts do not mention more.", Outcome(False, False, 1.0, False)),
        (ASKED, "", Outcome(False, False, 0.0, False)),
        (UNANSWERED, "The texts don't mention who.", Outcome(True, True, None, None)),
        (UNANSWERED, "A baker did.", Outcome(False, True, None, None)),
    ],
)
def test_each_behaviour_is_recognized(item: RetrievalItem, answer: str, expected: Outcome) -> None:
    assert outcome(item, answer) == expected


@pytest.mark.parametrize("wrong", [{"keywords": ["a"], "declines": True}, {}])
def test_an_item_has_keywords_or_declines(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="not both and not neither"):
        RetrievalItem(item_id="1", question="?", contexts=TEXTS, **wrong)  # type: ignore[arg-type]


def test_precision_and_recall_of_declining_are_the_textbook_ones() -> None:
    outcomes = {
        "a": Outcome(True, True, None, None),
        "b": Outcome(False, True, None, None),
        "c": Outcome(True, False, 0.0, False),
        "d": Outcome(False, False, 1.0, True),
        "e": Outcome(True, True, None, None),
    }
    values = measure(outcomes, 0)
    assert values["refusal_precision"].value == values["refusal_recall"].value == pytest.approx(2 / 3)
    assert values["declines_rightly"].value == pytest.approx(0.6)
    assert (values["keyword_coverage"].value, values["cites"].value) == (0.5, 0.5)
    assert measure({}, 0) == {} == compare({}, {}, 0)


def test_a_regression_on_15_questions_is_not_enough_data() -> None:
    """80.2 % > 71.1 % keyword coverage, 1 win, 5 losses and 9 ties, was published as 'made it worse'."""
    base = [1.0, 1.0, 0.75, 0.9, 0.8, 0.6, 0.8, 0.75, 0.7, 0.9, 0.85, 0.6, 0.78, 0.8, 0.8]
    tuned = [0.185, 0.72, 0.6, 0.76, 0.72, 0.7, 0.8, 0.75, 0.7, 0.9, 0.85, 0.6, 0.78, 0.8, 0.8]
    assert (sum(base) / 15, sum(tuned) / 15) == pytest.approx((0.802, 0.711), abs=5e-4)
    assert sign_test(1, 5) == pytest.approx(0.22, abs=0.01)
    sides = [{str(i): Outcome(False, False, share, True) for i, share in enumerate(side)} for side in (tuned, base)]
    change = compare(sides[0], sides[1], 0)["keyword_coverage"]
    assert change.value == pytest.approx(-0.091, abs=1e-3) and change.low < -0.05 < 0 < change.high
    assert verdict(change, "higher", MARGINS["keyword_coverage"]) == "not enough data"


def test_no_change_on_few_items_leaves_much_open() -> None:
    assert mean_change([0.0] * 10, [str(i) for i in range(10)], 0).low < -0.2


def test_the_items_of_a_file_come_back_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text(f"{UNANSWERED.model_dump_json()}\n\n{ASKED.model_dump_json()}\n", encoding="utf-8")
    assert load(file) == [UNANSWERED, ASKED]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no item"),
        ("{", "line 1: Invalid JSON"),
        ('{"item_id": "1", "question": "?", "contexts": []}', "line 1: contexts: List should have at least 1"),
        (f"{ASKED.model_dump_json()}\n{ASKED.model_dump_json()}", "line 2: a second item '1'"),
        ('{"item_id": "1", "question": "?", "contexts": [{"title": "a", "text": "b"}]}', "give keywords, or declines"),
    ],
)
def test_a_bad_file_of_items_is_refused_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "items.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "items.jsonl")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.jsonl")
