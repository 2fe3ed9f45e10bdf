"""Who speaks and when is data, not words; a talk of several is flagged, and may be made that of one."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.readers.files import word, word_paragraphs
from understudy import readers, registry
from understudy.calls import prompting
from understudy.errors import Refused
from understudy.readers import speakers
from understudy.records import Document, Entry
from understudy.sources.documents import DocumentsSource
from understudy.stages import collect

ENTRY = Entry(document_id="a", title="A", locator="a", revision="1")
ASKED = [f"Why does dough number {n} rise?" for n in range(12)]
TAUGHT = [f"Because yeast in dough {n} eats its sugar and gives off gas all night." for n in range(12)]
TURNS = [turn for pair in zip(ASKED, TAUGHT, strict=True) for turn in (("Sam Poe", pair[0]), ("Jane Doe", pair[1]))]


def clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}"


def vtt(form: str) -> str:
    cues = []
    for at, (name, text) in enumerate(TURNS):
        time = f"00:{at // 6:02}:{at * 10 % 60:02}.000 --> 00:{at // 6:02}:{at * 10 % 60 + 9:02}.000"
        cues.append(f"{time}\n{form.format(name, text)}")
    return "WEBVTT\n\n" + "\n\n".join(cues)


NAMED = {
    "zoom.vtt": vtt("{}: {}"),
    "teams.vtt": vtt("<v {}>{}</v>"),
    "youtube.vtt": vtt(">> {}: {}"),
    "zoom.txt": "\n".join(f"[{clock(at * 10)}] {name}: {text}" for at, (name, text) in enumerate(TURNS)),
    "otter.txt": "\n\n".join(f"{name}  {clock(at * 10)}\n{text}" for at, (name, text) in enumerate(TURNS)),
    "meet.txt": "Baking\n" + "\n".join(f"{name}\n{clock(at * 10)}\n{text}" for at, (name, text) in enumerate(TURNS)),
    "chat.md": "\n\n".join(f"{name}: {text}" for name, text in TURNS),
    "whisperx.json": json.dumps(
        {"segments": [{"start": at, "end": at + 1, "text": t, "speaker": n} for at, (n, t) in enumerate(TURNS)]}
    ),
}


def read(tmp_path: Path, name: str, text: str | bytes) -> Document:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return readers.read(tmp_path / name, ENTRY)


@pytest.mark.parametrize("name", NAMED)
def test_names_and_times_leave_the_text_and_stay_as_data(tmp_path: Path, name: str) -> None:
    document = read(tmp_path, name, NAMED[name])
    assert document.text.split() == " ".join(text for _, text in TURNS).split()
    assert Counter(p.speaker for p in document.paragraphs) == {"Sam Poe": 12, "Jane Doe": 12}
    assert document.speaker_changes == 23 and document.several_speakers
    assert "name the teacher (source.speaker)" in (collect.here(ENTRY, document).reason or "")
    if name != "chat.md":
        assert (document.paragraphs[-1].start_seconds or 0) >= 23


def test_a_meeting_in_word_keeps_its_title_and_its_times(tmp_path: Path) -> None:
    turns = [
        f'<w:p><w:r><w:t>{name}</w:t></w:r><w:r><w:t xml:space="preserve">   {clock(at * 7)}</w:t></w:r>'
        f"<w:r><w:br/></w:r><w:r><w:t>{text}</w:t></w:r></w:p>"
        for at, (name, text) in enumerate(TURNS)
    ]
    body = word_paragraphs(["Weekly lesson"]) + "".join(turns)
    document = read(tmp_path, "a.docx", word(body))
    assert document.title == "Weekly lesson" and "Jane" not in document.text
    assert document.paragraphs[2].start_seconds == 14 and document.paragraphs[2].speaker == "Sam Poe"


def test_times_of_a_pasted_panel_are_no_words(tmp_path: Path) -> None:
    lines = [f"{clock(at * 4)}\n{text}" for at, (_, text) in enumerate(TURNS)]
    document = read(tmp_path, "panel.txt", "\n".join(lines))
    assert document.text.split() == " ".join(text for _, text in TURNS).split()
    assert document.paragraphs[0].start_seconds == 0 and document.title == "A" and not document.several_speakers


def test_a_dash_is_another_speaker_and_one_name_is_none(tmp_path: Path) -> None:
    dashes = vtt("{1}").replace("Why", "- Why").replace("Because", "– Because")
    document = read(tmp_path, "a.vtt", dashes)
    assert "-" not in document.text and "–" not in document.text and document.several_speakers
    one = read(tmp_path, "b.vtt", NAMED["zoom.vtt"].replace("Sam Poe", "Jane Doe"))
    assert one.speaker_changes == 0 and "Jane" not in one.text


@pytest.mark.parametrize(
    "text",
    [
        "Remember: knead it well. The rule: never hurry.\n\nAt 8:30 we bake.\n\nNote: it is hot.",
        "Ingredients\n\nFlour: 500 g\nWater: 300 g\nSalt: 10 g",
        "1:30 is the usual time.\n\nBread takes long.\n\nIt rests.\n\nIt bakes.\n\nIt cools.\n\nIt is cut.",
    ],
)
def test_colons_and_times_of_ordinary_texts_are_words(tmp_path: Path, text: str) -> None:
    document = read(tmp_path, "a.txt", text)
    assert f"{document.title} {document.text}".removeprefix("A ").split() == text.split()
    assert all(p.speaker is None for p in document.paragraphs)


def test_a_talk_becomes_that_of_one_speaker_and_the_others_are_context(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(NAMED["zoom.vtt"])

    def fetched(speaker: str | None) -> Document:
        source = DocumentsSource(DocumentsSource.Options(path=tmp_path, speaker=speaker))
        return source.fetch(next(source.entries()))

    document = fetched("main")
    assert document.speaker == fetched("jane").speaker == "Jane Doe" and not document.several_speakers
    assert "30% of its words are others' than Jane Doe's" in (collect.here(ENTRY, document).reason or "")
    lines = prompting._talk_values(document)["paragraphs"].split("\n\n")
    assert lines[0].startswith("[0] (another person, who does not teach:) Why") and lines[1].startswith("[1] Because")
    assert prompting._talk_values(fetched(None))["paragraphs"].startswith("[0] Sam Poe: Why")
    with pytest.raises(Refused, match=r"'Ann' does not speak in it; there are: Jane Doe 70%, Sam Poe 30%"):
        fetched("Ann")


def test_where_no_speaker_has_most_of_the_words_one_is_to_be_named(tmp_path: Path) -> None:
    text = "\n\n".join(f"{name}: {'the dough rises ' * 4}" for name in ("Ann", "Bob") * 6)
    document = read(tmp_path, "a.txt", text)
    with pytest.raises(Refused, match=r"no speaker has 60% of the words \(Ann 50%, Bob 50%\); name one"):
        speakers.of_one(document, "main")


def test_a_home_that_knew_no_speaker_is_not_read_again() -> None:
    assert "speaker" not in registry.identity("source", "documents", {"path": "talks"})["options"]
    assert "speaker" in registry.identity("source", "documents", {"path": "talks", "speaker": "main"})["options"]
    assert "speaker" not in registry.identity("source", "youtube", {"channel": "@tea"})["options"]
