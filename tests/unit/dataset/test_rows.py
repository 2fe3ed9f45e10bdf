"""Rows by the recipe: a question alone, or passages before it; reasoning where it is wanted."""

from tests.unit.pairs import example, pair
from understudy.dataset.formats import Row
from understudy.dataset.formats.alpaca import entry
from understudy.dataset.rows import row
from understudy.records import Passage
from understudy.registry import build

PASSAGE = Passage(
    passage_id="bell/1", document_id="bell", title="The Bell", heading=["Use"], text="It rings twice.",
    first_paragraph=0, last_paragraph=0, sha256="",
)  # fmt: skip
PAIR = pair("bell", 1, "How often?", "Twice [The Bell].").model_copy(
    update={"kind": "grounded", "passages": ["bell/1"], "reasoning": "The passage says so."}
)


def test_a_teachers_row_is_question_and_answer() -> None:
    assert [(turn.role, turn.content) for turn in example(pair(answer="A.")).messages] == [
        ("user", "What is heat?"),
        ("assistant", "A."),
    ]


def test_passages_stand_before_the_question_under_their_titles() -> None:
    recipe = build("recipe", "grounded", {})
    system, user, answer = row(PAIR, recipe, {"bell/1": PASSAGE}).messages
    assert system.content == recipe.system() and answer.content == "Twice [The Bell]."
    assert user.content == "[The Bell]\nIt rings twice.\n\nQuestion: How often?"
    round_form = build("recipe", "grounded", {"citation": "(Title, heading)"})
    assert row(PAIR, round_form, {"bell/1": PASSAGE}).messages[1].content.startswith("(The Bell, Use)\n")


def test_reasoning_is_trained_on_where_that_is_wanted_and_else_kept_for_others() -> None:
    trained = row(PAIR, build("recipe", "grounded", {"reasoning": "train"}), {"bell/1": PASSAGE})
    assert trained.messages[-1].content == "The passage says so.\n\nTwice [The Bell]."
    plain = row(PAIR, build("recipe", "grounded", {}), {"bell/1": PASSAGE})
    written = entry(Row(plain.messages, PAIR, "[The Bell]\nIt rings twice."))
    assert written["reasoning"] == PAIR.reasoning and written["instruction"] == "How often?"
    assert "reasoning" not in entry(Row(plain.messages, None))
