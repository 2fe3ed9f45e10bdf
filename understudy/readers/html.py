"""The words of an HTML page, without scripts, styles and navigation."""

import re
from html.parser import HTMLParser

from understudy.errors import Refused
from understudy.readers.decoding import decode
from understudy.readers.formulas import raised
from understudy.readers.paragraphs import Title, document
from understudy.records import Document, Entry
from understudy.text.words import one_line, word_count

SKIPPED = frozenset("script style head nav title template noscript svg".split())
ALLOWED_IN_HEAD = frozenset("base basefont bgsound link meta noscript script style template title".split())
BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr html legend li main menu ol option p pre section summary table tbody "
    "td tfoot th thead tr ul".split()
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
NOTES = frozenset(
    "noteref footnote footnotes endnote endnotes rearnote rearnotes pagebreak doc-noteref doc-footnote doc-endnote "
    "doc-endnotes doc-pagebreak doc-backlink footnote-ref footnote-backref".split()
)
"""What is a note, its mark or the number of a printed page, by epub:type, role or class."""
END_LEFT_OUT = frozenset("p li dt dd td th tr".split())
"""Elements that a page may leave open: skipped by their class alone they could take the rest of it along."""
ASIDE_IN_MAIN = frozenset("aside footer".split())
MAIN_WORDS = 10  # fewer are no talk: such a <main> is filled by a script
BETWEEN = {"msup": "^", "msub": "_", "mfrac": "/"}
PUBLISHED = frozenset("article:published_time date dc.date dc.date.issued dcterms.date dcterms.issued".split())
UNFINISHED_CHARACTERS = 2000

