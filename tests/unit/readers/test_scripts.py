"""Words, sentences and paragraphs in every script, in every format."""

from pathlib import Path

import pytest

from tests.unit.readers.files import pdf, word, word_paragraphs
from understudy import readers
from understudy.readers import captions
from understudy.records import Document, Entry
from understudy.text.words import word_count

ENTRY = Entry(document_id="a", title="A", locator="a", revision="1")
SENTENCES = {
    "zh": "面团会发起来，是因为酵母吃糖并放出气体。放得太久，面团就会塌下去。",
    "ja": "生地がふくらむのは、酵母が砂糖を食べるからです。長く置くとしぼみます。",
    "hi": "आटा फूलता है क्योंकि खमीर चीनी खाता है। ज़्यादा देर रखने पर वह बैठ जाता है। ",
    "ar": "يرتفع العجين لأن الخميرة تأكل السكر. هل نتركه طويلا؟ لا، فإنه يهبط. ",
    "ru": "Тесто поднимается, потому что дрожжи едят сахар. Если ждать долго, оно опадёт. ",
    "de": "Übrigens geht der Teig auf. Ähnlich ist es beim Kuchen. Öfen müssen heiß sein. ",
    "th": "แป้งขึ้นเพราะยีสต์กินน้ำตาลและปล่อยก๊าซออกมา ถ้าทิ้งไว้นานเกินไปแป้งจะยุบ ",
}


def read(tmp_path: Path, suffix: str, raw: bytes) -> Document:
    (tmp_path / f"a{suffix}").write_bytes(raw)
    return readers.read(tmp_path / f"a{suffix}", ENTRY)


def sizes(document: Document) -> list[int]:
    return [word_count(paragraph.text) for paragraph in document.paragraphs]


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("suffix", [".txt", ".docx", ".vtt"])
def test_paragraphs_have_about_110_words_and_lose_none(tmp_path: Path, language: str, suffix: str) -> None:
    text = (SENTENCES[language] * 60).strip()
    raw = text.encode()
    if suffix == ".docx":
        raw = word(word_paragraphs([text]))
    if suffix == ".vtt":
        cues = [f"00:{at:02}:00.000 --> 00:{at:02}:59.000\n{SENTENCES[language]}\n" for at in range(60)]
        raw = ("WEBVTT\n\n" + "\n".join(cues)).encode()
    document = read(tmp_path, suffix, raw)
    assert "".join(document.text.split()) == "".join(text.split())
    assert max(sizes(document)) <= 200 and min(sizes(document)[:-1]) >= 25
    if language in ("zh", "ja"):
        assert " " not in document.text


@pytest.mark.parametrize(
    "text", ["we knead the dough for ten minutes\n" * 300, "we knead the dough for ten minutes " * 300]
)
def test_text_without_any_sentence_end_is_cut_by_its_length(tmp_path: Path, text: str) -> None:
    document = read(tmp_path, ".txt", text.encode())
    assert max(sizes(document)) <= 200 and document.text.split() == text.split()
    assert document.title == "A", "one line of many is no title"


def test_chinese_lines_of_a_pdf_and_of_captions_join_without_a_space() -> None:
    lines = ["面团会发起来，是因为酵", "母吃糖并放出气体。Yeast", "is alive", "也就是说"]
    vtt = "WEBVTT\n\n00:00.000 --> 00:05.000\n" + "\n".join(lines)
    [paragraph] = captions.clean(captions.parse(vtt, ".vtt")).paragraphs
    assert paragraph.text == "面团会发起来，是因为酵母吃糖并放出气体。Yeast is alive 也就是说"


def test_a_word_broken_at_the_end_of_a_line_is_whole_again(tmp_path: Path) -> None:
    text = "Dough\n\nThe fermen-\ntation of a well-\nknown dough is slow-\ner; use --dry-run or i--\n"
    text += "and a lamp--the old one.\n"
    assert read(tmp_path, ".txt", text.encode()).text == (
        "The fermentation of a well-known dough is slower; use --dry-run or i-- and a lamp -- the old one."
    )
    assert (
        "fermentation"
        in read(tmp_path, ".pdf", pdf([["A long enough line of text about the fermen-", "tation of dough."]])).text
    )
