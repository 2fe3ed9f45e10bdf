"""Captions lose nothing in silence: untidy files are read whole, repeated lines once, what is left out is counted."""

import json
from itertools import pairwise

import pytest

from understudy.errors import Refused
from understudy.readers import caption_files, captions
from understudy.readers.captions import Cleaned
from understudy.records import Entry
from understudy.stages import collect

HEAD = "WEBVTT\n\n"


def cleaned(text: str, suffix: str = ".srt") -> Cleaned:
    return captions.clean(captions.parse(text, suffix))


def words(text: str, suffix: str = ".srt") -> str:
    return " ".join(p.text for p in cleaned(text, suffix).paragraphs)


def vtt(*cues: str, seconds: float = 2.0) -> str:
    """A cue after the other, each of the same length."""
    lines = [f"{clock(at * seconds)} --> {clock((at + 1) * seconds)}\n{cue}\n\n" for at, cue in enumerate(cues)]
    return HEAD + "".join(lines)


def clock(seconds: float) -> str:
    return f"{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}:{seconds % 60:06.3f}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("00:00:01,000 --> 00:00:02,000", "00:00:02,000 --> 00:00:03,000"),
        ("0:0:1,0 --> 0:0:2,0", "0:0:2,0 --> 0:0:3,0"),
        ("00:01 --> 00:02", "00:02 --> 00:03"),
        ("00:00:01.5-->00:00:02.25", "00:00:02.25-->00:00:03"),
        ("-00:00:01,000 --> 00:00:01,000", "00:00:02,000 --> 00:00:03,000"),
        ("00:00:01, 000 -> 00:00:02, 000", "00:00:02: 000 -> 00:00:03: 000"),
        ("00:00:01,000 --&gt; 00:00:02,000", "00:00:02,000 --&gt; 00:00:03,000"),
        ("  00:00:01,000 --> 00:00:02,000  X1:40 X2:600", "00:00:02,000 --> "),
        ("00:00:99,000 --> bad", "00:00:?2,000 --> 00:00:03,000"),
    ],
)
def test_untidy_times_lose_no_word(first: str, second: str) -> None:
    assert words(f"1\n{first}\nYeast eats sugar.\n\n2\n{second}\nIt gives off gas.\n") == (
        "Yeast eats sugar. It gives off gas."
    )


@pytest.mark.parametrize(
    "text",
    [
        "1\n{0}\nOne.\n2\n{1}\nTwo, 1998.\n3\n{2}\nThree.",
        "1\n{0}\nOne.\n \n2\n{1}\nTwo, 1998.\n \n3\n{2}\nThree.",
        "{0}\nOne.\n\n{1}\nTwo, 1998.\n\n{2}\nThree.",
        "{0}\nOne.\n{1}\nTwo,\n1998.\n{2}\nThree.",
        "1\n{0}\n\nOne.\n\n2\n{1}\nTwo,\n\n1998.\n\n\n3\n{2}\n\n\nThree.\n\n",
    ],
)
def test_empty_lines_and_numbers_may_be_anywhere_or_nowhere(text: str) -> None:
    times = [f"00:00:{at:02},000 --> 00:00:{at + 2:02},000" for at in (0, 2, 4)]
    assert words(text.format(*times)) == "One. Two, 1998. Three."


def test_names_of_cues_notes_and_the_heads_of_joined_files_are_no_speech() -> None:
    one = "intro-1\n00:00.000 --> 00:02.000\nDough rises.\n\nNOTE by hand\nnot said\n\n"
    two = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000\n\n00:00.000 --> 00:02.000\nDough rises.\n\n"
    three = "2b8f-11\n00:02.000 --> 00:04.000\nNOTE that it falls.\n"
    assert words(HEAD + one + two + three, ".vtt") == "Dough rises. NOTE that it falls."


