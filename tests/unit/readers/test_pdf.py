"""A PDF gives its sentences as they were written, without what the printing added."""

import pytest

from tests.unit.readers.files import locked, pdf
from understudy.errors import Refused
from understudy.readers import pdf as reader
from understudy.readers.lines import joined, without_running_lines
from understudy.records import Document, Entry

PAGE_1 = ["A candle gives light because the wax rises in the wick and becomes", "a vapour. The vapour is what burns."]
PAGE_2 = ["Put a cold spoon above the flame and water settles on it, which the", "flame itself has made out of air."]
WORDS = " ".join(PAGE_1 + PAGE_2)


def read(raw: bytes) -> Document:
    return reader.read(raw, Entry(document_id="a", title="A", locator="a.pdf", revision="1"), ".pdf")


def test_heads_feet_and_page_numbers_are_not_text() -> None:
    pages = [["THE CANDLE", *PAGE_1, "Page 7 of 8"], ["THE CANDLE", *PAGE_2, "Page 8 of 8"]]
    assert read(pdf(pages)).text == WORDS


def test_left_and_right_pages_may_have_heads_of_their_own() -> None:
    bodies = [[f"Sentence number {n} of {n} is here", f"and ends on this {n}th line."] for n in "abcdef"]
    pages = [[f"{n + 10} THE CANDLE" if n % 2 else f"LECTURE I {n + 10}", *body] for n, body in enumerate(bodies)]
    assert without_running_lines(pages) == [line for body in bodies for line in body]


def test_a_number_at_the_edge_of_one_page_is_text() -> None:
    pages = [["It was the winter of", "1861"], ["and it was", "cold in London"], ["that", "year. 12"]]
    assert without_running_lines(pages) == [line for page in pages for line in page]


def test_a_line_that_only_one_page_has_is_text() -> None:
    assert without_running_lines([["one", "two"]]) == ["one", "two"]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["the chemi-", "cal history"], "the chemical history"),
        (["the chemi\xad", "cal history"], "the chemical history"),
        (["an Anglo-", "Saxon word"], "an Anglo-Saxon word"),
        (["from 1860-", "1861 on"], "from 1860-1861 on"),
        (["well-known to all", "and well-", "known to me"], "well-known to all and well-known to me"),
        (["forty zinc plates", "and forty-", "zinc plates"], "forty zinc plates and forty-zinc plates"),
        (["chemical chemi and cal", "the chemi-", "cal history"], "chemical chemi and cal the chemical history"),
        (["he paused -", "and went on"], "he paused - and went on"),
    ],
)
def test_hyphens_at_line_ends_go_and_those_of_the_word_stay(lines: list[str], text: str) -> None:
    assert " ".join(joined(lines)) == text


def test_a_sentence_that_ends_before_the_margin_ends_its_paragraph() -> None:
    full = "This line goes on to the margin of the page and"
    assert joined([full, "ends.", full, full + ".", full, "ends."]) == [
        f"{full} ends.",
        f"{full} {full}. {full} ends.",
    ]


def test_a_heading_stands_apart_and_is_the_title() -> None:
    document = read(pdf([["The Candle", *PAGE_1], PAGE_2]))
    assert (document.title, document.text) == ("The Candle", WORDS)


def test_title_and_language_come_from_the_file_and_a_file_name_is_no_title() -> None:
    document = read(pdf([PAGE_1, PAGE_2], "/Title(On Candles)", "/Lang(en-GB)"))
    assert (document.title, document.language, document.text) == ("On Candles", "en-GB", WORDS)
    assert read(pdf([PAGE_1, PAGE_2], "/Title(Microsoft Word - candle.doc)")).title == "A"


def test_a_pdf_behind_a_password_is_refused_and_one_with_limits_only_is_read() -> None:
    with pytest.raises(Refused, match="protected by a password"):
        read(locked(pdf([PAGE_1, PAGE_2]), "secret"))
    assert read(locked(pdf([PAGE_1, PAGE_2]), "")).text == WORDS


@pytest.mark.parametrize("pages", [[[]], [[], [], []], [["A typed cover page"], [], []]])
def test_a_scanned_pdf_is_refused(pages: list[list[str]]) -> None:
    with pytest.raises(Refused, match="scanned, needs OCR"):
        read(pdf(pages))


@pytest.mark.parametrize("raw", [b"%PDF-1.4\n", b"%PDF-1.4\n" + bytes(range(256)) * 20, pdf([PAGE_1])[:200], pdf([])])
def test_a_broken_pdf_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused, match="not a PDF that can be read"):
        read(raw)
