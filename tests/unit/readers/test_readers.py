"""A talk says the same in every format, and a file is read only as what it is."""

import io
import json
import os
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.readers.files import archive, book, page, pdf, word, word_paragraphs
from understudy import readers
from understudy.errors import Refused
from understudy.records import Document, Entry

TITLE = "Why tea cools"
FIRST = (
    "A cup of tea stands on the table and is hot. Why does it not stay so? Its warmth moves to the air around it, "
    "and quickly at first, because the difference is large. After ten minutes the tea is only warm, and the same "
    "loss takes twice as long."
)
SECOND = (
    "Blow over the cup and it cools sooner. The air above it was warm and damp, and you have put dry air there; "
    "more water leaves the cup, and what leaves takes heat along. A lid does the opposite, and a saucer under the "
    "cup does hardly anything at all. (Try it!)"
)
BLOCKS = [TITLE, FIRST, SECOND]
JSON3 = json.dumps(
    {
        "events": [{"tStartMs": 0, "id": 1}]
        + [
            {"tStartMs": i * 900, "dDurationMs": 2000, "segs": [{"utf8": w}]}
            for i, w in enumerate(f"{FIRST} {SECOND}".split())
        ]
    }
)
SAME = {
    ".txt": "\n\n".join(BLOCKS).encode(),
    ".md": f"# {TITLE}\n\n{FIRST}\n\n{SECOND}".encode(),
    ".html": page(BLOCKS[1:], f"<title>{TITLE}</title>").encode(),
    ".htm": f"<h1>{TITLE}</h1>{FIRST}<p>{SECOND}".encode(),
    ".docx": word(word_paragraphs(BLOCKS)),
    ".epub": book({"a.xhtml": page(BLOCKS[:2]), "b.xhtml": page(BLOCKS[2:])}, f"<dc:title>{TITLE}</dc:title>"),
    ".pdf": pdf([[TITLE, *textwrap.wrap(FIRST, 80)], textwrap.wrap(SECOND, 80)]),
    ".json3": JSON3.encode(),
}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
OLD_WORD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600

