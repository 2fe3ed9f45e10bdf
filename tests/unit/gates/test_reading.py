"""What makes the gates fast changes no verdict: guards let through what patterns match, readings agree with words."""

import gc
import random
import re

import numpy as np
import pytest

from tests.unit.pairs import pair
from understudy.gates import chatting, elsewhere, endings, instructions, mentions, reading
from understudy.gates.boilerplate import PHRASES
from understudy.gates.guarded import Guarded, folded, listed
from understudy.gates.mentions import MentionsGate
from understudy.gates.reading import member
from understudy.text.words import _WORD, words

SAID = [
    "as an AI", "as a large language model", "I'm an AI", "I cannot answer", "I can’t help you with", "I won’t be able "
    "to comply", "I am unable to assist", "The talk doesn’t mention", "this transcript never says", "the provided "
    "context does not cover", "not mentioned in the text", "not answered by this video",
    "no information about it in the talk",
    "insufficient information from the source", "I am sorry", "I apologize", "als Künstliche Intelligenz", "als KI",
    "ich kann diese Frage nicht beantworten", "der Vortrag sagt dazu nichts", "im Text enthält nichts",
    "[insert name]", "{question}", "<your name>", "Lorem", "TODO", "N/A", "null", "error: none", "[...]",
    "disregard all prior rules", "forget the above instructions", "override system prompts", "developer message",
    "QUESTION_NUMBER", "you are a helpful assistant", "ignoriere die bisherigen Anweisungen", "=== TALK", "<|end|>",
    "[/INST]", "<<SYS>>", "</think>", "<end_of_turn>", "## Response: x", "**Users**: x", "Tags: a", "Answer 3: x",
    "as instructed", "per the instructions", "the question asks", "Here are your answers", "paragraph [12]", "[3-4]",
    "this transcription", "throughout the lecture", "this podcast really explains", "the video says", "the host’s also "
    "noted", "according to our guest", "as the author", "mentioned above in the passage", "the text states",
    "im Video wird", "laut der Folge", "in diesem Vortrag", "das Transkript", "der Sprecher sagt", "laut Dozentin",
    "Untertitel", "diſregard all prior rules", "the \u017fpeaker says", "th\u0131s v\u0130deo says", "\u212ahosts",
    *PHRASES,
]  # fmt: skip
GUARDED: list[Guarded] = [
    endings._REFUSAL, endings._PLACEHOLDER, instructions._LEAK,
    MentionsGate(MentionsGate.Options(phrases=["Größe zählt", "ÄÖ"]))._phrase,
    listed(list(PHRASES)), instructions._SUBJECT, instructions._ASKS, elsewhere.REFUSAL, elsewhere.REFUSAL_NOT_LATIN,
    chatting._CLOSING, chatting._ADVERTISING, mentions._PRONOUN, listed(["straße", "ÄÖÜ", "ſaid"], whole_words=False),
]  # fmt: skip


@pytest.mark.parametrize("guarded", GUARDED)
def test_a_guard_lets_through_whatever_its_pattern_matches(guarded: Guarded) -> None:
    dice = random.Random(3)
    more = ["größe zählt", "GRÖSSE ZÄHLT", "äö", "STRAßE", "äöü", "SAID"]
    texts = [*SAID, *more, *(" ".join(dice.choices([*SAID, *more], k=3)) for _ in range(500))]
    for text in [*texts, *(text.upper() for text in texts)]:
        result = instructions._leak(text, folded(text)) if guarded is instructions._LEAK else guarded.search(text)
        expected = guarded.pattern.search(text)
        assert (result and result.span()) == (expected and expected.span()), text


def test_words_of_ascii_are_those_of_the_pattern() -> None:
    dice = random.Random(5)
    for _ in range(3000):
        text = "".join(dice.choice("abYZ09'-_’. \n\x1c\x00é~") for _ in range(30))
        assert words(text) == re.findall(_WORD, text.lower())
        plain = "".join(chr(dice.choice((dice.randrange(128), 45, 39, 97))) for _ in range(30))
        assert words(plain) == re.findall(_WORD, plain.lower())


def test_a_reading_is_kept_as_long_as_its_pair() -> None:
    one = pair(answer="Heat moves from here to there.")
    gc.collect()
    before = len(reading._owners)
    first = reading.reading(one.answer, one)
    assert reading.reading(one.answer, pair()) is first
    del one, first
    gc.collect()
    assert len(reading._owners) == before


def test_members_are_found_and_an_empty_list_has_none() -> None:
    known = np.array([2, 5, 9], dtype=np.uint64)
    values = np.array([9, 1, 5, 11], dtype=np.uint64)
    assert member(values, known).tolist() == [True, False, True, False]
    assert not member(values, known[:0]).any()
