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


MATH = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def m(tag: str, *inner: str) -> str:
    return f"<m:{tag}>{''.join(inner)}</m:{tag}>"


def letter(text: str) -> str:
    return m("r", m("t", text))


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        (letter("a=b") + m("sSup", m("e", letter("x")), m("sup", letter("10"))), "a=bx^{10}"),
        (m("f", m("fPr"), m("num", letter("1")), m("den", letter("n"))), r"\frac{1}{n}"),
        (m("rad", m("deg"), m("e", m("sSub", m("e", letter("v")), m("sub", letter("0"))))), r"\sqrt{v_0}"),
        ('<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr>' + m("sub", letter("i")) + m("sup", letter("9"))
         + m("e", letter("k")) + "</m:nary>", "∑_i^9k"),
        (m("d", m("e", letter("p")), m("e", letter("q"))), "(p, q)"),
    ],
)  # fmt: skip
def test_an_equation_is_text(equation: str, text: str) -> None:
    body = f"<w:p {MATH}>{run('Here ')}<m:oMathPara>{m('oMath', equation)}</m:oMathPara>{run(' holds.')}</w:p>"
    assert read_word(START + body).text == f"First. Here {text} holds."


def test_a_power_stays_and_the_mark_of_a_note_goes() -> None:
    up = '<w:vertAlign w:val="superscript"/>'
    body = run("It is 10") + run("3", up) + run(" m") + run("2", up) + run(" as Ohm says") + run("12", up)
    body += run(", on the 1") + run("st", up) + run(" page") + run("*", up) + run(".")
    page_text = (
        "<p>It is 10<sup>3</sup> m<sup>2</sup> as Ohm says<a href='#n'><sup>12</sup></a>, on the 1<sup>st</sup> "
        "page<sup>[3]</sup>.</p>"
    )
    assert read_word(f"<w:p>{body}</w:p>").text == "It is 10³ m² as Ohm says, on the 1st page."
    assert read_book({"a.xhtml": f"<html><body>{page_text}</body></html>"}).text == read_word(f"<w:p>{body}</w:p>").text


def test_hidden_words_are_not_read() -> None:
    body = run("Seen ") + run("unseen ", "<w:vanish/>") + run("too.", '<w:vanish w:val="0"/>')
    assert read_word(f"<w:p>{body}</w:p>").text == "Seen too."


def styled(style: str, text: str) -> str:
    return f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr>{run(text)}</w:p>'


def test_contents_are_known_by_their_style_their_field_and_their_numbers() -> None:
    styles = (
        '<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        '<w:style w:styleId="17"><w:name w:val="toc 2"/></w:style><w:style w:styleId="3"><w:name w:val="heading 2"/>'
        "</w:style></w:styles>"
    )
    said = word_paragraphs(["It moves."])
    assert read_word(styled("17", "Тепло 4") + styled("3", "Heat.") + said, **{"word/styles.xml": styles}).text == (
        "Heat. It moves."
    )
    assert read_word(styled("TM1", "Chaleur 3") + styled("Innehll2", "Värme 5") + said).text == "It moves."

    def char(kind: str) -> str:
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    begin = char("begin") + '<w:r><w:instrText> TOC \\o "1-3" </w:instrText></w:r>' + char("separate")
    field = f"<w:p>{begin}{run('One 1')}</w:p><w:p>{run('Two 2')}{char('end')}</w:p>"
    assert read_word(field + said).text == "It moves."
    typed = "".join(f"<w:p>{run(f'Part {n}' + '.' * 9 + str(n * 4))}</w:p>" for n in (1, 2, 3))
    assert read_word(typed + said).text == "It moves."
    table = "".join(
        f"<w:p>{run(name + chr(9) + number)}</w:p>" for name, number in (("Cu", "401"), ("Fe", "80"), ("Pb", "35"))
    )
    assert "Fe 80" in read_word(table + said).text, "numbers that fall are no pages"


def test_a_document_that_was_put_in_whole_is_read_in_its_place() -> None:
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="c1" '
        'Target="chunk.html" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/aFChunk"/>'
        '<Relationship Id="c2" Target="/word/in.docx" Type="x/aFChunk"/></Relationships>'
    )
    r = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    body = f'{START}<w:altChunk {r} r:id="c1"/><w:altChunk {r} r:id="c2"/><w:altChunk {r} r:id="c9"/>'
    parts: dict[str, str | bytes] = {
        "word/_rels/document.xml.rels": relations,
        "word/chunk.html": "<html><body><p>Second.</p></body></html>",
        "word/in.docx": word(word_paragraphs(["Third."])),
    }
    assert read_word(body + word_paragraphs(["Fourth."]), **parts).text == "First. Second. Third. Fourth."


def test_notes_and_numbers_of_printed_pages_are_not_text() -> None:
    text = (
        '<p>Heat<a epub:type="noteref" href="#n">1</a> flows<span epub:type="pagebreak" id="p7"/> from '
        '<span role="doc-pagebreak">8</span>warm to <a class="footnote-ref" href="#f">[2]</a>cold.</p>'
        '<aside epub:type="footnote"><aside><p>1 Not said.</p></aside></aside><section role="doc-endnotes"><p>No.</p>'
        '</section><p>It <em>always</em> does.</p><ol class="footnotes"><li>Neither.</li></ol>'
    )
    assert read_book({"a.xhtml": f"<html><body>{text}</body></html>"}).text == (
        "Heat flows from warm to cold. It always does."
    )


def test_mathml_is_text() -> None:
    text = (
        "<p>So <math alttext='v=\\frac{s}{t}'><mi>v</mi></math> and <math><mi>E</mi><mo>=</mo><mi>m</mi><msup>"
        "<mi>c</mi>"
        "<mn>2</mn></msup><annotation>no</annotation></math> and <math><mfrac><mi>a</mi><msqrt><mi>b</mi></msqrt>"
        "</mfrac></math> hold.</p>"
    )
    assert read_book({"a.xhtml": f"<html><body>{text}</body></html>"}).text == (
        "So v=\\frac{s}{t} and E=mc^2 and a/√b hold."
    )
