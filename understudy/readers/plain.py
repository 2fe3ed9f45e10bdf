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
    """The fields between two lines of dashes, each as it is written, and the text below them."""
    match = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n", text, re.DOTALL)
    if not match:
        return {}, text
    try:
        # As strings: a date such as 2024-02-30 is no reason to refuse a talk, and the language 'no' is Norwegian.
        fields = yaml.load(match.group(1), yaml.BaseLoader)
    except RecursionError:
        raise Refused("the front matter is nested too deep") from None
    except yaml.YAMLError as error:
        raise Refused(f"the front matter is not YAML: {str(error).splitlines()[0]}") from None
    pairs = fields.items() if isinstance(fields, dict) else ()
    values = {key.lower(): value for key, value in pairs if isinstance(key, str) and isinstance(value, str)}
    return {key: value for key, value in values.items() if value not in ("null", "~")}, text[match.end() :]