ENTRY = Entry(document_id="a", title="A", locator="a", revision="1")
Read = Callable[[str, bytes], Document]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads bytes as a file of this name."""

    def reading(name: str, raw: bytes) -> Document:
        (tmp_path / name).write_bytes(raw)
        return readers.read(tmp_path / name, ENTRY)

    return reading


@pytest.mark.parametrize("suffix", SAME)
def test_a_talk_says_the_same_in_every_format(read: Read, suffix: str) -> None:
    document = read(f"a{suffix}", SAME[suffix])
    assert document.text.split() == f"{FIRST} {SECOND}".split()
    assert document.title == ("A" if suffix == ".json3" else TITLE) and document.how.endswith(suffix)


def test_every_ending_is_read_in_capitals_too(read: Read) -> None:
    assert read("A.DOCX", SAME[".docx"]).title == TITLE


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("a.txt", SAME[".pdf"], "named .txt but is not plain text: it is a PDF"),
        ("a.md", SAME[".docx"], "named .md but is not plain text: it is a Word document"),
        ("a.txt", SAME[".html"], "named .txt but is not plain text: it is an HTML page"),
        ("a.txt", b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nhi\n", "it is WebVTT captions"),
        ("a.pdf", archive({"a.txt": "hi"}), "named .pdf but is not a PDF: it is a zip archive"),
        ("a.pdf", b"plain words", "named .pdf but is not a PDF"),
        ("a.docx", PNG, "named .docx but is not a Word document: it is a PNG image"),
        ("a.docx", SAME[".epub"], "not a Word document: it is an e-book"),
        ("a.docx", archive({"[Content_Types].xml": "", "xl/workbook.xml": ""}), "it is an Excel workbook"),
        ("a.docx", archive({"[Content_Types].xml": "", "ppt/p.xml": ""}), "it is a PowerPoint presentation"),
        ("a.docx", archive({"content.xml": ""}), "it is an OpenDocument file"),
        ("a.docx", OLD_WORD, "it is an old Office file"),
        ("a.docx", OLD_WORD + "EncryptedPackage".encode("utf-16-le"), "protected by a password"),
        ("a.docx", b"{\\rtf1 hello}", "it is an RTF file"),
        ("a.epub", SAME[".docx"], "not an e-book .EPUB.: it is a Word document"),
        ("a.html", SAME[".pdf"], "not an HTML page: it is a PDF"),
        ("a.html", b"words without a tag", "not an HTML page: it has no tag"),
        ("a.xml", SAME[".html"], "not captions: it is an HTML page"),
        ("a.json3", SAME[".pdf"], "not captions: it is a PDF"),
    ],
)
def test_a_file_under_a_wrong_name_is_refused_saying_what_it_is(read: Read, name: str, raw: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read(name, raw)


@pytest.mark.parametrize("suffix", readers.READERS)
def test_an_empty_and_a_huge_file_are_refused_in_every_format(read: Read, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="empty"):
        read(f"a{suffix}", b" \n")
    with pytest.raises(Refused, match="larger than 25 MB"):
        os.truncate(tmp_path / f"a{suffix}", readers.LIMIT_BYTES + 1)  # a hole: takes no room on the disk
        readers.read(tmp_path / f"a{suffix}", ENTRY)


@pytest.mark.parametrize("suffix", [".docx", ".epub", ".pdf"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
def test_a_file_cut_short_is_refused_or_read_whole(read: Read, suffix: str, share: float) -> None:
    whole = SAME[suffix]
    try:
        document = read(f"a{suffix}", whole[: int(len(whole) * share)])
    except Refused as reason:
        assert str(reason)
    else:
        assert document.text.split() == f"{FIRST} {SECOND}".split()


@pytest.mark.parametrize("suffix", [".docx", ".epub"])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(read: Read, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = archive({"big": b"\0" * (11 * 1024 * 1024)})
    with pytest.raises(Refused, match="times its size: a zip bomb"):
        read(f"a{suffix}", one)
    monkeypatch.setattr(readers.archive, "LIMIT_UNPACKED_BYTES", 5000)
    with pytest.raises(Refused, match="unpacks to"):
        read(f"a{suffix}", archive({f"{i}": bytes(1000) for i in range(6)}))


@pytest.mark.parametrize("suffix", [".docx", ".epub"])
def test_an_archive_behind_a_password_is_refused(read: Read, suffix: str) -> None:
    raw = bytearray(SAME[suffix])
    for at in range(len(raw) - 4):
        if raw[at : at + 4] == b"PK\x01\x02":
            raw[at + 8] |= 1
    with pytest.raises(Refused, match="protected by a password"):
        read(f"a{suffix}", bytes(raw))


def test_a_damaged_member_is_refused(read: Read) -> None:
    raw = SAME[".docx"]
    info = zipfile.ZipFile(io.BytesIO(raw)).getinfo("word/document.xml")
    at = info.header_offset + 60
    with pytest.raises(Refused, match="broken"):
        read("a.docx", raw[:at] + bytes(b ^ 255 for b in raw[at : at + 40]) + raw[at + 40 :])


def test_no_file_is_written_by_an_archive(read: Read, tmp_path: Path) -> None:
    read("a.docx", word(word_paragraphs(BLOCKS), **{"../../evil.txt": "x", "/tmp_evil": "x"}))
    assert [f.name for f in tmp_path.iterdir()] == ["a.docx"] and not (tmp_path.parents[1] / "evil.txt").exists()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not captions in json3"),
        (b"[1]", "not captions in json3"),
        (b'{"events": [{"segs": [{"utf8": "hi"}], "tStartMs": "soon"}]}', "tStartMs"),
        (b'{"events": [{"tStartMs": 5}]}', "no caption with a time"),
        (b'{"events": [{"tStartMs": 5, "segs": [{"utf8": "[Music]"}]}]}', "no words"),
    ],
)
def test_json3_that_holds_no_talk_is_refused(read: Read, raw: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read("a.json3", raw)


def test_json3_keeps_its_times_and_counts_its_noise(read: Read) -> None:
    events = [
        {"tStartMs": 500, "dDurationMs": 2000, "segs": [{"utf8": "[Music]"}]},
        {"tStartMs": 3000, "segs": [{"utf8": "\n"}], "aAppend": 1},
        {"tStartMs": 4000, "dDurationMs": 1500, "segs": [{"utf8": "heat"}, {"utf8": " moves", "tOffsetMs": 300}]},
    ]
    document = read("a.json3", json.dumps({"events": events}).encode())
    assert (document.text, document.noise_tags, document.duration_seconds) == ("heat moves", 1, 5.5)
    assert document.paragraphs[0].start_seconds == 4.0


@pytest.mark.parametrize("start", ["soon", "nan"])
def test_captions_with_a_senseless_time_are_refused(read: Read, start: str) -> None:
    with pytest.raises(Refused, match="1 of 1 captions have a time that makes no sense"):
        read("a.xml", f'<transcript><text start="{start}" dur="1">hi</text></transcript>'.encode())


def test_flags_links_and_comments_of_markdown_stay_as_they_are(read: Read) -> None:
    text = "Run `git--x` with --force, see https://a.b/c--d or <!--not--> a--b/c, and rest--then bake."
    assert read("a.md", text.encode()).text == text.replace("rest--then", "rest -- then")
