"""A talk taken apart once for both passes: its sentences, which of them stand alone, and its terms."""

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from understudy.records import Document
from understudy.text.words import sentences, words

# English function words and the verbs so common that they never name a subject.
STOP_WORDS = frozenset(
    """
a about above across after again against ago all almost alone along already also although always am among an and
another any anybody anyone anything are around as at away back be became because become been before began begin behind
being below beneath beside best better between beyond both bring but by call came can cannot come could did do does
doing done down during each easily either else enough even ever every everybody everyone everything except far few
find first for found from further gave get give given go goes going gone got had happen has have he hear held help
hence her him himself his hold how however i if in indeed inside instead into is it its itself just keep kept knew
know known last lay least left less let lie like likely little long look lot made make many may maybe me mean meet
merely met might more most move much must my myself near nearly need neither never next no nobody none nor not nothing
now of off often oh okay on once one ones only onto or other otherwise our out outside over own perhaps please put
quite rather really said same sat saw say second see seem seen self set several shall she shew shewn should show shown
since so some somebody someone something sometimes somewhere soon still such suppose sure take taken tell than that
the their them themselves then there therefore these they think third this those though three through throughout thus
till to together told too took toward try turn two um uh under until up upon us use used uses using usually very want
was way we well went were what whatever when whenever where wherever whether which while whilst who whole whom whose
why will with within without would yes yet you your yourself able act actually anyhow appear apply ask believe bear
certain certainly consider continue different early easy exactly four five six seven eight nine ten fourth great good
bad big small large larger greater high higher low lower hard new old full exact fast slow half hope i'm i've i'd i'll
it's don't doesn't isn't can't you're we're gonna kind remain remark run sort start stay stop understand work lose
fall rise send carry grow feel push pull yeah basically literally hurry shut cut burn sit bend cross press spread wait
per draw drawn round various natural independent sufficient separate necessary possible multiplies swells weigh propose
""".split()
)
# Nouns that say nothing by themselves: no question is about them, and none is set in bold.
_EMPTY_NOUNS = frozenset(
    """
thing way part piece place case manner time moment minute day year bit lot point side end top bottom middle matter
reason example instance fact number amount people man men boy person hand somebody question answer subject attention
purpose order course mean experiment result state effect room table degree sense trouble word name idea rest
circumstance occasion thank pair doubt difference want need morning evening night hour apparatus arrangement extent
proportion condition quantity something account regard respect look view use form centre edge hundred thousand million
dozen seconds week month sum rule common former latter present consequence position action kind sort pound inch
multitude direction vessel dish test foot diagram presence contents relation material promise kindness source hole
pint bulk
illustration process substance body character appearance power opportunity possession operation property beautiful
brilliant wonderful curious particular little turn job trick bench business attempt pleasure house
""".split()
)
_DETERMINERS = frozenset("a an the this that these those our your my his their its some any no each every".split())
_BEFORE_BARE = frozenset("of in by with from for into and as or than between through to".split())
_ORDINALS = frozenset("first firstly second secondly third thirdly fourth fifth finally lastly".split())
_VERBS = frozenset("is are was were has have can makes does keeps gives".split())
_REFERS = frozenset("it its they them their he she him his her this that these those such".split())
_CONNECTIVES = frozenset(
    """
but and or nor so then therefore thus hence otherwise also instead again yet however besides second secondly third
thirdly fourth fifth finally next likewise because both neither either another others still even too here only once
""".split()
)
_LEANING_STARTS = re.compile(
    r"(?:each one|one of|some of|most of|all of|none of|the same|the others?|the latter|the former|the first|the second"
    r"|the rest|for (?:instance|example)|in truth|on the (?:other|contrary)|at (?:the same time|once|last)|no doubt"
    r"|as before|in (?:that|this|both|either|each) |that is|what (?:is|was) |which |who "
    r"|if so|if not|yes|no[,:;])",
    re.I,
)
_POINTS = re.compile(
    r"\b(?:here|over there|this|these|those|to-day|today|just now|i|i'm|i've|my|mr|mrs|let me|let us|look at|see how"
    r"|before you|last time|next time|in the diagram)\b",
    re.I,
)
_UNFIT = re.compile(
    r"\b(?:talks?|talking|lectures?|lecturer|videos?|transcripts?|speakers?|audience|channel|episodes?|subscribe\w*"
    r"|sponsor\w*|patreon|welcome|hello|good (?:morning|evening|afternoon)|thank(?:s| you)|see you|ladies|gentlemen"
    r"|bell icon|like button|comments?(?: section| below)|description below|fig)\b",
    re.I,
)
_FILLER = re.compile(
    r"(?:(?:let us|let me|let's|we shall see|we will see|you see)\b[^,;]{0,28}|as to [^,;]*|for instance)[.!]$", re.I
)
_BRACKETED = re.compile(r"\[[^\]]{0,600}\]|\((?:fig|see|laugh|applause|music)[^)]{0,60}\)|>>+|[♪♫_*#`|]", re.I)
_LEAD = re.compile(
    r"^(?:(?:and now|but now|now,? then|now|well|oh|okay|ok|all right|alright|you know|i mean|um+|uh+|you see"
    r"|of course)"
    r"(?:[,.!:;—-]+\s*|\s+(?=(?:if|when|let|the|a|an|we|you|i|there|why|how|what|this|that|it)\b)))+",
    re.I,
)
_AUXILIARIES = frozenset("is are was does do did can could should will would".split())
LEAST_WORDS = 50
"""In a shorter text the lack of full stops shows nothing."""
_STEM = re.compile(r"(?:'s|’s|s'|ing|ed|es|s)$")


