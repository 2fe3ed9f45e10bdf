"""One file is one talk; what cannot be read is refused with its reason, and the others go on."""

import zipfile
from collections import Counter
from pathlib import Path

import pytest

from understudy.errors import Refused
from understudy.sources.documents import DocumentsSource, channel_name

WORDS = "Heat moves from the hot thing to the cold thing. " * 12


def source(path: Path, **options: object) -> DocumentsSource:
    return DocumentsSource(DocumentsSource.Options(path=path, **options))


def fetched(folder: Path, name: str, raw: bytes) -> object:
    (folder / name).write_bytes(raw)
    result = source(folder)
    return result.fetch(next(entry for entry in result.entries() if entry.locator == name))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b" \n \n", "empty"),
        (b"\x00\x01\x02" * 50, "binary"),
        (bytes(range(128, 160)) * 40, "the encoding is not known; save it as UTF-8"),
        (b"Too short.", "only 2 words"),
    ],
)
def test_a_file_that_is_no_talk_is_refused_with_its_reason(tmp_path: Path, raw: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        fetched(tmp_path, "a.txt", raw)


def test_a_type_that_is_not_read_is_refused_naming_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"\.rtf are not read; use \.txt"):
        fetched(tmp_path, "a.rtf", WORDS.encode())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_in_every_usual_encoding_says_the_same(tmp_path: Path, encoding: str) -> None:
    document = fetched(tmp_path, "a.txt", f"Über Wärme\n\nGrüße. {WORDS}".encode(encoding))
    assert document.title == "Über Wärme" and document.text.startswith("Grüße.")


def test_a_page_in_the_folder_is_a_talk_and_one_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    page = f"<html lang=en><title>On Heat</title><p>{WORDS}</p></html>".encode()
    document = fetched(tmp_path, "a.html", page)
    assert (document.title, document.language, document.text.split()) == ("On Heat", "en", WORDS.split())
    with pytest.raises(Refused, match=r"named \.txt but is not plain text: it is an HTML page"):
        fetched(tmp_path, "b.txt", page)


def test_front_matter_becomes_metadata_and_not_text(tmp_path: Path) -> None:
    text = f"---\ntitle: On Heat\ndate: 2024-05-01\n---\n# Heading\n\n{WORDS}"
    document = fetched(tmp_path, "a.md", text.encode())
    assert (document.title, document.published) == ("On Heat", "2024-05-01")
    assert "date:" not in document.text


def test_long_texts_are_cut_between_sentences_and_lose_no_word(tmp_path: Path) -> None:
    document = fetched(tmp_path, "a.txt", (WORDS * 10).encode())
    assert document.text.split() == (WORDS * 10).split()
    assert all(p.text.endswith(".") and len(p.text.split()) < 140 for p in document.paragraphs)


def test_names_from_outside_never_leave_the_folder(tmp_path: Path) -> None:
    for name in ("a b.txt", "ü.txt", "x" * 150 + ".txt", "-rf.txt"):
        (tmp_path / name).write_text(WORDS)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.txt").write_text(WORDS)
    ids = [entry.document_id for entry in source(tmp_path).entries()]
    assert len(set(ids)) == 5 and not [i for i in ids if "/" in i or i.startswith((".", "-"))]


def test_readme_and_hidden_files_are_not_talks(tmp_path: Path) -> None:
    for name in ("README.md", ".hidden.txt", "a.txt"):
        (tmp_path / name).write_text(WORDS)
    assert [entry.locator for entry in source(tmp_path).entries()] == ["a.txt"]


def test_a_missing_and_an_empty_folder_are_said_in_a_sentence(tmp_path: Path) -> None:
    assert "there is no folder" in source(tmp_path / "nowhere").problems()[0]
    assert "no file in" in source(tmp_path).problems()[0]


def test_the_sample_channel_is_whole(root: Path) -> None:
    result = source(root / "deployments" / "sample_channel")
    documents = [result.fetch(entry) for entry in result.entries()]
    assert len(documents) >= 10
    for document in documents:
        assert 500 <= document.words <= 1_400 and document.duration_seconds and document.text.count("?") >= 6


def test_a_channel_is_named_after_its_folder(tmp_path: Path) -> None:
    assert channel_name(tmp_path / "My Talks!") == "my-talks"


def test_three_good_files_are_found_among_ten_thousand(tmp_path: Path) -> None:
    kinds = [(".txt", b""), (".pdf", b"not a pdf"), (".jpg", b"\xff\xd8\xff"), (".docx", b"PK"), (".srt", b"\0\0\0\0")]
    for at in range(9_996):
        suffix, content = kinds[at % len(kinds)]
        (tmp_path / f"{at:05}{suffix}").write_bytes(content)
    with (tmp_path / "huge.pdf").open("wb") as sparse:
        sparse.write(b"%PDF-1.7\n")
        sparse.truncate(2_000_000_000)
    for at in range(3):
        (tmp_path / f"good-{at}.md").write_text(f"{WORDS} Number {at}.")
    talks = DocumentsSource(DocumentsSource.Options(path=tmp_path))
    read, refused = [], Counter[str]()
    for entry, refusal in talks.list_talks():
        try:
            read.append(talks.fetch(entry).title)
        except Refused as error:
            refused[str(refusal or error)] += 1
    assert read == ["Good 0", "Good 1", "Good 2"]
    assert sum(refused.values()) == 9_997 and refused["larger than 25 MB"] == 1
    assert refused["the file is empty"] >= 1_999


@pytest.mark.parametrize("name", ["bomb.docx", "bomb.epub"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("mimetype", "application/epub+zip")
        with packed.open("word/document.xml" if name.endswith("docx") else "META-INF/container.xml", "w") as member:
            for _ in range(300):
                member.write(bytes(1_000_000))
    talks = source(tmp_path)
    with pytest.raises(Refused, match="unpack"):
        talks.fetch(next(talks.entries()))
