"""A page gives its words and what its head tells, and nothing that is there for browsers."""

import pytest

from understudy.errors import Refused
from understudy.readers import html
from understudy.records import Document, Entry


def read(text: str | bytes) -> Document:
    raw = text if isinstance(text, bytes) else text.encode()
    return html.read(raw, Entry(document_id="a", title="A", locator="a.html", revision="1"), ".html")


@pytest.mark.parametrize("tag", sorted(html.SKIPPED - {"head"}))
def test_what_is_there_for_browsers_is_not_text(tag: str) -> None:
    assert read(f"<body><p>before</p><{tag}>hidden</{tag}><p>after</p>").text.split() == ["before", "after"]


def test_words_in_two_blocks_are_two_words_and_in_two_spans_one() -> None:
    assert read("<div>one</div><div>two</div><table><tr><td>3<td>4</table><b>fi</b><i>ve</i><br>six").text.split() == (
        "one two 3 4 five six".split()
    )


@pytest.mark.parametrize(
    "text",
    [
        "<html><head><title>T</title><body><p>words</p></body></html>",
        "<title>T</title><p>words",
        "<html><head><meta charset=utf-8><title>T</title><p>words",
        "<head><title>T</title></head>words<svg><title>icon</title></svg>",
        "<html><head><title/><title>T</title><script/></head><body>words</body></html>",
    ],
)
def test_a_head_may_be_left_open_or_out(text: str) -> None:
    assert (read(text).title, read(text).text) == ("T" if "<title/>" not in text else "A", "words")


def test_a_first_heading_inside_a_longer_title_is_the_title() -> None:
    document = read("<title>On Heat | Lectures</title><h1>On <i>Heat</i></h1><p>It moves.</p><h1>More</h1>")
    assert (document.title, document.text) == ("On Heat", "It moves. More")


def test_another_title_leaves_the_heading_in_the_text() -> None:
    document = read("<title>Lectures</title><h1>On Heat</h1><p>It moves.</p>")
    assert (document.title, document.text) == ("Lectures", "On Heat It moves.")


def test_language_and_day_come_from_the_head() -> None:
    meta = '<meta property="article:published_time" content="2024-05-01T10:00:00Z">'
    document = read(f'<html lang="en-GB"><head>{meta}</head><p>words here')
    assert (document.language, document.published) == ("en-GB", "2024-05-01")


@pytest.mark.parametrize(("date", "day"), [("2024", None), ("2024-13-01", None), ("0101-01-01T00:00", None)])
def test_a_day_that_is_none_is_not_told(date: str, day: str | None) -> None:
    assert read(f'<meta name="date" content="{date}"><p>words here').published is day


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("<meta charset=utf-8><p>Wärme fließt", "utf-8"),
        ("<meta charset='iso-8859-2'><p>Teplo ř ž ů", "iso-8859-2"),
        ("<meta http-equiv=x content='text/html; charset=shift_jis'><p>熱は移る", "shift_jis"),
        ("<meta charset=latin-1><p>“heat” – always", "cp1252"),
        ("<meta charset=nonsense><p>Wärme", "cp1252"),
        ("<p>Wärme", "utf-16"),
    ],
)
def test_a_page_is_read_in_the_encoding_it_declares(text: str, encoding: str) -> None:
    assert read(text.encode(encoding)).text == text.rpartition(">")[2]


def test_entities_and_invisible_characters_become_plain_text() -> None:
    assert read("<p>a&nbsp;b &amp; c&shy;d &#8220;e&#8221;").text == "a b & cd “e”"


def test_preformatted_text_keeps_its_paragraphs() -> None:
    first = "one " * 40
    assert [p.text for p in read(f"<pre>{first}\n\n  two\nthree</pre>").paragraphs] == [first.strip(), "two three"]


def test_a_page_that_declares_entities_is_refused() -> None:
    with pytest.raises(Refused, match="declares its own entities"):
        read('<!DOCTYPE html [<!ENTITY a "b">]><p>&a;')


@pytest.mark.parametrize("piece", ["<a ", "<!--", '<a b="', "<?"])
def test_a_tag_that_never_ends_is_refused_at_once(piece: str) -> None:
    with pytest.raises(Refused, match="never closed"):
        read("<p>words" + piece * 20_000)


@pytest.mark.parametrize("tag", ["nav", "script", "template"])
def test_what_swallows_the_rest_of_a_page_refuses_it(tag: str) -> None:
    with pytest.raises(Refused, match=f"<{tag}> is never closed"):
        read(f"<body><p>words</p><{tag}><p>more words</p></body></html>")


def test_markup_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(Refused, match="broken HTML"):
        read("<p>words<![<![<![")


@pytest.mark.parametrize("end", ["", " <", " <b", " &am"])
def test_a_page_cut_short_keeps_the_words_before(end: str) -> None:
    assert read("<p>" + "words " * 500 + end).text.split()[:500] == ["words"] * 500


def test_a_page_without_words_is_refused() -> None:
    with pytest.raises(Refused, match="no text"):
        read("<html><head><title>T</title></head><body><script>x</script></body></html>")


TALK = "<p>Dough rises because yeast eats sugar, and the gas is caught in a net of gluten that has to rest.</p>"
FURNITURE = "<div class=cookies>We use cookies.</div><aside>Ten best ovens.</aside>"


@pytest.mark.parametrize(
    "part",
    [
        f"<main>{TALK}<aside>Buy now.</aside></main>",
        f"<article>{TALK}</article>",
        f"<div role=main><h2>Bread</h2></div><article>{TALK}</article>",
        f"<main><article>{TALK}</article><footer>Share it.</footer></main>",
    ],
)
def test_the_main_part_of_a_page_is_read_alone(part: str) -> None:
    text = read(f"<title>Bread</title><body>{FURNITURE}{part}<footer>Copyright. Privacy.</footer></body>").text
    assert text.startswith("Dough rises") and text.endswith("has to rest.")


def test_a_main_part_without_words_leaves_the_page_as_it_is() -> None:
    assert "Dough" in read(f"<title>Bread</title><main><p>Loading</p></main>{TALK}").text


def test_a_class_alone_takes_no_open_paragraph_along() -> None:
    assert read("<title>T</title><p class=footnote>One<p>Two<p>Three").text == "One Two Three"