@dataclass(frozen=True)
class Sentence:
    """One sentence, cleaned, and whether it can be quoted alone."""

    index: int
    paragraph: int
    text: str
    stems: tuple[str, ...]
    words: int
    """Without a leading 'First', which becomes the number of a list."""
    asks: bool
    leans: bool
    """It refers to the sentence before it."""
    points: bool
    """It points at something that only those in the room could see."""
    unfit: bool
    """A greeting, a heading, a word about the recording: never quoted."""


@dataclass(frozen=True)
class Term:
    """A noun phrase of the talk, with the article the talk itself gives it."""

    words: tuple[str, ...]
    phrase: str
    plural: bool
    count: int


@dataclass(frozen=True)
class Reading:
    """Everything both passes ask of a talk."""

    sentences: tuple[Sentence, ...]
    weight: dict[str, float]
    nouns: frozenset[str]
    terms: tuple[Term, ...]
    names: frozenset[str]
    punctuated: bool
    """False for captions without full stops, in which no sentence can be found."""


def read(document: Document) -> Reading:
    """`document` taken apart; the same text is taken apart once."""
    return _read(tuple(paragraph.text for paragraph in document.paragraphs))


@lru_cache(maxsize=32)  # a talk is read for its questions, for its answers and for each repair
def _read(paragraphs: tuple[str, ...]) -> Reading:
    clean = [_clean(text) for text in paragraphs]
    pieces = _punctuated(clean)
    texts = [text for _, text in pieces]
    terms, nouns = _terms(texts)
    stems = [_unique_stems(text) for text in texts]
    counts = Counter(stem for each in stems for stem in each)
    return Reading(
        sentences=tuple(_sentence(i, place, text, stems[i], nouns) for i, (place, text) in enumerate(pieces)),
        weight={stem: math.log(1 + len(texts) / count) for stem, count in counts.items()},
        nouns=nouns,
        terms=terms,
        names=_names(texts),
        punctuated=not _lacks_punctuation(" ".join(clean)),
    )


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """`word` without its ending, for comparing only; 'cools', 'cooled' and 'cooling' agree."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "i"
    short = _STEM.sub("", word) if not word.endswith(("ss", "us", "is", "gas", "lens")) else word
    if len(short) < 3:
        return word
    if len(short) > 3 and short[-1] == short[-2] and short != word and short[-1] not in "sl":
        short = short[:-1]
    return short[:-1] + "i" if short.endswith("y") else short.removesuffix("e") if len(short) > 3 else short


def is_content(word: str) -> bool:
    """True for a word that can carry meaning: no function word, no single letter, no adverb in -ly."""
    return len(word) > 2 and word not in STOP_WORDS and stem(word) not in _STOP_STEMS and not word.endswith("ly")


_STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS)
_EMPTY_STEMS = frozenset(stem(word) for word in _EMPTY_NOUNS)


def is_plural(word: str) -> bool:
    """True for a word that looks like a plural; 'gas', 'lens' and 'physics' do not."""
    return word.endswith("s") and not word.endswith(("ss", "us", "is", "ics", "gas", "lens"))


def is_empty(word: str) -> bool:
    """True for a noun such as 'thing' or 'ways', which names no subject."""
    return stem(word) in _EMPTY_STEMS


def _unique_stems(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(stem(word) for word in words(text) if is_content(word)))


def _clean(text: str) -> str:
    text = _BRACKETED.sub(" ", text)
    text = re.sub(r"\s*-{2,}\s*", "—", text.replace("…", "..."))
    return re.sub(r"\s+([,.;:?!])", r"\1", " ".join(text.split()))


def _lacks_punctuation(text: str) -> bool:
    count = len(text.split())
    return count >= LEAST_WORDS and len(re.findall(r"[.?!;:,]", text)) < 0.03 * count


def _punctuated(paragraphs: list[str]) -> list[tuple[int, str]]:
    """(paragraph, sentence); a sentence cut by a paragraph's end is made whole again."""
    pieces: list[tuple[int, str]] = []
    open_end = False
    for place, typed in enumerate(paragraphs):
        # Captions typed without capitals: a full stop is the only sign of an end.
        capital = re.sub(r"([.?!] )([a-z])", lambda m: m[1] + m[2].upper(), typed)
        text = capital if typed == typed.lower() else typed
        for number, piece in enumerate(sentences(text)):
            if open_end and number == 0 and piece[:1].islower():
                pieces[-1] = (pieces[-1][0], f"{pieces[-1][1]} {piece}")
            else:
                pieces.append((place, piece))
        open_end = bool(text) and text[-1] not in ".?!:\"”'’)"
    return [(place, part) for place, piece in pieces for part in _shortened(piece)]


