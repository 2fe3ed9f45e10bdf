"""
How questions are reworded, by language, as `rewordings.toml` lists it: openers, amounts, negations and synonyms.

A language with spaces is matched by words, one without by the longest strings that are found in it.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from understudy.text.stems import spelled, stem

OPENER, CLOSER, ANYWHERE = "-", "$", "_"
ASKED = "ASKED"  # in the place of an opener
_UNCONTRACTED = {"wo": "will", "ca": "can", "sha": "shall"}
_KANJI_ENDING = re.compile(r"(?<=[\u3400-\u9fff々])[\u3041-\u309f]+")
_KANA_PIECES = re.compile(r"[\u3041-\u309f]+|[\u30a0-\u30ff]+|[^\u3041-\u30ff]+")
_OR_NOT = re.compile(r"(\w)[不没沒](?=\1)")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_KOREAN_ENDING = re.compile(
    r"(?<=.)(?:하나요|하는지|하는가|합니까|해요|하는|할까요|되나요|되는지|됩니까|인가요|입니까|인지|나요|까요|니까|가요|는지|어요|아요|여요)$"
    r"|(?<=.)(?:에서는|에서|에게|한테|으로|까지|부터|보다|처럼|을|를|은|는)$|(?<=..)(?:로|와|과|이|가|의|에|도|만)$"
)
_KOREAN_NOT = re.compile(r"없|않|못하|아니|말아|마세요")


class Phrase(NamedTuple):
    """Words after the first one, what they come to, and where in a question it counts."""

    rest: tuple[str, ...]
    target: tuple[str, ...]
    place: str


class Table:
    """The rewordings of one language with spaces between its words."""

    def __init__(self, language: str, lines: dict[str, str], function: frozenset[str]) -> None:
        self.language = language
        self._single: dict[str, tuple[str, ...]] = {}
        self._phrases: dict[str, dict[str, list[Phrase]]] = defaultdict(dict)
        for target, listed in lines.items():
            for phrase in filter(None, map(str.strip, " ".join(listed.split()).split(";"))):
                self._add(target, phrase)
        for following in self._phrases.values():
            alone = following.get("", [])
            following |= {second: [*listed, *alone] for second, listed in following.items() if second}
        self._tokens: dict[str, tuple[str, ...]] = {}
        marks = {word for target in lines for word in target.split() if word.isupper() and word.isascii()}
        self.function = frozenset(map(self._stem, function)) | marks
        self.telling = frozenset(word for word, target in self._single.items() if target and target[0].isupper())
        """Single words that ask or deny, by which a short question shows its language."""

    def _add(self, target: str, phrase: str) -> None:
        first, *rest = phrase.replace("-", " ").split()
        place = target if target in (OPENER, CLOSER) else ANYWHERE
        tokens: tuple[str, ...] = (ASKED,) if target == OPENER else ()
        if target not in (OPENER, CLOSER, ANYWHERE):
            tokens = tuple(self._target(word) for word in target.split())
        if not rest and place == ANYWHERE:
            self._single.setdefault(self._stem(first), tokens)
            return
        listed = self._phrases[first].setdefault(rest[0] if rest else "", [])
        listed.append(Phrase(tuple(rest), tokens, place))
        listed.sort(key=lambda p: -len(p.rest))

    def _target(self, word: str) -> str:
        return word if word.isupper() and word.isascii() else self._stem(word)

    def _stem(self, word: str) -> str:
        return stem(spelled(word) if self.language == "en" else word)

    def tokens(self, word: str) -> tuple[str, ...]:
        """What one word comes to."""
        known = self._tokens.get(word)
        if known is None:
            known = self._tokens[word] = self._read(word)
        return known

    def _read(self, word: str) -> tuple[str, ...]:
        if self.language == "ko" and _HANGUL.search(word) and word not in self._single:
            denied = bool(_KOREAN_NOT.search(word)) and word != "없이"
            bare = _KOREAN_ENDING.sub("", word)
            return (*self._single.get(bare, (bare,)), *(("NOT",) if denied else ()))
        bare = self._stem(word)
        known = self._single.get(bare)
        if known is None and word.endswith(("n't", "n’t")):
            return (*self.tokens(_UNCONTRACTED.get(word[:-3], word[:-3])), "NOT")
        return (bare,) if known is None else known

    def read(self, words: Sequence[str]) -> list[str]:
        """The tokens of a question; its own words where it is nothing but an opener."""
        tokens: list[str] = []
        at, end = 0, len(words)
        phrases, known = self._phrases, self._tokens
        while at < end:
            word = words[at]
            if word in phrases and (
                phrase := self._phrase(phrases[word], words, at, not tokens or tokens[-1] == ASKED)
            ):
                tokens += phrase.target
                at += 1 + len(phrase.rest)
            else:
                tokens += known[word] if word in known else self.tokens(word)
                at += 1
        return tokens if tokens and tokens != [ASKED] else list(words)

    def _phrase(self, following: dict[str, list[Phrase]], words: Sequence[str], at: int, opens: bool) -> Phrase | None:
        listed = following.get(words[at + 1] if at + 1 < len(words) else "") or following.get("", [])
        for phrase in listed:
            rest, _, place = phrase
            end = at + 1 + len(rest)
            if place != ANYWHERE and end != len(words) and not (opens and place == OPENER):
                continue
            if len(rest) < 2 or tuple(words[at + 1 : end]) == rest:
                return phrase
        return None


class UnspacedTable:
    """The rewordings of scripts without spaces between words."""

    def __init__(self, name: str, lines: dict[str, str], function: frozenset[str]) -> None:
        self.name = name
        marks = {target for target in lines if target.isupper() and target.isascii()}
        self.function = function | marks
        self._targets = {
            phrase: () if target == ANYWHERE else (target,)
            for target, listed in lines.items()
            for phrase in filter(None, map(str.strip, " ".join(listed.split()).split(";")))
        }
        longest = sorted(self._targets, key=lambda phrase: (-len(phrase), phrase))
        self._known = re.compile("(" + "|".join(map(re.escape, longest)) + ")")

    def read(self, run: str) -> list[str]:
        """The tokens of a run of letters: what is known, and the pairs of characters of what lies between."""
        tokens: list[str] = []
        for at, piece in enumerate(self._known.split(_OR_NOT.sub("", run) if self.name == "han" else run)):
            if at % 2:
                tokens += self._targets[piece]
            elif piece and self.name == "kana":
                tokens += _kana(piece)
            else:
                tokens += pairs(piece)
        return tokens


def pairs(piece: str) -> list[str]:
    """The overlapping pairs of characters of `piece`; itself if it is one character."""
    return [piece[at : at + 2] for at in range(max(1, len(piece) - 1))] if piece else []


def _kana(piece: str) -> list[str]:
    """Japanese without its endings: kanji in pairs, katakana as words, hiragana that no kanji comes before as words."""
    tokens: list[str] = []
    for part in _KANA_PIECES.findall(_KANJI_ENDING.sub(_particle, piece)):
        if "\u3041" <= part[0] <= "\u309f":
            bare = part if len(part) == 1 else part.lstrip("をはが").rstrip("をはがのもかねよ")
            tokens += [bare] if bare and bare not in "をはがのもかねよ" else []
        else:
            tokens += [part] if "\u30a0" <= part[0] <= "\u30ff" else pairs(part)
    return tokens


def _particle(match: re.Match[str]) -> str:
    return match.group() if match.group() in ("に", "で", "と", "へ") else "を"


@cache
def listed() -> dict[str, Any]:
    """What `rewordings.toml` lists: `spaced`, `unspaced`, `function` and `scales`."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
