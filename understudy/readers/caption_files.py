"""Caption files: WebVTT, SubRip, YouTube's timed text and json3."""

import re

from understudy.errors import Refused
from understudy.readers import captions
from understudy.readers.decoding import decode
from understudy.records import Document, Entry


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """The spoken words, once each, with their times."""
    text = decode(raw)
    try:
        cues = captions.parse(text, suffix)
        talk = captions.clean(cues)
    except ValueError as error:
        raise Refused(f"a time in this {suffix} file makes no sense: {str(error).splitlines()[0]}") from None
    if not talk.paragraphs:
        raise Refused("the captions contain no words")
    note = captions.note(text) if suffix == ".vtt" else {}
    language = re.search(r"^Language:\s*([A-Za-z-]+)", text, re.MULTILINE)
    return Document(
        document_id=entry.document_id,
        title=note.get("title") or entry.title,
        locator=entry.locator,
        how=f"captions {suffix}",
        language=language.group(1) if language else None,
        published=note.get("published"),
        duration_seconds=round(max(cue.end for cue in cues), 1),
        noise_tags=talk.noise_tags,
        speaker_changes=talk.speaker_changes,
        paragraphs=talk.paragraphs,
    )