def _shortened(text: str) -> list[str]:
    """`text` as sentences of at most about 45 words, cut where a new clause with its own subject starts."""
    text = text.strip("—- ")
    if len(text.split()) <= 40 or text.count('"') % 2 or "?" in text[:-1]:
        return [text] if text else []
    subject = r"(?:the|a|an|if|when|we|you|i|it|there|this|these|that|they|he|in|water|let|see)\b"
    middle = len(text) / 2
    cuts = [m for m in re.finditer(rf"(?:;|:—|:)\s*(?:(?:and|but|for|so)\b,?\s*)?(?={subject})", text, re.I)]
    cuts = cuts or [m for m in re.finditer(rf"(?:,|—)\s*(?:and|but|for)\s+(?={subject})", text)]
    cuts = [m for m in cuts if len(text[: m.start()].split()) > 8 and len(text[m.end() :].split()) > 6]
    if not cuts:
        return [text]
    cut = min(cuts, key=lambda m: abs(m.start() - middle))
    second = text[cut.end() :]
    return _shortened(text[: cut.start()].rstrip(",;:— ") + ".") + _shortened(second[:1].upper() + second[1:])


def _sentence(index: int, paragraph: int, text: str, stems: tuple[str, ...], nouns: frozenset[str]) -> Sentence:
    text = without_lead(text)
    tokens = words(text) or [""]
    asks = "?" in text or (tokens[0] in ("why", "how", "what") and tokens[1:2] != [] and tokens[1] in _AUXILIARIES)
    return Sentence(
        index=index,
        paragraph=paragraph,
        text=text,
        stems=stems,
        words=len(tokens) - bool(tokens[0] in _ORDINALS),
        asks=asks,
        leans=_leans(text, tokens, nouns),
        points=bool(_POINTS.search(text)),
        unfit=_is_unfit(text, tokens),
    )


def _is_unfit(text: str, tokens: list[str]) -> bool:
    letters = [c for c in text if c.isalpha()]
    heading = sum(c.isupper() for c in letters) * 2 > len(letters) or text[-1:] not in set(".?!\"”')’")
    broken = text.count('"') % 2 == 1 or any(text.count(a) != text.count(b) for a, b in ("()", "“”"))
    short = sum(word.isalpha() for word in tokens) < 3
    return heading or broken or short or bool(_FILLER.match(text) or _UNFIT.search(text))