_OWN_ENTITIES = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<!doctype[^>\[]{0,1000}\[[^\]]{0,10000}<!entity", re.IGNORECASE)
_INVISIBLE = re.compile("[\xad\u200b\u2060\ufeff]")


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """A saved page. Its title is <title>, or the <h1> when <title> contains it among other things."""
    page = parse(decode(raw, declared=True))
    if not page.tags:
        raise Refused(f"named {suffix} but is not an HTML page: it has no tag")
    title, h1 = page.title, page.first_h1
    if h1 and (not title or h1.casefold() in title.casefold()):
        title = h1
    return document(
        page.blocks, entry, f"html {suffix}", {"title": title, "language": page.language, "date": page.published}
    )


class Page(HTMLParser):
    """The blocks of text of a page, and the properties in its head."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags = 0
        self.title: str | None = None
        self.first_h1: str | None = None
        self.language: str | None = None
        self.published: str | None = None
        self.all_blocks: list[tuple[str, bool, bool]] = []
        self.never_closed: list[str] = []
        self._skipping: list[str] = []
        self._preformatted = 0
        self._h1_from: int | None = None
        self._titles: list[str] = []
        self._text: list[str] = []
        self._main = self._article = 0
        self._raised_from: int | None = None
        self._formula: list[tuple[str, int]] = []

    @property
    def blocks(self) -> list[str]:
        """The blocks of the page's main part where it marks one, else all of them."""
        main, article = ([text for text, *marks in self.all_blocks if marks[at]] for at in (0, 1))
        chosen = next((part for part in (main, article) if sum(map(word_count, part)) >= MAIN_WORDS), None)
        return chosen or [text for text, *_ in self.all_blocks]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += 1
        attributes = {name: value or "" for name, value in attrs}
        self._learn(tag, attributes)
        # The end tag of <head> may be left out: what cannot stand in a head ends it.
        if self._skipping == ["head"] and tag not in ALLOWED_IN_HEAD:
            self._skipping.clear()
        if tag in SKIPPED or self._is_aside(tag, attributes):
            self._skipping.append(tag)
        elif self._skipping:
            # A note may hold elements of its own kind: each has an end.
            self._skipping += [tag] if tag == self._skipping[-1] and tag not in SKIPPED else []
        elif self._formula or tag == "math":
            self._begin_formula(tag, attributes)
        elif tag == "sup":
            self._raised_from = len(self._text)
        elif tag == "br":
            self._text.append("\n")
        elif tag in BLOCKS:
            self._end_block()
            self._preformatted += tag == "pre"
            self._main += tag == "main" or attributes.get("role") == "main"
            self._article += tag == "article"
            if tag == "h1" and self.first_h1 is None:
                self._h1_from = len(self.all_blocks)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._skipping:
            while self._skipping.pop() != tag:  # elements left open inside end with it
                pass
            if tag == "title" and self.title is None and "svg" not in self._skipping:
                self.title = " ".join("".join(self._titles).split())
        elif tag in ("body", "html"):
            self._end_skipping()
        elif self._formula:
            self._end_formula(tag)
        elif tag == "sup" and self._raised_from is not None:
            self._end_raised()
        if tag in BLOCKS and not self._skipping:
            self._end_block(HEADINGS.get(tag))
            self._main -= tag == "main" and self._main > 0
            self._article -= tag == "article" and self._article > 0
            self._preformatted -= tag == "pre" and self._preformatted > 0
        if tag == "h1" and self._h1_from is not None:
            self.first_h1 = " ".join(" ".join(text for text, *_ in self.all_blocks[self._h1_from :]).split()) or None
            self._h1_from = None

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In XHTML <title/> and <script/> are whole; an HTML parser would wait for their end indefinitely.
        self.handle_starttag(tag, attrs)
        if tag in SKIPPED or (self._skipping and self._skipping[-1] == tag) or self._formula:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if self._skipping == ["head"] and data.strip():
            self._skipping.clear()
        if not self._skipping:
            self._text.append(data if self._preformatted else re.sub(r"\s+", " ", data))
        elif self._skipping[-1] == "title" and "svg" not in self._skipping:
            self._titles.append(data)

    def close(self) -> None:
        super().close()
        self._end_skipping()
        self._end_block()

    def _learn(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "html":
            self.language = attributes.get("lang") or attributes.get("xml:lang")
        elif tag == "meta" and (attributes.get("property") or attributes.get("name", "")).lower() in PUBLISHED:
            self.published = self.published or attributes.get("content")

    def _is_aside(self, tag: str, attributes: dict[str, str]) -> bool:
        """Whether an element is no part of what is read: a note, its mark, the number of a page."""
        if tag in ("html", "body", "main", "article"):
            return False
        keys = ("epub:type", "role") if tag in END_LEFT_OUT else ("epub:type", "role", "class")
        names = " ".join(attributes.get(key, "") for key in keys).lower().split()
        return not NOTES.isdisjoint(names) or (tag in ASIDE_IN_MAIN and self._main + self._article > 0)

    def _begin_formula(self, tag: str, attributes: dict[str, str]) -> None:
        """An element of MathML: its LaTeX where the page gives it, else its letters with the signs between them."""
        if tag == "math" and (words := attributes.get("alttext", "").strip()):
            self._text.append(words)
            self._skipping.append(tag)
            return
        if tag in ("annotation", "annotation-xml"):
            self._skipping.append(tag)
            return
        if self._formula:
            parent, children = self._formula[-1]
            self._formula[-1] = (parent, children + 1)
            self._text += [BETWEEN[parent]] if parent in BETWEEN and children == 1 else []
        self._text += ["√"] if tag == "msqrt" else []
        self._formula.append((tag, 0))

    def _end_formula(self, tag: str) -> None:
        if any(tag == opened for opened, _ in self._formula):
            while self._formula.pop()[0] != tag:  # elements left open inside end with it
                pass

    def _end_raised(self) -> None:
        """The end of a superscript: a power, the mark of a note, or letters such as those of 1st."""
        start, self._raised_from = self._raised_from, None
        text = "".join(self._text[start:])
        self._text[start:] = [raised("".join(self._text[:start])[-40:], text)]

    def _end_skipping(self) -> None:
        self.never_closed += [tag for tag in self._skipping if tag not in ("head", "title")]
        self._skipping.clear()

    def _end_block(self, level: int | None = None) -> None:
        """What was read since the last block; the heading of this `level`, where it is one."""
        text = _INVISIBLE.sub("", "".join(self._text)).replace("\xa0", " ")
        marks = (self._main > 0, self._article > 0)
        blocks = [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]
        self.all_blocks += [(Title(block, level) if level else block, *marks) for block in blocks]
        self._text, self._raised_from = [], None


def parse(text: str) -> Page:
    """The page read to its end. Raises Refused for a broken one and one that declares its own entities."""
    if _OWN_ENTITIES.match(text):
        raise Refused("a page that declares its own entities is not read")
    page = Page()
    try:
        page.feed(text)
        # The rest after feed is a tag or comment without its end; close would retry it from each of its letters.
        if page.rawdata.startswith("<") and len(page.rawdata) > UNFINISHED_CHARACTERS and page.cdata_elem is None:
            raise Refused("broken HTML: a tag or comment is never closed")
        page.close()
    except AssertionError as error:  # html.parser's exception for markup it cannot parse
        raise Refused(f"broken HTML: {one_line(str(error), 80)}") from None
    if page.never_closed:  # it contains the rest of the page
        raise Refused(f"broken HTML: <{page.never_closed[0]}> is never closed")
    return page