def test_only_tags_are_tags() -> None:
    text = (
        "<i>if</i> a &lt; b and c &gt; d, a <b>Map<String, Int></b> {\\an8}has <font color=red>keys</font><br>&amp;amp;"
    )
    assert words(vtt(text), ".vtt") == "if a < b and c > d, a Map<String, Int> has keys &"


def test_the_reading_over_a_character_is_not_said_twice() -> None:
    assert words(
        vtt("<ruby>酵母<rp>(</rp><rt>こうぼ</rt><rp>)</rp></ruby>が<ruby>糖<rt>とう</rt></ruby>を", "食べます。"),
        ".vtt",
    ) == ("酵母が糖を食べます。")


NOISES = "[Musik] [拍手] (soft piano music) [Gelächter] [смех] [Music (upbeat)] [BLANK_AUDIO] *laughs* （笑い） [sic]"


def test_sounds_are_left_out_in_every_language_and_asides_stay() -> None:
    talk = cleaned(vtt(NOISES, "bakers (musicians too) [sic] know (silence helps) it [2]"), ".vtt")
    text = " ".join(p.text for p in talk.paragraphs)
    assert text == "[sic] bakers (musicians too) [sic] know (silence helps) it [2]"
    assert talk.noise_tags == talk.left_out["sound"] == 9


def test_a_line_that_is_painted_on_is_said_once() -> None:
    said = "the dough has to rest before it is baked".split()
    growing = [" ".join(said[:n]) for n in range(1, len(said) + 1)]
    assert words(vtt(*growing, "and then we wait", seconds=0.3), ".vtt") == " ".join([*said, "and then we wait"])


def test_a_word_that_live_captions_take_back_is_left_out() -> None:
    growing = [
        "so the",
        "so the doe",
        "so the dough",
        "so the dough has",
        "so the dough has tourist",
        "so the dough has to rest",
    ]
    assert words(vtt(*growing, seconds=0.3), ".vtt") == "so the dough has to rest"


def test_counting_aloud_is_not_painted_on() -> None:
    steps = [f"now we come to step number {n}" for n in range(1, 30)]
    assert words(vtt(*steps), ".vtt") == " ".join(steps)


def test_a_part_that_rolls_up_is_said_once_and_the_rest_is_untouched() -> None:
    lines = [f"sentence {n} of the lesson" for n in range(40)]
    cues = [*lines[:30], *(f"{before}\n{line}" for before, line in pairwise(lines[29:]))]
    talk = cleaned(vtt(*cues), ".vtt")
    assert " ".join(p.text for p in talk.paragraphs) == " ".join(lines)
    assert talk.left_out == {"shown again": 10} and talk.lost_share == 0


def test_a_line_that_comes_again_corrected_counts_as_corrected() -> None:
    wrong = [f"the {n} lore of dough rises well" for n in range(12)]
    right = [line.replace("lore", "law") for line in wrong]
    cues = [wrong[0], *(f"{right[n]}\n{wrong[n + 1]}" for n in range(11))]
    assert words(vtt(*cues), ".vtt") == " ".join([*right[:11], wrong[11]])


def test_what_is_said_twice_is_there_twice_and_the_same_cue_once() -> None:
    lesson = ["Bonjour.", "Bonjour.", "Good day."] * 5
    assert words(vtt(*lesson), ".vtt") == " ".join(lesson)
    assert words(vtt(*lesson) + vtt(*lesson), ".vtt") == " ".join(lesson)


EVENTS = [{"tStartMs": at * 1000, "dDurationMs": 900, "segs": [{"utf8": f"w{at} "}]} for at in range(100)]


def test_one_odd_event_among_many_is_read_too() -> None:
    odd = [{"tStartMs": None, "segs": [{"utf8": "first "}]}, {"tStartMs": -40, "dDurationMs": None, "segs": None}, 7,
           {"tStartMs": -80, "dDurationMs": -1, "segs": [{"utf8": None}, {"utf8": "second "}]}]  # fmt: skip
    assert words(json.dumps({"events": [*odd, *EVENTS]}), ".json3").startswith("first second w0 w1")
    late = {"tStartMs": "soon", "segs": [{"utf8": "third"}]}
    assert words(json.dumps({"events": [*EVENTS, late]}), ".json3").endswith("w99 third")
    with pytest.raises(Refused, match="2 of 3 captions have a time that makes no sense"):
        words(json.dumps({"events": [late, late, EVENTS[0]]}), ".json3")


