"""What is composed of two documents says which they are, and whether they contradict each other."""

from tests.unit.pairs import pair
from understudy.calls.composing import Wish
from understudy.calls.prompting import RECIPES, Prompts
from understudy.records import Document, Paragraph
from understudy.registry import build
from understudy.stages.compose import _titled
from understudy.stages.units import _pair


def document(name: str, title: str) -> Document:
    return Document(document_id=name, title=title, locator=name, how="h", paragraphs=[Paragraph(text="Words.")])


def test_a_contradiction_that_the_teacher_names_is_flagged() -> None:
    both, titles = [document("a", "A"), document("b", "B")], {"a": "A", "b": "B"}
    teacher = build("teacher", "openai", {"model": "gpt-5-mini"})
    teacher.prompts = Prompts(
        folder=RECIPES / "grounded/prompts", fixed=build("recipe", "grounded", {}).prompt_values()
    )
    for answer, tags in (("They contradict each other: 3 [A], 4 [B].", ["contradiction"]), ("3 [A] and 4 [B].", [])):
        made = _pair(both, titles, Wish(1, "COMPARE", 1), ("How many?", answer), set(), teacher)
        assert made.tags == tags and made.documents == ["a", "b"] and made.kind == "synthesis"


def test_documents_of_one_title_are_cited_apart_in_both_forms() -> None:
    both = {"a": document("a", "Guide"), "b": document("b", "Guide")}
    cited = [pair("b", 1, answer="Twice [guide]."), pair("b", 2, answer="Twice (Guide, Setup) (as said).")]
    assert _titled(cited, both, "[Title]")[0].answer == "Twice [Guide no. 2]."
    assert _titled(cited, both, "(Title, heading)")[1].answer == "Twice (Guide no. 2, Setup) (as said)."