def without_lead(text: str) -> str:
    """`text` without 'Now,', 'Well,' and the like at its head, its first letter capital."""
    short = _LEAD.sub("", text)
    short = short if len(short.split()) > 2 else text
    return short[:1].upper() + short[1:]


def _leans(text: str, tokens: list[str], nouns: frozenset[str]) -> bool:
    if not tokens or tokens[0] in _CONNECTIVES or _LEANING_STARTS.match(text) or not text[0].isalnum():
        return True
    for at, word in enumerate(tokens):
        before, after = tokens[at - 1] if at else "", tokens[at + 1 : at + 2]
        if word == "that" and before and after and before not in ("in", "of", "to", "for", "with", "at"):
            continue  # the conjunction, as in 'think that heat leaves'
        if word == "it" and tokens[at + 1 : at + 3] == ["is", "by"] and "that" in tokens:
            continue  # 'it is by heat that ...' refers to nothing
        if word in _REFERS:
            return True
        if stem(word) in nouns and not is_empty(word):
            return False
    return False


def _terms(texts: list[str]) -> tuple[tuple[Term, ...], frozenset[str]]:
    """Noun phrases of one or two words, most frequent first, and the stems of words used as nouns.

    Without a tagger: a noun phrase is what stands between an article or a preposition and a function word.
    """
    shapes: dict[tuple[str, ...], Counter[str]] = {}
    heads: Counter[str] = Counter()
    for text in texts:
        tokens = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]", text.lower())
        start = 0
        for at, token in enumerate([*tokens, "."]):
            if is_content(token):
                continue
            before, run = tokens[start - 1] if start else ".", tuple(tokens[start:at])
            if 1 <= len(run) <= 2:
                shapes.setdefault(run, Counter())[before] += 1
                # 'Water is ...' at the head of a sentence names a thing as surely as 'the water' does.
                heads[run[-1]] += before in _DETERMINERS or before == "of" or (start == 0 and token in _VERBS)
            start = at + 1
    nouns = frozenset(stem(head) for head, count in heads.items() if count)
    terms = [_term(run, befores) for run, befores in shapes.items() if _names_a_thing(run, befores, heads)]
    return tuple(sorted(terms, key=lambda term: (-term.count, term.words))), nouns


def _names_a_thing(run: tuple[str, ...], befores: Counter[str], heads: Counter[str]) -> bool:
    if is_empty(run[-1]) or is_empty(run[0]) or any(not word.replace("-", "").isalpha() for word in run):
        return False
    if run[-1].endswith(("ing", "ed", "n't")) or _UNFIT.search(" ".join(run)):
        return False
    certain = sum(befores[before] for before in (*_DETERMINERS, "of"))
    needed = 1 if len(run) == 2 and not is_plural(run[-1]) else 2
    return certain > 0 and sum(befores.values()) > 1 and heads[run[-1]] >= needed


def _term(run: tuple[str, ...], befores: Counter[str]) -> Term:
    plural = is_plural(run[-1])
    bare = sum(count for before, count in befores.items() if before in _BEFORE_BARE)
    indefinite = befores["a"] + befores["an"]
    definite = sum(befores.values()) - bare - indefinite
    name = " ".join(run)
    mass = name.endswith(("tion", "sion", "ment", "ness", "ity", "ance", "ence", "ism", "ing"))
    if not plural and not mass and indefinite and indefinite >= max(bare, definite):
        name = ("an " if name[0] in "aeiou" else "a ") + name
    elif not plural and definite > bare and not (mass and len(run) == 2):
        name = "the " + name
    return Term(run, name, plural, sum(befores.values()))


def _names(texts: list[str]) -> frozenset[str]:
    """Words that keep their capital inside a sentence."""
    inside = Counter(word for text in texts for word in re.findall(r"(?<=[a-z,] )[^\W\d_][\w'’-]*", text))
    capital = (word for word in inside if word[0].isupper() and word.lower() not in STOP_WORDS)
    return frozenset(word for word in capital if inside[word] > inside[word.lower()])
