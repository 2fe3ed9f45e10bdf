"""Captions that were saved to a file: WebVTT, SubRip, YouTube's timed text and json3."""

import re

from understudy.errors import Refused
from understudy.readers import captions
from understudy.readers.decoding import decode
from understudy.records import Document, Entry


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """What was said, once each, with its times."""
    text = decode(raw)
    try:
        cues = captions.parse(text, suffix)
        found = captions.clean(cues)
    except ValueError as error:
        raise Refused(f"a time in this {suffix} file makes no sense: {str(error).splitlines()[0]}") from None
    if not found.paragraphs:
        raise Refused("the captions hold no words")
    told = captions.note(text) if suffix == ".vtt" else {}
    language = re.search(r"^Language:\s*([A-Za-z-]+)", text, re.MULTILINE)
    return Document(
        document_id=entry.document_id,
        title=told.get("title") or entry.title,
        locator=entry.locator,
        how=f"captions {suffix}",
        language=language.group(1) if language else None,
        published=told.get("published"),
        duration_seconds=round(max(cue.end for cue in cues), 1),
        noise_tags=found.noise_tags,
        speaker_changes=found.speaker_changes,
        paragraphs=found.paragraphs,
    )
