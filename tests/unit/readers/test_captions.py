"""Captions become the words that were said, once each, in paragraphs with their start."""

import pytest

from understudy.errors import Refused
from understudy.readers import captions

HEAD = "WEBVTT\nKind: captions\nLanguage: en\n\n"
ROLLING = (
    HEAD
    + """00:00:00.000 --> 00:00:02.990 align:start position:0%
 
heat<00:00:00.640><c> leaves</c><00:00:01.000><c> the</c>

00:00:02.990 --> 00:00:03.000 align:start position:0%
heat leaves the
 

00:00:03.000 --> 00:00:05.990 align:start position:0%
heat leaves the
cup<00:00:03.400><c> you</c><00:00:03.900><c> know</c>

00:00:05.990 --> 00:00:06.000 align:start position:0%
cup you know
 

00:00:09.000 --> 00:00:11.990 align:start position:0%
cup you know
you<00:00:09.400><c> know</c><00:00:09.900><c> slowly</c>
"""
)


def text_of(text: str, suffix: str) -> str:
    return " ".join(p.text for p in captions.clean(captions.parse(text, suffix)).paragraphs)


def cue(start: int, text: str) -> str:
    return (
        f"00:{start // 60:02}:{start % 60:02}.000 --> 00:{(start + 2) // 60:02}:{(start + 2) % 60:02}.000\n{text}\n\n"
    )


def test_rolled_up_lines_are_said_once_and_real_repetition_stays() -> None:
    assert text_of(ROLLING, ".vtt") == "heat leaves the cup you know you know slowly"


def test_repeated_lines_of_plain_captions_stay() -> None:
    text = HEAD + cue(0, "row, row") + cue(2, "row, row") + cue(4, "your boat") + cue(6, "gently") + cue(8, "down")
    assert text_of(text, ".vtt") == "row, row row, row your boat gently down"


def test_a_line_of_one_space_does_not_end_a_cue() -> None:
    assert text_of(HEAD + "00:00:00.000 --> 00:00:02.000\n \nkept\n\n", ".vtt") == "kept"


def test_noise_is_dropped_and_counted() -> None:
    text = HEAD + cue(0, "[Music]") + cue(2, "hello [Laughter] there") + cue(4, "♪♪") + cue(6, "[ __ ] it")
    talk = captions.clean(captions.parse(text, ".vtt"))
    assert " ".join(p.text for p in talk.paragraphs) == "hello there [censored] it" and talk.noise_tags == 3


def test_entities_tags_and_invisible_characters_go() -> None:
    assert (
        text_of(HEAD + cue(0, "<c.yellow>it&amp;#39;s\u200b &lt;b&gt;hot&lt;/b&gt;</c>\xa0now {\\an8}ok"), ".vtt")
        == "it's hot now ok"
    )


def test_a_speaker_mark_begins_a_paragraph() -> None:
    paragraphs = captions.clean(captions.parse(HEAD + cue(0, "one two") + cue(2, ">> three four"), ".vtt")).paragraphs
    assert [p.text for p in paragraphs] == ["one two", "three four"]


def test_a_pause_begins_a_paragraph_after_enough_words() -> None:
    cues = "".join(cue(2 * i, f"five words in cue {i}.") for i in range(6)) + cue(30, "after the pause.")
    paragraphs = captions.clean(captions.parse(HEAD + cues, ".vtt")).paragraphs
    assert [p.start_seconds for p in paragraphs] == [0.0, 30.0]


def test_paragraphs_end_with_a_sentence_near_110_words_and_never_pass_200() -> None:
    cues = "".join(cue(2 * i, f"this goes on for {i}") for i in range(100)) + cue(200, "and ends. Again it ends.")
    sizes = [len(p.text.split()) for p in captions.clean(captions.parse(HEAD + cues, ".vtt"))[0]]
    assert max(sizes) <= 200 and sum(sizes) == 505


def test_subrip_and_timed_text_give_the_same_words() -> None:
    first = "1\r\n00:00:00,400 --> 00:00:02,000\r\nHeat isn't\r\nlost.\r\n\r\n"
    srt = first + "2\r\n00:00:02,000 --> 00:00:03,000\r\nIt moves.\r\n"
    xml = (
        '<?xml version="1.0"?><transcript><text start="0.4" dur="3">Heat isn&amp;#39;t\nlost.</text>'
        '<text start="2" dur="1">It moves.</text></transcript>'
    )
    assert text_of(srt, ".srt") == text_of(xml, ".xml") == "Heat isn't lost. It moves."


def test_the_note_of_a_file_gives_its_title() -> None:
    note = captions.note(HEAD + "NOTE\nTitle: Why Tea Cools\nPublished: 2024-03-05\n\n" + cue(0, "x"))
    assert note == {"title": "Why Tea Cools", "published": "2024-03-05"}


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("WEBVTT\n\n", ".vtt"),
        ("no cues here", ".srt"),
        ("<transcript>", ".xml"),
        ("<transcript/>", ".xml"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><transcript/>', ".xml"),
    ],
)
def test_files_without_captions_are_refused_with_the_reason(text: str, suffix: str) -> None:
    with pytest.raises(Refused):
        captions.parse(text, suffix)


def test_a_talk_of_several_speakers_is_told_from_one_with_a_question_from_the_floor() -> None:
    from understudy.records import Document

    def several(changes: int, minutes: float) -> bool:
        cues = [cue(at * 2, (">> " if at < changes else "") + f"line{at} word{at} end{at}") for at in range(40)]
        result = captions.clean(captions.parse(HEAD + "".join(cues), ".vtt"))
        assert result.speaker_changes == changes
        return Document(
            document_id="d", title="D", locator="d", how="test", duration_seconds=minutes * 60,
            speaker_changes=result.speaker_changes, paragraphs=result.paragraphs,
        ).several_speakers  # fmt: skip

    assert not several(5, 2) and not several(20, 30)
    assert several(6, 2) and several(35, 30)


def test_a_paragraph_knows_the_silence_before_it() -> None:
    def words(at: int) -> str:
        return " ".join(f"word{at}-{n}" for n in range(10))

    text = HEAD + "".join(cue(at * 4, words(at)) for at in range(4)) + cue(60, words(4))
    assert [p.pause_seconds for p in captions.clean(captions.parse(text, ".vtt")).paragraphs] == [None, 44.2]
