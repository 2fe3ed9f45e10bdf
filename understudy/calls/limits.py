"""
How much a model takes and gives at once: read from its refusals, which cost nothing, and calls that fit.

A refusal names the limit in words of its provider's own: a cap on the reply (OpenAI, DeepSeek, Anthropic), a window
for prompt and reply together (vLLM, OpenRouter, TGI), or what the account may still use.
"""

import re
from typing import NamedTuple, Protocol, runtime_checkable

LEAST_ROOM = 200
"""Tokens of a reply below which it is no use to ask: the prompt itself is too long."""
_LEAST_LIMIT = 128
_MARGIN = 8  # a chat template may add a few tokens that the refusal does not count
_NUMBER = r"(\d+)"
_SEPARATOR = re.compile(r"(?<=\d)[,_'](?=\d{3}(?!\d))")
_WINDOWS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_NUMBER} \+ {_NUMBER} > (?P<window>\d+)",
        r"context (?:length|window|size|limit)(?: of| is|:)?[^\d]{0,30}?(?P<window>\d+)",
        r"(?P<window>\d+) (?:tokens? )?(?:maximum |max )?context (?:length|window|size)",
        r"max_new_tokens`? must be <= (?P<window>\d+)",
        r"tokens? > (?P<window>\d+) maximum",
        r"maximum prompt length (?:is|of) (?P<window>\d+)",
    )
]
_PROMPTS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_NUMBER} \+ \d+ > \d+",
        rf"{_NUMBER} (?:tokens )?(?:in|of|from) (?:the |your )?(?:text |input )?(?:messages|prompt|input)",
        rf"{_NUMBER} (?:prompt|input|`inputs`) tokens",
        rf"{_NUMBER} `inputs` tokens",
        rf"prompt (?:contains|has|is too long:) {_NUMBER}",
        rf"input length[^\d]{{0,20}}{_NUMBER}",
    )
]
_TOTAL = re.compile(rf"request(?:ed|ing)(?: about| a total of|:)? {_NUMBER}", re.IGNORECASE)
_PER_MINUTE = re.compile(rf"limit:? {_NUMBER},? requested:? {_NUMBER}", re.IGNORECASE)
_AFFORDABLE = re.compile(rf"can only afford {_NUMBER}", re.IGNORECASE)
_CAP = re.compile(
    r"max_?(?:completion|output|new)?_?tokens|max ?tokens|maximum (?:number of )?(?:output |completion |new )?tokens"
    r"|(?:completion|output) tokens",
    re.IGNORECASE,
)
_NAMES_A_LIMIT = re.compile(
    r"at most|maximum|range|less than|lower than|smaller than|greater than|[<>≤]|exceed|too (?:large|high|big)"
    r"|limit|between|up to|inclusive|限制|范围",
    re.IGNORECASE,
)
_STATUS = re.compile(r"(?:code|status|http)\W{0,4}[45]\d\d\b", re.IGNORECASE)
_ALONE = re.compile(r"(?<![\w.\-])\d+(?![\w\-]|\.\d)")
_BELOW = re.compile(
    r"\(exclusive\)|(?:less|lower|smaller) than(?! or equal)|must be <(?!=)|must be below", re.IGNORECASE
)


class Learned(NamedTuple):
    """Tokens one model gives and takes; None where no refusal named them."""

    output: int | None = None
    """Of a reply, at most."""
    window: int | None = None
    """Of prompt and reply together."""

    def narrowed(self, other: "Learned") -> "Learned":
        """Whichever is smaller of each."""
        return Learned(_least(self.output, other.output), _least(self.window, other.window))

    def room(self, prompt: int) -> int | None:
        """Tokens of a reply to a prompt of so many; None where nothing limits them."""
        return _least(self.output, None if self.window is None else self.window - prompt)


@runtime_checkable
class Learns(Protocol):
    """A transport that remembers the limits named in refusals."""

    def learned(self) -> Learned:
        """How much its model takes and gives at once."""


class Limit(NamedTuple):
    """What a refusal says: the tokens the reply to this call may have, and what holds for other calls too."""

    room: int
    learned: Learned


def limit_in(status: int | None, text: str, asked: int, prompt: int) -> Limit | None:
    """The limit that a refusal of a call with a cap of `asked` names; None where it names none below that.

    `prompt` is our estimate of its prompt, for refusals that do not count it themselves.
    """
    text = _SEPARATOR.sub("", text)
    if status == 402:
        match = _AFFORDABLE.search(text)
        return Limit(int(match[1]), Learned()) if match and int(match[1]) < asked else None
    if status == 429:
        match = _PER_MINUTE.search(text)
        return Limit(int(match[1]) - max(0, int(match[2]) - asked), Learned()) if match else None
    if status not in (400, 413, 422):
        return None
    if window := _first(_WINDOWS, text):
        room = window - _prompt_in(text, asked, prompt) - _MARGIN
        return Limit(room, Learned(window=window)) if room < asked else None
    output = _output_in(text, asked)
    return Limit(output, Learned(output=output)) if output else None


def group_size(count: int, most: int, each: int, fixed: int) -> int:
    """How many of `count` items go into one call whose reply may have `most` tokens: calls of about equal size."""
    fits = max(1, (most - fixed) // each)
    return -(-count // -(-count // min(fits, count)))


def _output_in(text: str, asked: int) -> int | None:
    """The largest cap that is allowed; None unless the refusal is about the cap and names a smaller one."""
    if not _CAP.search(text) or not _NAMES_A_LIMIT.search(text):
        return None
    numbers = [number for number in map(int, _ALONE.findall(_STATUS.sub("", text))) if _LEAST_LIMIT <= number <= asked]
    smaller = [number for number in numbers if number < asked]
    return min(smaller) - bool(_BELOW.search(text)) if smaller else None


def _prompt_in(text: str, asked: int, estimate: int) -> int:
    prompt = _first(_PROMPTS, text)
    if prompt:
        return prompt
    total = _TOTAL.search(text)
    return int(total[1]) - asked if total and int(total[1]) > asked else estimate


def _first(patterns: list[re.Pattern[str]], text: str) -> int | None:
    """The number that the first pattern to match names 'window', else its first."""
    for pattern in patterns:
        if match := pattern.search(text):
            return int(match["window"] if "window" in pattern.groupindex else match[1])
    return None


def _least(one: int | None, other: int | None) -> int | None:
    return min((number for number in (one, other) if number is not None), default=None)
