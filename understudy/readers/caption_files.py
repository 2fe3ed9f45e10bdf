"""Caption files: WebVTT, SubRip, SubViewer, SubStation, YouTube's timed text and json3, TTML, Whisper's."""

import re

from understudy.errors import Refused
from understudy.readers import captions
from understudy.readers.decoding import decode
from understudy.readers.paragraphs import language_code
from understudy.records import Document, Entry

_LANGUAGE = re.compile(r"Language:\s*([\w-]+)\s*$", re.MULTILINE)


def read(raw: bytes, entry: Entry, suffix: str) -> Document:
    """The spoken words, once each, with their times."""
    text = decode(raw, declared=suffix in (".xml", ".srv1", ".srv2", ".srv3", ".ttml", ".dfxp"))
    shown = captions.shown(text, suffix)
    talk = captions.clean(shown.cues)
    if not talk.paragraphs:
        raise Refused("the captions contain no words")
    note = captions.note(text) if suffix == ".vtt" else {}
    head = re.split(r"\n\s*\n", text.replace("\r\n", "\n").lstrip("\ufeff"), maxsplit=1)[0]
    language = _LANGUAGE.search(head) if suffix == ".vtt" and "-->" not in head else None
    return Document(
        document_id=entry.document_id,
        title=note.get("title") or entry.title,
        locator=entry.locator,
        how=f"captions {suffix}",
        language=language_code(language.group(1)) if language else None,
        published=note.get("published"),
        duration_seconds=round(max(cue.end for cue in shown.cues), 1),
        noise_tags=talk.noise_tags,
        speaker_changes=talk.speaker_changes,
        captions=len(shown.cues),
        left_out=talk.left_out | dict(+shown.left_out),
        lost_share=round(talk.lost_share, 3),
        paragraphs=talk.paragraphs,
    )
