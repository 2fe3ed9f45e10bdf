"""Small real files of every kind, made on the spot."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

CONTENT_TYPES = '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Target='
    '"word/document.xml" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/>'
    "</Relationships>"
)
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
XHTML = "application/xhtml+xml"


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """A packed zip with these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return out.getvalue()


def word(body: str, core: str = "", **members: str | bytes) -> bytes:
    """A Word document with `body` inside <w:body> and `core` among its properties."""
    parts = {
        "[Content_Types].xml": CONTENT_TYPES,
        "_rels/.rels": RELATIONS,
        "word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>',
        "docProps/core.xml": '<p:coreProperties xmlns:p="http://schemas.openxmlformats.org/package/2006/metadata/core-'
        f'properties" xmlns:dc="http://purl.org/dc/elements/1.1/">{core}</p:coreProperties>',
    }
    return archive(parts | members)


def word_paragraphs(blocks: Sequence[str]) -> str:
    """One <w:p> per block, its words in two runs."""
    return "".join(
        f"<w:p><w:r><w:t>{escape(b[:7])}</w:t></w:r><w:r><w:t>{escape(b[7:])}</w:t></w:r></w:p>" for b in blocks
    )


def book(pages: Mapping[str, str], metadata: str = "", items: str = "", **members: str | bytes) -> bytes:
    """An e-book with `pages` (name > XHTML) as its spine, in this order."""
    listed = "".join(f'<item id="i{n}" href="{name}" media-type="{XHTML}"/>' for n, name in enumerate(pages))
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(pages)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:opf="http://www.idpf.org/2007/opf"><metadata>{metadata}</metadata>'
        f'<manifest>{listed}{items}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    parts = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OEBPS/book.opf": package}
    return archive(parts | {f"OEBPS/{name}": page for name, page in pages.items()} | members)


def page(blocks: Sequence[str], head: str = "") -> str:
    """An XHTML page with one <p> per block."""
    body = "".join(f"<p>{escape(block)}</p>\n" for block in blocks)
    return f'<html xmlns="http://www.w3.org/1999/xhtml"><head>{head}</head><body>{body}</body></html>'


def pdf(pages: Sequence[Sequence[str]], info: str = "", root: str = "") -> bytes:
    """A PDF by hand: one text object per page, one line of text per string; a page of no lines holds no text."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        f"<</Type/Catalog/Pages 2 0 R{root}>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for n, lines in enumerate(pages):
        shown = "".join(f"({_pdf_string(line)}) Tj T*\n" for line in lines)
        stream = f"BT /F1 11 Tf 14 TL 60 780 Td\n{shown}ET" if lines else ""
        font = "/Resources<</Font<</F1 3 0 R>>>>"
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]{font}/Contents {5 + 2 * n} 0 R>>")
        objects.append(f"<</Length {len(stream)}>>stream\n{stream}\nendstream")
    out, starts = "%PDF-1.4\n", []
    for number, content in enumerate([*objects, f"<<{info}>>"], 1):
        starts.append(len(out))
        out += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{start:010} 00000 n \n" for start in starts)
    count = len(starts) + 1
    trailer = f"trailer<</Size {count}/Root 1 0 R/Info {count - 1} 0 R>>\nstartxref\n{len(out)}\n%%EOF"
    return f"{out}xref\n0 {count}\n0000000000 65535 f \n{table}{trailer}".encode("cp1252")


def locked(raw: bytes, password: str) -> bytes:
    """The PDF behind `password`."""
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(raw))
    writer.encrypt(password, "owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _pdf_string(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
