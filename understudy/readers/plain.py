"""Plain text and markdown, with YAML front matter."""

import re

import yaml

from understudy.errors import Refused
from understudy.readers.decoding import decode
from understudy.readers.paragraphs import document
from understudy.records import Document, Entry


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """A text whose blocks are separated by empty lines."""
    text = decode(raw)
    fields, text = _front_matter(text) if suffix == ".md" else ({}, text)
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    properties = fields | {"date": fields.get("published") or fields.get("date", "")}
    return document(blocks, entry, f"text {suffix}", properties, guess_title=True)


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    match = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    if not match:
        return {}, text
    try:
        fields = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        raise Refused(f"the front matter is not YAML: {str(error).splitlines()[0]}") from None
    fields = fields if isinstance(fields, dict) else {}
    return {str(k).lower(): str(v) for k, v in fields.items() if v is not None}, text[match.end() :]
