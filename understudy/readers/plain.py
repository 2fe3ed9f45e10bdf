"""Plain text and markdown, with YAML front matter."""

import re

import yaml

from understudy.errors import Refused
from understudy.readers.decoding import decode
from understudy.readers.paragraphs import heading, pieces
from understudy.records import Document, Entry, Paragraph


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """A text whose blocks stand between empty lines."""
    text = decode(raw)
    told, text = _front_matter(text) if suffix == ".md" else ({}, text)
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")) if block.strip()]
    title = told.get("title") or heading(blocks) or entry.title
    paragraphs = [Paragraph(text=piece) for piece in pieces(blocks)]
    if not paragraphs:
        raise Refused("the file holds a heading and no text")
    return Document(
        document_id=entry.document_id,
        title=title,
        locator=entry.locator,
        how=f"text {suffix}",
        language=told.get("language"),
        published=told.get("published") or told.get("date"),
        paragraphs=paragraphs,
    )


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    found = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    if not found:
        return {}, text
    try:
        told = yaml.safe_load(found.group(1))
    except yaml.YAMLError as error:
        raise Refused(f"the front matter is not YAML: {str(error).splitlines()[0]}") from None
    told = told if isinstance(told, dict) else {}
    return {str(k).lower(): str(v) for k, v in told.items() if v is not None}, text[found.end() :]
