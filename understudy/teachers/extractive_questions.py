"""Pass 1 without a model: the questions a talk answers, found by the shape of its sentences."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from understudy.teachers.extractive_reading import (
    Reading,
    Sentence,
    is_content,
    is_empty,
    is_plural,
    stem,
)
from understudy.text.words import words

MIN_WORDS, MAX_WORDS = 4, 25
TOO_NEAR = 25  # words between the anchors of two questions
ALIKE = 0.6  # share of content words at which two questions are one
_FORBIDDEN = re.compile(r"\b(?:talk|talks|talking|speakers?|videos?|transcripts?|lectur\w+|channel|episodes?)\b", re.I)
_OPENER = re.compile(r"^(?:(?:now|so|but|and|then|well|for|or|yet|okay|again)\b,?\s+)+", re.I)
_ASKING = re.compile(
    r"^(?:what|why|how|which|who|(?:where|when) (?:is|are|do|does|did|can|should|will|would)"
    r"|(?:is|are|was|were|does|do|did|can|could|should|will|would|has|have)"
    r" (?!you\b|i\b|we\b|not\b))\b",
    re.I,
)
_TO_THE_ROOM = re.compile(
    r"\b(?:i|my|me|we see|you (?:see|think|say|know|remember|ask)|these|those|this|here|shall|say you)\b"
    r"|\b(?:now|he|she|his|her)\b"
    r"|\b(?:of|in|to|on|at|is|are|was|does|did|do|by|with|from|for|about|all|must|can|will) that\b(?! the\b)",
    re.I,
)
_EXPLETIVE = re.compile(
    r"\b(?:how is it that|(?:does|is|will|would) it (?:mean|take|cost|feel|help|matter|possible|hard|easy|safe)\b.*\b"
    r"(?:to|for|if|that|when)\b)",
    re.I,
)
_NAME = r"(?P<article>an? |the )?(?P<name>[\w’'-]+(?: (?:of (?:an? |the )?)?[\w’'-]+){0,2})"
_IS_A = re.compile(rf"^{_NAME} (?:is|are|means) (?P<rest>(?:what|the|an?|any|when|[\w-]+ (?:that|which)) [^?]+)$", re.I)
_CALLED = re.compile(
    r"\b(?:is called|are called|we call|is named|are named|known as|(?:a|an) \w+ called|calls? (?:it|this|that|them)"
    r"|called (?:it|this|that|them)) (?P<article>an? |the )?[\"“]?(?P<name>[\w’'-]+(?: of [\w’'-]+| [\w’'-]+)?"
    r"(?: of [\w’'-]+)?)(?=[\"”,.;:—]| that | which | and | by | as | because )",
    re.I,
)
_PRAISE = re.compile(
    r"^(?:an?|the) (?:very|most|good|great|bad|beautiful|curious|common|pretty|fine|wonderful|same|one"
    r"|true|striking|remarkable|first|second|third|last|next|other|best|worst|only)\b",
    re.I,
)
_LIST = re.compile(
    r"^(?:here )?(?:there (?P<be>are|were)|we have) (?P<many>two|three|four|five|six|seven) (?P<rest>[\w'’ -]+?)"
    r"(?=[,.;:—]|$)",
    re.I,
)
_LIST_NOUN = re.compile(
    r"^(?:\w+ )?(?:ways|reasons|kinds|types|sorts|steps|parts|causes|things|rules|stages|forms|methods|mistakes|forces"
    r"|sources|differences|signs|advantages|principles|conditions|effects|uses|ideas|points|problems)\b",
    re.I,
)
_BECAUSE = re.compile(
    r"^(?P<noun>(?:(?:an?|the) )?[\w’'-]+(?: [\w’'-]+)?(?: of (?:an? |the )?[\w’'-]+)?)"
    r" (?P<be>is|are|was|were|can|cannot"
    r"|will|must|should) (?P<rest>[\w’', -]{3,90}?),? because (?P<cause>\w+.*)",
    re.I,
)
_WHEN = re.compile(r"^(?P<word>when|if) (?P<clause>[\w’' -]{12,90}), (?:then )?(?!and|or|but|which|as\b)\w+", re.I)
_REASON = re.compile(
    r"^(?:the|one|another) (?:main |chief |real )?reason (?:why |that |for )?"
    r"(?P<rest>[\w’', -]{8,90}?),? is[,:]? (?:that|because|solely|this|simply)\b",
    re.I,
)


@dataclass(frozen=True)
class Candidate:
    """A question, and the sentence its answer starts from."""

    text: str
    anchor: int
    quality: float
    spoken: bool = False
    """The talk asks it itself: the answer starts after the anchor."""


def candidates(reading: Reading) -> list[Candidate]:
    """Every question the talk could be asked, in the order of the talk."""
    questions = [each for sentence in reading.sentences for each in _shaped(reading, sentence)]
    questions.sort(key=lambda c: (c.anchor, -c.quality, c.text))
    return [each for each in questions if is_standalone(each.text)]


def choose(reading: Reading, pool: list[Candidate], count: int, banned: Collection[str]) -> list[Candidate]:
    """At most `count` of `found`, spread over the talk, no two alike; the better shapes first."""
    starts = [0]
    for sentence in reading.sentences:
        starts.append(starts[-1] + sentence.words)
    ideal = max(1.0, starts[-1] / max(1, count))
    remaining = [c for c in pool if c.text not in banned]
    gaps = {c: 2 * ideal for c in remaining}
    picks: list[Candidate] = []
    while remaining and len(picks) < count:
        # Being far from what is covered counts as much as the shape of the question.
        best = max(remaining, key=lambda c: (c.quality + min(1.0, gaps[c] / ideal), -c.anchor))
        remaining.remove(best)
        if any(alike(best, other) for other in picks):
            continue
        if gaps[best] < (0 if best.spoken else TOO_NEAR):
            continue  # the answers would be the same sentences
        picks.append(best)
        for c in remaining:
            gaps[c] = min(gaps[c], abs(starts[c.anchor] - starts[best.anchor]))
    return sorted(picks, key=lambda c: (c.anchor, c.text))


def alike(one: Candidate, other: Candidate) -> bool:
    """True when two questions ask for the same; of two the talk asks itself, only when most words agree."""
    if one.spoken and other.spoken:
        first, second, limit = set(words(one.text)), set(words(other.text)), 0.75
    else:
        first, second = set(_subjects(one.text)), set(_subjects(other.text))
        limit = ALIKE if words(one.text)[0] == words(other.text)[0] else 0.85
    return len(first & second) >= limit * max(1, len(first | second))


def is_standalone(text: str) -> bool:
    """True when `text` can be asked by someone who heard nothing before it."""
    tokens = words(text)
    if not MIN_WORDS <= len(tokens) <= MAX_WORDS and not (len(tokens) == 3 and tokens[0] == "what"):
        return False
    if not text.endswith("?") or text.count("?") > 1:
        return False
    if _FORBIDDEN.search(text) or _TO_THE_ROOM.search(text):
        return False
    if not _subjects(text):
        return False
    has_subject = False
    for word in tokens:
        if word in ("it", "its", "they", "them", "their", "him") and not has_subject and not _EXPLETIVE.search(text):
            return False
        has_subject = has_subject or (is_content(word) and not is_empty(word))
    return True


def tags(reading: Reading, question: str) -> list[str]:
    """One to three content words of `question`, nouns and rare words first."""
    content = dict.fromkeys(w for w in words(question) if is_content(w) and not is_empty(w))
    ranked = sorted(content, key=lambda w: (stem(w) not in reading.nouns, -reading.weight.get(stem(w), 0.0)))
    return ranked[:3]


def _subjects(text: str) -> list[str]:
    return [stem(word) for word in words(text) if is_content(word)]


def _shaped(reading: Reading, sentence: Sentence) -> Iterator[Candidate]:
    """Questions that the shape of one sentence gives away."""
    if sentence.asks:
        question = _own_question(reading, sentence)
        if question:
            yield Candidate(question, sentence.index, 1.2, spoken=True)
        return
    if sentence.unfit:
        return
    for quality, text in (
        (0.9, _definition(reading, sentence.text)),
        (0.8, _naming(reading, sentence.text)),
        (1.0, _enumeration(sentence.text)),
        (0.85, _cause(reading, sentence.text)),
        (0.7, _condition(reading, sentence)),
    ):
        if text and not sentence.leans:
            yield Candidate(text, sentence.index, quality)
        elif text and sentence.index and _can_open(reading.sentences[sentence.index - 1]):
            yield Candidate(text, sentence.index - 1, quality - 0.1)


def _can_open(sentence: Sentence) -> bool:
    return not (sentence.asks or sentence.unfit or sentence.leans) and sentence.words >= 7


def _own_question(reading: Reading, sentence: Sentence) -> str | None:
    text = sentence.text.split("?")[0].strip("\"“”' ") + "?"
    after = reading.sentences[sentence.index + 1 : sentence.index + 4]
    answered = reading.nouns.union(*(s.stems for s in after))
    for whole, part in ((True, text), (False, re.split(r"[;:—]\s*", text)[-1])):
        question = re.sub(r",? then,(?= )", "", _OPENER.sub("", part))
        subjects = _subjects(question)
        specific = len(subjects) + (len(question.split()) > 5) >= 2 and set(subjects) & answered
        if _ASKING.match(question) and specific and (whole or not re.search(r"\b(?:it|its|they|them)\b", question)):
            return question[:1].upper() + question[1:]
    return None


def _definition(reading: Reading, text: str) -> str | None:
    match = _IS_A.match(text)
    if match is None or _PRAISE.match(match["rest"]) or len(match["rest"].split()) < 6:
        return None
    if len(re.split(r"[,;:—]", match["rest"])[0].split()) < 5:  # 'the plank is the bar, the post is ...'
        return None
    return _what_is(reading, match["article"] or "", match["name"])


def _naming(reading: Reading, text: str) -> str | None:
    match = _CALLED.search(text)
    return _what_is(reading, match["article"] or "", match["name"]) if match else None


def _what_is(reading: Reading, article: str, name: str) -> str | None:
    parts = name.split()
    inner = [part.lower() for part in parts if part.lower() not in ("of", "a", "an", "the")]
    if any(not is_content(word) for word in inner) or is_empty(inner[-1]) or inner[0] in ("think", "imagine", "say"):
        return None
    if inner[-1].endswith("ed"):
        return None
    name = name if parts[0] in reading.names or parts[0].isupper() else name[0].lower() + name[1:]
    plural = is_plural(name.split(" of ")[0].split()[-1]) and article.strip().lower() not in ("a", "an")
    return f"What {'are' if plural else 'is'} {article.lower()}{name}?"


def _enumeration(text: str) -> str | None:
    match = _LIST.match(text)
    if match is None or not _LIST_NOUN.match(match["rest"]):
        return None
    rest = re.split(r" (?:and|but|so|because) ", match["rest"])[0].strip()
    if sum(is_content(word) and not is_empty(word) for word in words(rest)) < 1 or len(rest.split()) < 3:
        return None
    return f"What {(match['be'] or 'are').lower()} the {match['many'].lower()} {rest}?"


def _cause(reading: Reading, text: str) -> str | None:
    reason = _REASON.match(text)
    if reason:
        return f"What is the reason why {reason['rest']}?"
    match = _BECAUSE.match(text)
    if match and _is_subject(match["noun"]):
        noun, be = _lowered(reading, match["noun"]), match["be"].lower()
        be, rest = ("can", "not " + match["rest"]) if be == "cannot" else (be, match["rest"])
        return f"Why {be} {noun} {rest.strip()}?"
    return None


def _condition(reading: Reading, sentence: Sentence) -> str | None:
    match = _WHEN.match(sentence.text)
    if match is None or sentence.leans or sentence.points or not 4 <= len(match["clause"].split()) <= 14:
        return None
    nouns = [word for word in words(match["clause"]) if stem(word) in reading.nouns and is_content(word)]
    if all(is_empty(word) for word in nouns) or re.search(r"\b(?:we|be|were|so|want|wish)\b", match["clause"]):
        return None
    return f"What happens {match['word'].lower()} {match['clause']}?"


def _is_subject(noun: str) -> bool:
    inner = [word for word in words(noun) if word not in ("a", "an", "the", "of")]
    return bool(inner) and all(is_content(word) for word in inner) and not is_empty(inner[-1])


def _lowered(reading: Reading, text: str) -> str:
    first = text.split(maxsplit=1)[0]
    return text if first in reading.names or (first.isupper() and len(first) > 1) else text[0].lower() + text[1:]
