"""Passages hold a document's words once and in order; the index finds them, as other programs count it."""

import random

import pytest

from understudy.readers import read_bytes
from understudy.records import Document, Entry, Paragraph, Passage
from understudy.retrieval.index import Index
from understudy.retrieval.passages import Cutting, cut
from understudy.retrieval.quality import quality
from understudy.retrieval.sections import stretches

TEXT = """# The Tide Bell

An opening without a heading. It has two sentences.

## Making

The bell was cast in 1840 by two brothers. They used the bronze of an older bell, which had cracked in a hard frost.

### Weight

It weighs 300 kilograms.

## Ringing

The bell is rung twice at high water. Carters hear it over the crane, and bring their horses in from the sand.
"""


def entry(name: str = "bell") -> Entry:
    return Entry(document_id=name, title=name, locator=f"{name}.md", revision="1")


def document(text: str = TEXT, name: str = "bell", suffix: str = ".md") -> Document:
    return read_bytes(text.encode(), entry(name), suffix)


def test_a_section_has_all_headings_over_it_and_none_of_them_in_its_text() -> None:
    found = stretches(document())
    assert [section.heading for section in found] == [[], ["Making"], ["Making", "Weight"], ["Ringing"]]
    assert [section.text.split()[0] for section in found] == ["An", "The", "It", "The"]
    assert not any("Ringing" in section.text or "Making" in section.text for section in found)


def test_a_page_and_a_text_have_the_same_sections() -> None:
    page = "<h1>The Tide Bell</h1><p>An opening.</p><h2>Making</h2><p>Cast in 1840.</p><h3>Weight</h3><p>Heavy.</p>"
    found = stretches(document(f"<html><body>{page}</body></html>", suffix=".html"))
    assert [section.heading[-1:] for section in found] == [[], ["Making"], ["Weight"]]
    assert found[1].text == "Cast in 1840."


@pytest.mark.parametrize(
    ("text", "heading", "begins"),
    [
        ("# T\n\nAn opening.\n\n## Setup--part two\n\nThe rest stands here.", "Setup -- part two", "The rest"),
        ("# T\n\nAn opening.\n\n## Setup ##\n\nThe rest stands here.", "Setup", "The rest"),
        ("# T\n\n开头的话在这里。\n\n## 标题\n\n正文在这里开始。", "标题", "正文"),
    ],
)
def test_a_heading_costs_its_section_no_letter(text: str, heading: str, begins: str) -> None:
    last = stretches(document(text))[-1]
    assert last.heading == [heading] and last.text.startswith(begins)


def test_headings_change_no_word_of_a_document() -> None:
    with_headings, without = document(), document(TEXT.replace("## ", "").replace("#", ""))
    assert with_headings.text.split() == without.text.split()
    assert with_headings.headings and not without.headings


@pytest.mark.parametrize("by", ["heading", "paragraph", "size"])
@pytest.mark.parametrize("overlap", [0, 15])
def test_passages_hold_every_sentence_in_order_and_no_more_words_than_allowed(by: str, overlap: int) -> None:
    dice = random.Random(1)
    sentences = [f"Sentence {n} says {' '.join(dice.choices(['rope', 'sail', 'knot'], k=8))}." for n in range(60)]
    paragraphs = [Paragraph(text=" ".join(sentences[at : at + 12])) for at in range(0, 60, 12)]
    long = Document(document_id="long", title="T", locator="l", how="h", paragraphs=paragraphs)
    passages = cut([long], Cutting.model_validate({"by": by, "words": 40, "overlap_words": overlap}))
    joined = " ".join(passage.text for passage in passages)
    assert [joined.index(sentence) for sentence in sentences] == sorted(joined.index(s) for s in sentences)
    assert max(len(passage.text.split()) for passage in passages) <= 40
    assert (len(joined.split()) > len(long.text.split())) == bool(overlap)
    for passage in passages:
        first = passage.text.split(". ")[0]
        assert first in paragraphs[passage.first_paragraph].text


def test_equal_titles_are_told_apart() -> None:
    passages = cut([document(name="a"), document(name="b")], Cutting())
    assert {passage.title for passage in passages} == {"The Tide Bell", "The Tide Bell no. 2"}
    assert len({passage.passage_id for passage in passages}) == len(passages)


def passages_of(texts: list[str]) -> list[Passage]:
    return [
        Passage(
            passage_id=f"d{n}/1", document_id=f"d{n}", title=f"T{n}", text=text, first_paragraph=0, last_paragraph=0,
            sha256="",
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip


def test_the_best_passage_comes_first_in_any_script() -> None:
    index = Index(passages_of(["The crane lifts stones.", "钟声在涨潮时响两次。", "Колокол звонит дважды в прилив."]))
    assert index.search("How are stones lifted by cranes?", 3)[0].passage.passage_id == "d0/1"
    assert index.search("涨潮时钟声响几次？", 3)[0].passage.passage_id == "d1/1"
    assert index.search("Когда звонит колокол?", 3)[0].passage.passage_id == "d2/1"
    assert index.search("Völlig anderes", 3) == [] and Index([]).search("x", 3) == []


def test_only_the_named_documents_are_looked_in_and_ties_keep_their_order() -> None:
    index = Index(passages_of(["a red boat"] * 5))
    assert [hit.passage.passage_id for hit in index.search("red boats", 3)] == ["d0/1", "d1/1", "d2/1"]
    assert [hit.passage.document_id for hit in index.search("red boats", 9, {"d4", "d2"})] == ["d2", "d4"]


def test_hit_rate_and_rank_are_those_of_pytrec_eval() -> None:
    pytrec_eval = pytest.importorskip(
        "pytrec_eval", reason="pytrec_eval is not installed: pip install pytrec-eval-terrier"
    )
    dice = random.Random(3)
    names = [f"p{n}" for n in range(30)]
    found = [dice.sample(names, 10) for _ in range(80)]
    right = [set(dice.sample(names, dice.randint(1, 3))) for _ in range(80)]
    judged = {str(q): {name: 1 for name in wanted} for q, wanted in enumerate(right)}
    run = {str(q): {name: 10.0 - rank for rank, name in enumerate(order)} for q, order in enumerate(found)}
    scores = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank", "success_10"}).evaluate(run).values()
    ours = quality(found, right, 10)
    assert ours.mean_reciprocal_rank == pytest.approx(sum(one["recip_rank"] for one in scores) / 80)
    assert ours.hit_rate == pytest.approx(sum(one["success_10"] for one in scores) / 80)
