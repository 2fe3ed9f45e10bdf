"""Valid files of every format, and seeded damage of them: cut, flipped, doubled, swapped, and inside their archives."""

import io
import json
import random
import textwrap
import zipfile
from collections.abc import Iterator

from tests.unit.readers.files import archive, book, page, pdf, word, word_paragraphs

TEXT = (
    "Bread dough rises because yeast eats sugar and gives off gas. The gas is caught in a net of gluten, "
    "and so the dough grows. Is it left too long, the net tears and the loaf falls flat (try it once). "
)
BLOCKS = ["Why dough rises", TEXT * 2, TEXT]
WORDS = TEXT.split()
ODD = (b"\0", b"<", b"[", b"\n", b"99999999999", b"-1", b"nan")
_CUES = [(at * 2, " ".join(WORDS[at * 3 : at * 3 + 3])) for at in range(len(WORDS) // 3)]


def valid() -> dict[str, bytes]:
    """One whole file of each format that is read, by its ending."""
    vtt = "\n\n".join(f"00:00:{at:02}.000 --> 00:00:{at + 2:02}.000\n<v Ann>{text}" for at, text in _CUES[:25])
    srt = "\n\n".join(f"{at}\n00:00:{at:02},000 --> 00:00:{at + 2:02},000\n{text}" for at, text in _CUES[:25])
    events = [{"tStartMs": at * 1000, "dDurationMs": 2000, "segs": [{"utf8": text}]} for at, text in _CUES]
    lines = [f"0:00:{at:02}.00,0:00:{at + 2:02}.00" for at, _ in _CUES[:25]]
    sbv = "".join(f"{times}\n{text}\n\n" for times, (_, text) in zip(lines, _CUES, strict=False))
    ass = "".join(f"Dialogue: 0,{t},Default,Ann,0,0,0,,{text}\n" for t, (_, text) in zip(lines, _CUES, strict=False))
    spoken = [{"start": at, "end": at + 2, "text": text, "speaker": "SPEAKER_00"} for at, text in _CUES]
    third = "".join(f'<p t="{at}000" d="2000"><s>{text}</s></p>' for at, text in _CUES)
    ttml = "".join(f'<p begin="{at}s" end="00:00:{at + 2:02}.5">{text}<br/></p>' for at, text in _CUES)
    timed = "".join(f'<text start="{at}" dur="2">{text}</text>' for at, text in _CUES)
    return {
        ".txt": "\n\n".join(BLOCKS).encode("utf-16"),
        ".md": f"---\ntitle: Dough\ndate: 2024-05-01\ntags: [a, {{b: c}}]\n---\n# {BLOCKS[0]}\n\n{TEXT}".encode(),
        ".html": page(BLOCKS, f"<title>{BLOCKS[0]}</title><style>p {{}}</style>").encode(),
        ".htm": f"<h1>{BLOCKS[0]}<table><tr><td>{TEXT}<pre>{TEXT}".encode(),
        ".docx": word(word_paragraphs(BLOCKS) + f"<w:tbl><w:tr><w:tc>{word_paragraphs(BLOCKS)}</w:tc></w:tr></w:tbl>"),
        ".epub": book({"a.xhtml": page(BLOCKS[:2]), "b.xhtml": page(BLOCKS[2:])}, "<dc:title>Dough</dc:title>"),
        ".pdf": pdf([textwrap.wrap(block, 70) for block in BLOCKS]),
        ".vtt": f"WEBVTT\nLanguage: en\n\nNOTE\nTitle: Dough\n\n{vtt}\n".encode(),
        ".srt": f"{srt}\n".encode(),
        ".json3": json.dumps({"events": events}).encode(),
        ".json": json.dumps({"segments": spoken}).encode(),
        ".tsv": "".join(f"{at}000\t{at + 2}000\t{text}\n" for at, text in _CUES).encode(),
        ".sbv": sbv.encode(),
        ".ass": f"[Events]\nFormat: Layer, Start, End, Style, Name, L, R, V, Effect, Text\n{ass}".encode(),
        ".ssa": ass.encode(),
        ".srv1": f"<transcript>{timed}</transcript>".encode(),
        ".srv2": f'<timedtext><text t="0" d="900">{TEXT}</text></timedtext>'.encode(),
        ".srv3": f'<timedtext format="3"><body>{third}</body></timedtext>'.encode(),
        ".ttml": f'<tt xmlns="http://www.w3.org/ns/ttml"><body><div>{ttml}</div></body></tt>'.encode(),
        ".dfxp": f"<tt><body><div>{ttml}</div></body></tt>".encode(),
        ".xml": f'<?xml version="1.0"?><transcript>{timed}</transcript>'.encode(),
    }


def damaged(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files (ending, content), every format in turn."""
    chance, files = random.Random(seed), valid()
    for at in range(count):
        suffix = list(files)[at % len(files)]
        raw = files[suffix]
        if raw[:2] == b"PK" and chance.random() < 0.7:
            yield suffix, _inside(raw, chance)
            continue
        for _ in range(chance.randint(1, 4)):
            raw = _hurt(raw, chance)
        yield suffix, raw


def _hurt(raw: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(raw) + 1) for _ in range(2))
    piece = raw[start:end]
    match chance.randrange(7):
        case 0:
            return raw[:end]
        case 1:
            return raw[:start] + bytes(byte ^ 1 << chance.randrange(8) for byte in piece[:20]) + raw[start + 20 :]
        case 2:
            return raw[:start] + piece * chance.randint(2, 40) + raw[end:]
        case 3:
            return raw[:start] + raw[end:]
        case 4:
            return raw[:start] + chance.randbytes(chance.randint(1, 200)) + raw[start:]
        case 5:
            return (
                raw[:start] + chance.choice((b"\0", b"<", b"[", b"\n", b"99999999999", b"-1", b"nan")) * 50 + raw[end:]
            )
        case _:
            return piece + raw[:start] + raw[end:]


def _inside(raw: bytes, chance: random.Random) -> bytes:
    """The archive with one member hurt, packed again as a whole archive."""
    with zipfile.ZipFile(io.BytesIO(raw)) as packed:
        members: dict[str, str | bytes] = {name: packed.read(name) for name in packed.namelist()}
    name = chance.choice(sorted(members))
    hurt = members[name]
    members[name] = _hurt(hurt if isinstance(hurt, bytes) else hurt.encode(), chance)
    return archive(members)
