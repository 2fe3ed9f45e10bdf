"""
What questions ask, whatever their words: the tokens that two questions are compared by.

Each question is read by its own language: openers that ask nothing are dropped ("can you explain"), what is said in
several ways becomes one token (`rewordings.toml`), and so do the spellings of one word (e-mail and email, colour and
color). Signs that are part of a name stay on it: C, C++ and C# are three tokens. Text without spaces between words is
parted at the words of grammar that it is known to have, and what lies between counts in pairs of characters.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, pairwise
from typing import Any, NamedTuple

from understudy.text.language import FUNCTION_WORDS
from understudy.text.rewordings import ASKED, Table, UnspacedTable, listed
from understudy.text.slips import compounds, typos
from understudy.text.stems import stem
from understudy.text.symbols import split
from understudy.text.words import UNSPACED, unspaced

CAPITALS_ARE_NAMES_BELOW = 0.2  # share of capitals inside sentences; German and Title Case have far more
ENOUGH_HITS = 2  # words of grammar that show a question to be of its channel's language

DENIALS = frozenset(("NOT", "without", "prevent", "quit", "stop"))
KINDS = frozenset(
    "DURATION FREQUENCY AMOUNT DISTANCE AGE SPEED SIZE DEPTH HEIGHT TEMPERATURE COST WHEN WHERE WHO WHOSE WHY HOW "
    "WHAT".split()
)
NEEDS = frozenset(("NEED", "MUST", "MAYDO"))

_ASKING = frozenset("what who how where when why it that there here".split())
_STOPPING = frozenset(("stop", "stops", "stopped", "keep", "keeps"))
_CAPITAL = re.compile(r"(?<=[^\s.!?:\"“(] )[\"“(]?([A-ZÄÖÜÉÈÀÁÍÓÚÑÇ][\w'’-]*)")
_LEADING = re.compile(r"^(?:(?:so|and|well|but|now|okay),? +)?([^\s,][^,?]{2,50}), +(.+)$", re.IGNORECASE)
_ELISION = re.compile(r"^(l|d|j|m|t|s|n|c|qu|un|all|dell|nell|sull|dall|dov|com|cos|quest)'(?=\w)")
_KANA = re.compile(r"[\u3041-\u30ff]")
_HAN = re.compile(r"[\u3400-\u9fff]")
_OF_SCRIPT = {"CYRILLIC": "ru", "ARABIC": "ar", "DEVANAGARI": "hi", "HANGUL": "ko", "HEBREW": "he", "GREEK": "el"}


class Question(NamedTuple):
    """A question as tokens, and what of it decides its meaning."""

    order: tuple[str, ...]
    words: frozenset[str]
    substance: frozenset[str]
    """The words that are not only grammatical."""
    names: frozenset[str]
    kind: str
    denials: frozenset[str]
    needs: frozenset[str]
    indirect: bool
    """Behind an opener, where many languages put the verb last."""


def read(questions: Sequence[str]) -> list[Question]:
    """Each question as it compares to the others of its channel, whose words tell slips and the usual language."""
    moved = [_LEADING.sub(r"\2 \1", question) if "," in question else question for question in questions]
    split_up = [[] if unspaced(question) else split(question) for question in moved]
    frequency = Counter(chain.from_iterable(split_up))
    usual = max(languages(), key=lambda code: sum(frequency[word] for word in function_words(code)))
    spelling = typos(frequency, scales())
    joined = compounds(frequency, function_words(usual))
    respelled = spelling.keys() | joined.keys()
    orders: list[list[str]] = []
    functions: list[frozenset[str]] = []
    tables: list[Table] = []
    for question, own in zip(moved, split_up, strict=True):
        tables.append(table(_language(question, own, usual)))
        if not own:
            tokens, function = _read_unspaced(question, tables[-1])
        else:
            words = own if respelled.isdisjoint(own) else list(_spelled(own, spelling, joined))
            tokens, function = _read(question, words, tables[-1]), tables[-1].function
        orders.append(tokens)
        functions.append(function)
    capitals = [[] if question[1:].islower() else _CAPITAL.findall(question) for question in questions]
    named = sum(map(len, capitals)) < CAPITALS_ARE_NAMES_BELOW * max(1, sum(map(len, orders)))
    return [
        _question(tokens, function, _names(capital, rules) if named and capital else frozenset())
        for tokens, function, capital, rules in zip(orders, functions, capitals, tables, strict=True)
    ]


def _question(tokens: list[str], function: frozenset[str], names: frozenset[str]) -> Question:
    words = frozenset(tokens)
    kind = "" if KINDS.isdisjoint(words) else next(token for token in tokens if token in KINDS)
    indirect = ASKED in words
    if indirect:
        tokens, words = [token for token in tokens if token != ASKED], words - {ASKED}
    return Question(tuple(tokens), words, words - function, names, kind, words & DENIALS, words & NEEDS, indirect)


def _read(question: str, words: list[str], rules: Table) -> list[str]:
    if "'" in question or "’" in question:
        words = [part for word in words for part in _parts(word, rules.language)]
    if rules.language == "en":
        # English keeps its order behind an opener.
        return [token for token in rules.read(_stopping(words)) if token != ASKED]
    return rules.read(words)


def _parts(word: str, language: str) -> list[str]:
    """A contraction as its words: what's, l'eau."""
    if language == "en":
        whole, _, ending = word.partition("'")
        return [whole, "is"] if ending == "s" and (whole in _ASKING) else [word]
    elided = _ELISION.match(word) if language in ("fr", "it") else None
    return [word[: elided.end() - 1] if elided.group() != "n'" else "ne", word[elided.end() :]] if elided else [word]


def _stopping(words: list[str]) -> list[str]:
    """'stop burning' is to quit, 'stop milk from burning' and 'keep milk from burning' are to prevent."""
    at = next((at for at, word in enumerate(words) if word in _STOPPING), None)
    if at is None or at + 1 == len(words):
        return words
    rest = words[at + 1 :]
    from_doing = any(a == "from" and b.endswith("ing") for a, b in pairwise(rest))
    if words[at] not in ("stop", "stops", "stopped"):
        return [*words[:at], "prevent", *rest] if from_doing else words
    doing = rest[0].endswith("ing")
    bare = rest[0] not in function_words("en") and rest[0] not in ("a", "the")
    if not doing and not from_doing and not bare and not any(word.endswith("ing") for word in rest):
        return words
    return [*words[:at], "quit" if doing else "prevent", *rest]


def _spelled(words: list[str], spelling: dict[str, str], joined: dict[str, dict[str, str]]) -> Iterator[str]:
    """The words without slips, and two that others write as one as one."""
    at = 0
    while at < len(words):
        word = words[at]
        one = joined[word].get(words[at + 1]) if word in joined and at + 1 < len(words) else None
        yield spelling.get(one or word, one or word)
        at += 2 if one else 1


def _names(capitals: list[str], rules: Table) -> frozenset[str]:
    return frozenset(
        token for name in capitals if name.rstrip("'’") != "I" for word in split(name) for token in rules.tokens(word)
    )


def _language(question: str, words: list[str], usual: str) -> str:
    """The language of one question: that of its letters, else the one most of its words of grammar are of."""
    usual_words = function_words(usual)
    if question.isascii() and len(usual_words.intersection(words)) >= ENOUGH_HITS:
        return usual
    if not question.isascii():
        letter = next((c for c in question if c > "\u036f" and c.isalpha() and not "\u1e00" <= c < "\u2000"), "")
        script = unicodedata.name(letter, "").split(" ")[0] if letter else ""
        if script in _OF_SCRIPT:
            return _OF_SCRIPT[script]
    hits: Counter[str] = Counter({usual: 0})
    hits.update(code for word in words for code in _codes().get(word, ()))
    best = max(hits.values())
    return usual if hits[usual] == best else max(hits, key=lambda code: hits[code])


@cache
def _codes() -> dict[str, list[str]]:
    codes: dict[str, list[str]] = {}
    for code in languages():
        for word in function_words(code) | table(code).telling:
            codes.setdefault(word, []).append(code)
    return codes


def _read_unspaced(question: str, rules: Table) -> tuple[list[str], frozenset[str]]:
    kana = bool(_KANA.search(question))
    own = unspaced_table("kana" if kana else "han" if _HAN.search(question) else "other")
    tokens: list[str] = []
    at = 0
    for match in _runs().finditer(question):
        tokens += rules.read(split(question[at : match.start()]))
        tokens += own.read(match.group())
        at = match.end()
    return tokens + rules.read(split(question[at:])), own.function


@cache
def _runs() -> Any:
    import regex

    scripts = "".join(rf"\p{{{name}}}" for name in UNSPACED)
    return regex.compile(rf"[{scripts}ー々〆]+")


@cache
def function_words(language: str) -> frozenset[str]:
    """The words of grammar of a language."""
    return FUNCTION_WORDS.get(language) or frozenset(listed()["function"][language].split())


@cache
def languages() -> tuple[str, ...]:
    """The codes of the languages with spaces that have a table."""
    return tuple(code for code in listed()["spaced"] if code != "common")


@cache
def table(language: str) -> Table:
    """The table of a language with spaces between words."""
    spaced = listed()["spaced"]
    return Table(language, _joined(spaced[language], spaced["common"]), function_words(language))


@cache
def unspaced_table(name: str) -> UnspacedTable:
    """The table 'han', 'kana' or 'other'."""
    return UnspacedTable(name, listed()["unspaced"][name], function_words(name))


def _joined(lines: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    return {target: "; ".join(filter(None, (lines.get(target), more.get(target)))) for target in lines | more}


@cache
def scales() -> dict[str, set[int]]:
    """Token -> the scales it stands on: with two of one scale on two sides the questions are two."""
    stand: dict[str, set[int]] = defaultdict(set)
    english = table("en")
    for at, line in enumerate(listed()["scales"]["of"].strip().splitlines()):
        for word in line.split():
            for token in (stem(word), *english.tokens(word)):
                stand[token].add(at)
    return dict(stand)