def xml(head: str, *captions: str) -> str:
    return head.format("".join(captions))


SEGMENTS = [{"start": 1.2, "end": 3, "text": " Yeast eats"}, {"start": 3.2, "end": 5, "text": " sugar <3"}]
SAME = {
    ".srv1": xml(
        "<transcript>{}</transcript>",
        '<text start="1.2" dur="2">Yeast eats</text>',
        '<text start="3.2" dur="2">sugar &amp;lt;3</text>',
    ),
    ".srv2": xml(
        '<timedtext><window id="1"/>{}</timedtext>',
        '<text t="1200" d="2000">Yeast eats</text>',
        '<text t="3200">sugar &lt;3</text>',
    ),
    ".srv3": xml(
        '<timedtext format="3"><body>{}</body></timedtext>',
        '<p t="1200" d="9"><s>Yeast</s><s t="5"> eats</s></p>',
        '<p t="3200" d="9">sugar &lt;3</p>',
    ),
    ".ttml": xml(
        '<tt xmlns="http://www.w3.org/ns/ttml"><body><div>{}</div></body></tt>',
        '<p begin="1.2s" end="3s">Yeast<br/>eats</p>',
        '<p begin="00:00:03.2" dur="2s"><span>sugar &lt;3</span></p>',
    ),
    ".sbv": "0:00:01.200,0:00:03.000\nYeast\neats\n\n0:00:03.200,0:00:05.000\nsugar <3\n",
    ".ass": "[Events]\nFormat: Layer, Start, End, Style, Name, Effect, Text\n"
    "Dialogue: 0,0:00:01.20,0:00:03.00,D,,,Yeast\\Neats\n"
    "Comment: 0,0:00:01.20,0:00:03.00,D,,,not said\n"
    "Dialogue: 0,0:00:03.20,0:00:05.00,D,,,{\\i1}sugar{\\i0} <3\n",
    ".tsv": "start\tend\ttext\n1200\t3000\tYeast eats\n3200\t5000\tsugar <3\n",
    ".json": json.dumps({"text": "x", "segments": SEGMENTS}),
}


@pytest.mark.parametrize("suffix", SAME)
def test_a_talk_says_the_same_in_every_format_of_captions(suffix: str) -> None:
    [paragraph] = cleaned(SAME[suffix], suffix).paragraphs
    assert (paragraph.text, paragraph.start_seconds) == ("Yeast eats sugar <3", 1.2)


ENTRY = Entry(document_id="a", title="A", locator="a.vtt", revision="1")


def test_a_language_is_one_that_the_head_names() -> None:
    said = vtt("Language: it changes").encode()
    assert caption_files.read(said, ENTRY, ".vtt").language is None
    assert (
        caption_files.read(said.replace(b"WEBVTT", b"WEBVTT\nKind: captions\nLanguage: es-419"), ENTRY, ".vtt").language
        == "es-419"
    )


def test_the_ledger_says_what_was_left_out_and_flags_what_shouts() -> None:
    lines = [f"HEAT FLOWS FROM WARM TO COLD, LAW NUMBER {n}." for n in range(30)]
    document = caption_files.read(vtt("[Music]", *lines).encode(), ENTRY, ".vtt")
    row = collect.here(ENTRY, document)
    assert row.how == "captions .vtt, 31 captions; left out: 1 sound"
    assert row.reason and row.reason.startswith("all capitals")
    lost = collect.here(ENTRY, document.model_copy(update={"lost_share": 0.05})).reason
    assert lost and "5% of the different words" in lost
