"""Word documents and e-books give what a reader would read, in the order of reading."""

import io
import zipfile

import pytest

from tests.unit.readers.files import CONTAINER, RELATIONS, XHTML, archive, book, page, word, word_paragraphs
from understudy.errors import Refused
from understudy.readers import docx, epub
from understudy.records import Document, Entry

ENTRY = Entry(document_id="a", title="A", locator="a", revision="1")
START = word_paragraphs(["First."])
BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


def read_word(body: str, core: str = "", **members: str | bytes) -> Document:
    return docx.read(word(body, core, **members), ENTRY, ".docx")


def read_book(pages: dict[str, str], metadata: str = "", items: str = "", **members: str | bytes) -> Document:
    return epub.read(book(pages, metadata, items, **members), ENTRY, ".epub")


def test_cells_of_a_table_are_read_row_by_row() -> None:
    rows = "".join(
        f"<w:tr>{''.join(f'<w:tc>{word_paragraphs([cell])}</w:tc>' for cell in row)}</w:tr>" for row in ("ab", "cd")
    )
    assert read_word(f"{word_paragraphs(['Before.'])}<w:tbl>{rows}</w:tbl>").text == "Before. a b c d"


def test_tracked_changes_read_as_accepted() -> None:
    body = (
        "<w:p><w:r><w:t>It </w:t></w:r><w:del><w:r><w:delText>stays</w:delText></w:r></w:del><w:ins><w:r>"
        "<w:t>moves</w:t></w:r></w:ins><w:moveFrom><w:r><w:t>away</w:t></w:r></w:moveFrom><w:r><w:t>.</w:t></w:r></w:p>"
    )
    assert read_word(body).text == "It moves."


def test_a_text_box_is_read_once_and_apart_from_its_paragraph() -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    body = (
        f"<w:p><w:r><w:t>Around.</w:t></w:r><w:r><mc:AlternateContent {mc}><mc:Choice>{box}</mc:Choice>"
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    assert sorted(read_word(START + body).text.split()) == ["Around.", "First.", "boxed"]


def test_tabs_and_breaks_part_words_and_tab_stops_do_not() -> None:
    body = (
        '<w:p><w:pPr><w:tabs><w:tab w:val="left" w:pos="9"/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t>'
        "<w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t></w:r></w:p>"
    )
    assert read_word(START + body).text == "First. a b c-d"


def test_a_table_of_contents_is_not_text() -> None:
    contents = '<w:p><w:pPr><w:pStyle w:val="TOC1"/></w:pPr><w:r><w:t>Heat 7</w:t></w:r></w:p>'
    assert read_word(contents + word_paragraphs(["It moves."])).text == "It moves."


def test_title_and_language_come_from_the_properties() -> None:
    document = read_word(
        word_paragraphs(["ON HEAT", "It moves."]), "<dc:title>On Heat</dc:title><dc:language>en-GB</dc:language>"
    )
    assert (document.title, document.language, document.text) == ("On Heat", "en-GB", "It moves.")


def test_a_document_nested_very_deep_is_read() -> None:
    deep = "<w:sdt>" * 20000 + word_paragraphs(["It moves."]) + "</w:sdt>" * 20000
    assert read_word(deep).text == "It moves."


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"word/document.xml": f"{BOMB}<w>&b;</w>"}, "declares its own entities"),
        ({"docProps/core.xml": f"{BOMB}<w>&b;</w>"}, "declares its own entities"),
        ({"word/document.xml": "<w:document>"}, "not well-formed XML"),
        ({"word/document.xml": ""}, "not well-formed XML"),
        ({"_rels/.rels": "<none/>"}, "names no main part"),
        ({"_rels/.rels": RELATIONS.replace("word/document", "word/other")}, "'word/other.xml' is missing"),
    ],
)
def test_a_broken_word_document_is_refused_naming_the_part(members: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read_word(word_paragraphs(["It moves."]), **members)


def test_an_empty_word_document_is_refused() -> None:
    with pytest.raises(Refused, match="no text"):
        read_word("<w:p/>")


def test_chapters_are_read_in_the_order_of_the_spine() -> None:
    document = read_book(
        {"z.xhtml": page(["One."]), "sub/a%20b.xhtml": page(["Two."])}, **{"OEBPS/sub/a b.xhtml": page(["Two."])}
    )
    assert document.text == "One. Two."


def test_the_table_of_contents_of_a_book_is_not_text() -> None:
    nav = f'<item id="nav" href="nav.xhtml" media-type="{XHTML}" properties="nav"/>'
    document = read_book({"a.xhtml": page(["One."])}, items=nav, **{"OEBPS/nav.xhtml": page(["Chapter one"])})
    assert document.text == "One."
    guide = f'<item id="nav" href="toc.html" media-type="{XHTML}"/><reference type="toc" href="toc.html#x"/>'
    document = read_book({"a.xhtml": page(["One."])}, items=guide, **{"OEBPS/toc.html": page(["Chapter one"])})
    assert document.text == "One."


def test_title_language_and_day_of_publication_come_from_the_package() -> None:
    metadata = (
        "<dc:title>On Heat</dc:title><dc:language>en</dc:language>"
        '<dc:date opf:event="modification">2025-01-01</dc:date>'
        '<dc:date opf:event="publication">1861-03-05</dc:date>'
    )
    document = read_book({"a.xhtml": page(["On Heat", "It moves."])}, metadata)
    assert (document.title, document.language, document.published) == ("On Heat", "en", "1861-03-05")
    assert document.text == "It moves."


def encryption(name: str) -> dict[str, str]:
    return {"META-INF/encryption.xml": f'<e><CipherReference URI="OEBPS/{name}"/></e>'}


def test_scrambled_fonts_are_fine_and_scrambled_chapters_are_refused() -> None:
    assert read_book({"a.xhtml": page(["One."])}, **encryption("font.otf")).text == "One."
    with pytest.raises(Refused, match="DRM"):
        read_book({"a.xhtml": page(["One."])}, **encryption("a.xhtml"))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"META-INF/container.xml": f"{BOMB}<a>&b;</a>"}, "declares its own entities"),
        ({"META-INF/container.xml": "<a/>"}, "names no package"),
        ({"META-INF/container.xml": CONTAINER.replace("book.opf", "no.opf")}, "'OEBPS/no.opf' is missing"),
        ({"OEBPS/book.opf": f"{BOMB}<a>&b;</a>"}, "declares its own entities"),
        ({"OEBPS/book.opf": "<package/>"}, "lists no chapter"),
        ({"OEBPS/a.xhtml": f"{BOMB}<p>&b;</p>"}, "declares its own entities"),
    ],
)
def test_a_broken_book_is_refused_naming_the_part(members: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read_book({"a.xhtml": page(["One."])}, **members)


def test_a_book_that_misses_a_chapter_is_refused_and_not_read_in_part() -> None:
    whole = book({"a.xhtml": page(["One."]), "b.xhtml": page(["Two."])})
    packed = zipfile.ZipFile(io.BytesIO(whole))
    cut = archive({name: packed.read(name) for name in packed.namelist() if not name.endswith("b.xhtml")})
    with pytest.raises(Refused, match="'OEBPS/b.xhtml' is missing"):
        epub.read(cut, ENTRY, ".epub")
