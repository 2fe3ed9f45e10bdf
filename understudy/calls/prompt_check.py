"""
Whether a server has read the whole prompt, by the tokens it counted.

Some servers cut a long prompt without a word, and the answers then come from half a talk. A prompt that was cut fills
the window, so that a count well below the largest one seen is of a whole prompt, whatever its language. Among the
largest ones these are signs of a cut: far fewer tokens than a talk of the same language takes, or than any Latin text
takes; a count at a usual size of a window; the same count for prompts that differ. How many bytes a token has
differs by script and tokenizer (Hindi with a modern one has half the tokens of a quarter of its bytes), so that
nothing is concluded from a ratio alone where nothing is known of its language.
"""

import re
import threading
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

from understudy.calls import Call, Usage
from understudy.errors import TeacherStopped
from understudy.text.language import language, scripts

LEAST_TOKENS = 1000
"""Estimated tokens of a prompt below which nothing is looked at."""
LEAST_READ = 0.7
"""Share of the tokens that other talks of the same language take for as many bytes."""
LEAST_LATIN = 0.605
"""Tokens for each four bytes of Latin letters: 6.6 bytes a token, where spoken English has 4.8."""
LEAST_ANY = 0.25
"""The same for every script: 16 bytes a token, as no tokenizer has on running text."""
NEAR_MOST = 0.97
SIZES = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
HAIR = 8
SIZE_SHARE = 0.9
"""At a usual size: share of the usual tokens above which the count is one like any other."""
EQUAL_TALKS = 3
_LATIN_TOKENS, _OTHER_TOKENS = (0.6, 1.6), (0.25, 5.0)
_SURE_TOKENS = 20
_PARAGRAPH = re.compile(r"^\[\d+\] (.*)$", re.MULTILINE)
_SAMPLE_CHARACTERS = 20_000


class _Read(NamedTuple):
    """One prompt and how it was counted."""

    key: str
    document_id: str
    latin: int
    """Estimated tokens of its Latin letters, digits and marks."""
    other: int
    counted: int

    @property
    def estimate(self) -> int:
        return self.latin + self.other


class PromptCheck:
    """Watches the counts of one server; safe to use from several threads."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._most = 0
        self._ratios: dict[str, list[float]] = {}
        self._largest: list[_Read] = []
        self._lock = threading.Lock()

    def read(self, call: Call, usage: Usage) -> None:
        """Take note of one count. Raises TeacherStopped when the server cannot have read the whole prompt."""
        if call.input_tokens < LEAST_TOKENS or not usage.input:
            return
        text = call.messages[-1]["content"] if call.messages else ""
        group, prompt = _group(text), _read(call, usage.input)
        with self._lock:
            if usage.input >= NEAR_MOST * self._most and (why := self._sign(prompt, group, call.input_tokens)):
                raise TeacherStopped(_sentence(self.label, call, usage.input, why))
            self._ratios.setdefault(group, []).append(usage.input / call.input_tokens)
            self._most = max(self._most, usage.input)
            near = [other for other in self._largest if other.counted >= NEAR_MOST * self._most]
            self._largest = [*near, prompt][-100:]

    def _sign(self, prompt: _Read, group: str, estimate: int) -> str | None:
        """What shows that `prompt` was cut, in words; None where nothing does."""
        ratio, others = prompt.counted / estimate, self._ratios.get(group)
        usual = median(others) if others and group else None
        latin = prompt.latin > 0.7 * prompt.estimate
        least = max(LEAST_LATIN if latin else LEAST_ANY, LEAST_READ * usual if usual else 0.0)
        if ratio < least:
            return f"of about {round(estimate * (usual or max(ratio, 0.83 if latin else LEAST_ANY)))} tokens"
        expected = usual or (0.83 if latin else None)
        at_size = any(0 <= size - prompt.counted <= HAIR for size in SIZES)
        if at_size and (expected is None or ratio < SIZE_SHARE * expected):
            return "which is just the size of a usual context window"
        return self._equal(prompt)

    def _equal(self, prompt: _Read) -> str | None:
        same = [other for other in self._largest if other.counted == prompt.counted and other.key != prompt.key]
        if any(other.document_id == prompt.document_id and _must_differ(prompt, other) for other in same):
            return "as many as of another, longer or shorter prompt about the same talk"
        talks = {other.document_id: other.estimate for other in [*same, prompt]}
        apart = max(talks.values()) > 1.05 * min(talks.values())
        larger = any(other.counted > prompt.counted for other in self._largest)
        if len(talks) >= EQUAL_TALKS and apart and not larger:
            return f"as many as of {len(talks) - 1} other talks of different lengths"
        return None


def _sentence(label: str, call: Call, counted: int, why: str) -> str:
    return (
        f"{label} read only {counted} tokens of {call.document_id}, {why}: the server cuts long prompts without "
        "saying so. Give it a larger context (Ollama: start it with OLLAMA_CONTEXT_LENGTH=32768; llama.cpp server: "
        "-c 32768; LM Studio: the model's Context Length), or tell its size with teacher.context_window, and run again"
    )


def _group(text: str) -> str:
    """The language of the talk in a prompt, else its main script; '' where many languages are possible."""
    paragraphs = " ".join(_PARAGRAPH.findall(text)) or text
    sample = paragraphs[:_SAMPLE_CHARACTERS]
    if code := language(sample):
        return code
    shares: Mapping[str, float] = scripts(sample)
    script = max(shares, key=lambda name: shares[name], default="LATIN")
    return "" if script == "LATIN" else script


def _read(call: Call, counted: int) -> _Read:
    text = "".join(message["content"] for message in call.messages)
    ascii_share = sum(map(str.isascii, text)) / max(1, len(text.encode(errors="replace")))
    latin = round(call.input_tokens * ascii_share)
    return _Read(call.key, call.document_id, latin, call.input_tokens - latin, counted)


def _must_differ(one: _Read, other: _Read) -> bool:
    """Whether no tokenizer gives both prompts, which share all but their ends, the same count."""
    low = high = 0.0
    for difference, (least, most) in (
        (one.latin - other.latin, _LATIN_TOKENS),
        (one.other - other.other, _OTHER_TOKENS),
    ):
        ends = sorted((difference * least, difference * most))
        low, high = low + ends[0], high + ends[1]
    return low > _SURE_TOKENS or high < -_SURE_TOKENS
