"""The teacher without a model: finds questions in a talk and answers them with its own sentences."""

import re
from collections import Counter
from collections.abc import Collection
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field, model_validator

from understudy.errors import TeacherError
from understudy.interfaces import ReplyItem, TeacherReply, TeacherRequest
from understudy.records import Document, Question
from understudy.teachers.extractive_questions import Candidate, candidates, choose, tags
from understudy.teachers.extractive_reading import Reading, Sentence, is_content, is_empty, read, stem
from understudy.teachers.free import FreeTeacher
from understudy.text.words import words

USES_PER_SENTENCE = 2
BOLD_TERMS = 3
REACH = 14  # sentences after the anchor that may belong to its answer
_ORDINAL = re.compile(
    r"^(?:(?:and )?(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|fourth(?:ly)?|fifth(?:ly)?|finally|lastly)\b,?) ", re.I
)
_ANNOUNCES = re.compile(r"\b(?:two|three|four|five|six|several)\b|:$", re.I)
_FIRST = re.compile(r"^first(?:ly)?\b,? ", re.I)
_NEEDS_MORE = re.compile(r"^(?:there (?:is|are)|people say|some say|say|let|suppose|think of|imagine|if|when)\b", re.I)
_ANALOGY = re.compile(r"^(?:think of|it is like|imagine|picture|that is like|each one is like|this is like)\b", re.I)
_LEADING = re.compile(r"^(?:and|but|so|yet)\b,? ", re.I)
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class ExtractiveTeacher(FreeTeacher):
    """Quotes the talk: a free first draft of a dataset, and what the demo and the tests run on.

    Its questions are the talk's own, or phrased from its definitions, lists and reasons, and it asks none where it
    finds no such sentence: of a lecture that tells and shows, only a few. Its answers are the talk's own sentences,
    cleaned and laid out in one consistent form. It quotes, it does not explain: it merges nothing, resolves no
    pronoun, and knows no word that the talk does not say. For a model you mean to keep, use a teacher LLM. English
    only.
    """

    VERSION = 2

    class Options(BaseModel):
        """How long the quoted answers are."""

        model_config = ConfigDict(frozen=True, extra="forbid")
        min_answer_words: int = Field(default=60, ge=10, description="an answer that stays shorter is not given")
        max_answer_words: int = Field(default=160, ge=30, description="sentences that would pass this are left out")

        @model_validator(mode="after")
        def _room_between(self) -> "ExtractiveTeacher.Options":
            if self.max_answer_words < self.min_answer_words + 20:
                raise ValueError(
                    f"max_answer_words ({self.max_answer_words}) must exceed min_answer_words "
                    f"({self.min_answer_words}) by 20 at least, because whole sentences have to fit between"
                )
            return self

    label = "extractive"

    def __init__(self, options: Options) -> None:
        self.options = options

    def reply(self, request: TeacherRequest) -> TeacherReply:
        """Questions or answers for one talk; the same request gives the same reply. Raises TeacherError."""
        _require_english(request.document)
        reading = read(request.document)
        if not reading.punctuated:
            raise TeacherError(
                f"{request.document.document_id!r} has no full stops, as captions made by machine often have none, and "
                "the extractive teacher quotes whole sentences; use a teacher LLM for it"
            )
        if request.kind == "questions":
            return self._questions(reading, request.count)
        return self._answers(reading, request.questions)

    def _questions(self, reading: Reading, count: int) -> TeacherReply:
        pool, banned = candidates(reading), set[str]()
        answered: list[tuple[Candidate, list[Sentence]]] = []
        for _ in range(6):  # a question that cannot be answered makes room for another, a few times
            picks = choose(reading, pool, count, banned)
            composer = _Composer(reading, self.options)
            answered = [(each, composer.compose(each)) for each in picks]
            failed = {each.text for each, picked in answered if not picked}
            if not failed:
                break
            banned |= failed
        items = [
            ReplyItem(
                question_number=number,
                text=each.text,
                tags=tags(reading, each.text),
                first_paragraph=min(s.paragraph for s in picked),
                last_paragraph=max(s.paragraph for s in picked),
            )
            for number, (each, picked) in enumerate(((e, p) for e, p in answered if p), start=1)
        ]
        return TeacherReply(items=items)

    def _answers(self, reading: Reading, questions: list[Question]) -> TeacherReply:
        by_text = {each.text: each for each in candidates(reading)}
        composer = _Composer(reading, self.options)
        items: list[ReplyItem] = []
        refused: dict[int, str] = {}
        for question in questions:
            place = by_text.get(question.question) or _nearest(reading, question)
            picked = composer.compose(place) if place else []
            if picked:
                text = lay_out(reading, question.question, picked)
                items.append(ReplyItem(question_number=question.question_number, text=text))
            else:
                refused[question.question_number] = (
                    f"fewer than {self.options.min_answer_words} words of the talk that stand alone answer it"
                )
        return TeacherReply(items=items, refused=refused)


def _require_english(document: Document) -> None:
    parts = re.split(r"[-_.]", (document.language or "en").lower())
    if not {"en", "eng", "english", "und"} & set(parts):
        raise TeacherError(
            f"the extractive teacher reads English only, and {document.document_id!r} is in {document.language!r}; "
            "use a teacher LLM for it"
        )


def _nearest(reading: Reading, question: Question) -> Candidate | None:
    """A place to start for a question of another teacher: the sentence of its span that shares most with it."""
    if not reading.sentences:
        return None
    stems = {stem(word) for word in words(question.question) if is_content(word)}
    first = question.first_paragraph or 0
    last = question.last_paragraph if question.last_paragraph is not None else reading.sentences[-1].paragraph
    span = [s for s in reading.sentences if first <= s.paragraph <= last] or list(reading.sentences)
    best = max(span, key=lambda s: (_overlap(reading, s, stems) - s.leans - 2 * s.unfit - s.asks, -s.index))
    return Candidate(question.question, best.index, 0.0, spoken=best.asks)


def _overlap(reading: Reading, sentence: Sentence, stems: set[str]) -> float:
    """IDF-weighted share of the question's words that the sentence says, 0 to 1."""
    total = sum(reading.weight.get(each, 0.0) for each in sorted(stems))
    return sum(reading.weight[each] for each in sentence.stems if each in stems) / total if total else 0.0


class _Composer:
    """Picks the sentences of each answer, and keeps count so that none is quoted too often."""

    def __init__(self, reading: Reading, options: ExtractiveTeacher.Options) -> None:
        self.reading, self.options = reading, options
        self.uses: Counter[int] = Counter()
        self.answers: set[tuple[int, ...]] = set()
        self.borders = [c.anchor for c in candidates(reading) if c.spoken]

    def compose(self, place: Candidate) -> list[Sentence]:
        """Sentences in the order of the answer; [] when too little of the talk answers."""
        picked = self._picked(place)
        key = tuple(sorted(s.index for s in picked))
        if not picked or key in self.answers:
            return []
        self.answers.add(key)
        self.uses.update(key)
        return picked

    def _picked(self, place: Candidate) -> list[Sentence]:
        stems = {stem(word) for word in words(place.text) if is_content(word)}
        first, following, preceding = self._around(place, stems)
        if first is None:
            return []
        elsewhere = self._elsewhere(first, stems)
        target = min(self.options.min_answer_words + 30, self.options.max_answer_words - 15)
        spelled_out = 3 if _FIRST.match(first.text) else 0  # without an opening before it, a list stays prose
        picks = {first.index: first}
        length = first.words + spelled_out
        for group in (following, preceding, elsewhere):
            if group is elsewhere and length >= self.options.min_answer_words:
                break
            for sentence in self._by_worth(group, first, stems) if len(group) > 6 else group:
                chain = [s for s in self._chain(sentence, picks, [first, *group]) if s.index not in picks]
                added = sum(s.words for s in chain)
                if not chain or length + added > self.options.max_answer_words:
                    continue
                if length >= target and not (len(group) <= 6 and group is following):
                    break
                picks.update((s.index, s) for s in chain)
                length += added
        picked = sorted(picks.values(), key=lambda s: (s.index < first.index, s.index))  # the core leads
        while picked and picked[-1].asks:
            picked.pop()
        enough = sum(s.words for s in picked) + spelled_out >= self.options.min_answer_words
        return picked if enough and len(picked) > 1 else []

    def _around(self, place: Candidate, stems: set[str]) -> tuple[Sentence | None, list[Sentence], list[Sentence]]:
        """The opening sentence, and what stands after and before it up to the talk's next own question."""
        everything, anchor = self.reading.sentences, place.anchor
        end = next((b for b in self.borders if b > anchor), len(everything))
        start = max((b + 1 for b in self.borders if b <= anchor), default=0)
        after = [s for s in everything[anchor + place.spoken : min(end, anchor + REACH)] if self._usable(s)]
        start = max((s.index + 1 for s in everything[start:anchor] if s.asks), default=start)
        before = [s for s in everything[max(start, anchor - 6) : anchor] if self._usable(s)] if not place.spoken else []
        opening = self._opening(after, stems, place)
        if opening is None:
            return None, [], []
        if not place.spoken and opening.index != anchor:
            return None, [], []
        following = [s for s in after if s.index > opening.index]
        # 'So what do you do with this?' starts another thought: past it only when words are short.
        near = [s for s in following if s.index < next((q.index for q in following if q.asks), len(everything))]
        enough = sum(s.words for s in [opening, *near]) >= self.options.min_answer_words
        return opening, near if enough else following, before

    def _opening(self, after: list[Sentence], stems: set[str], place: Candidate) -> Sentence | None:
        if not place.spoken:
            return after[0] if after and after[0].index == place.anchor else None
        good = [s for s in after[:4] if not s.leans and not s.asks]
        core = next((s for s in good if _overlap(self.reading, s, stems) > 0.15), None)
        if core and sum(s.words for s in after if s.index >= core.index) >= self.options.min_answer_words:
            return core
        return next(iter(good), None)

    def _elsewhere(self, first: Sentence, stems: set[str]) -> list[Sentence]:
        """For an answer that stays too short: sentences of the neighbourhood that stand alone and speak of the same."""
        around = self.reading.sentences[max(0, first.index - 25) : first.index + 25]
        fit = [
            s
            for s in around
            if self._usable(s)
            and not (s.leans or s.points or s.asks)
            and s.index != first.index
            and not _NEEDS_MORE.match(s.text)
        ]
        ranked = sorted(((-_overlap(self.reading, s, stems), s.index, s) for s in fit), key=lambda row: row[:2])
        return [s for worth, _, s in ranked[:2] if worth < -0.25]

    def _usable(self, sentence: Sentence) -> bool:
        return (
            not sentence.unfit
            and self.uses[sentence.index] < USES_PER_SENTENCE
            and (not sentence.asks or sentence.words <= 14)
        )

    def _chain(self, sentence: Sentence, taken: dict[int, Sentence], group: list[Sentence]) -> list[Sentence]:
        """`sentence` with the sentences before it that it leans on; [] when one of them cannot be quoted."""
        if sentence.index in taken:
            return []
        chain, here = [sentence], {s.index: s for s in group}
        if _ORDINAL.match(sentence.text):
            return self._whole_list(sentence, here)
        while chain[0].leans and chain[0].index - 1 not in taken:
            before = here.get(chain[0].index - 1)
            if before is None or len(chain) > 3:
                return []
            chain.insert(0, before)
        return chain

    def _whole_list(self, sentence: Sentence, here: dict[int, Sentence]) -> list[Sentence]:
        """First, Second, Third with what stands between them and announces them: a list is quoted whole or not."""
        everything, first = self.reading.sentences, sentence.index
        while first > 0 and sentence.index - first < 8 and not _FIRST.match(everything[first].text):
            first -= 1
        last = first
        for s in everything[first + 1 : first + 9]:
            last = s.index if _ORDINAL.match(s.text) and s.index - last <= 2 else last
        if not _FIRST.match(everything[first].text) or last == first:
            return []
        if first and _ANNOUNCES.search(everything[first - 1].text) and not everything[first - 1].asks:
            first -= 1
        unit = everything[first : last + 1]
        # A list right behind a question to the room answers that question and no other.
        elsewhere = first > 0 and everything[first - 1].asks and first - 1 in here
        return [] if elsewhere or any(s.index not in here for s in unit) else list(unit)

    def _by_worth(self, group: list[Sentence], first: Sentence, stems: set[str]) -> list[Sentence]:
        """What shares most with the question, and stands nearest to the opening, first."""

        def worth(s: Sentence) -> float:
            near = 1.5 / (1 + abs(s.index - first.index) / 2)
            fresh = 0.4 * (self.uses[s.index] == 0)
            return near + fresh + 2 * _overlap(self.reading, s, stems) - 0.4 * s.points - 0.6 * s.asks - 0.3 * s.leans

        return sorted(group, key=lambda s: (-worth(s), s.index))


def lay_out(reading: Reading, question: str, picked: list[Sentence]) -> str:
    """`picked` as markdown: an opening, a list or a paragraph, a closing; the question's terms in bold."""
    texts = [s.text for s in picked]
    texts[0] = _LEADING.sub("", texts[0])
    texts[0] = texts[0][:1].upper() + texts[0][1:]
    return _with_bold(reading, question, "\n\n".join(_blocks(texts)))


def _blocks(texts: list[str]) -> list[str]:
    places = _list_items(texts)
    if places:
        first, last = places[0], places[-1]
        items: list[str] = []
        for at in range(first, last + 1):
            if at in places:
                items.append(f"{len(items) + 1}. {_capital(_ORDINAL.sub('', texts[at]))}")
            else:
                items[-1] += f" {texts[at]}"
        parts = [" ".join(texts[:first]), "\n".join(items), " ".join(texts[last + 1 :])]
        return [part for part in parts if part]
    opening = 1 if len(texts[0].split()) >= 14 or len(texts) < 4 else 2
    closing = 2 if len(texts) - opening > 3 and _ANALOGY.match(texts[-2]) else 1
    return [" ".join(part) for part in (texts[:opening], texts[opening:-closing], texts[-closing:]) if part]


def _list_items(texts: list[str]) -> list[int]:
    """Where First, Second, Third stand; [] when nothing opens the answer before them."""
    first = next((i for i, text in enumerate(texts) if i and _FIRST.match(text)), None)
    if first is None:
        return []
    items = [first]
    for i, text in enumerate(texts[first + 1 :], start=first + 1):
        if _FIRST.match(text) or i - items[-1] > 2:
            break
        items += [i] if _ORDINAL.match(text) else []
    return items if len(items) > 1 else []


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _with_bold(reading: Reading, question: str, text: str) -> str:
    """`text` with the question's terms in bold where they first occur, three at most."""
    tokens = [(m.start(), m.end(), m.group().lower()) for m in _TOKEN.finditer(text)]
    things = {stem(term.words[-1]) for term in reading.terms}
    spans: list[tuple[int, int]] = []
    for nouns in (things, reading.nouns):
        for phrase in _phrases(reading, question, nouns) if not spans else []:
            place = _occurrence(text, tokens, phrase)
            if place and all(place[1] <= a or place[0] >= b for a, b in spans) and len(spans) < BOLD_TERMS:
                spans.append(place)
    if not spans:
        fit = [t for t in tokens if is_content(t[2]) and not is_empty(t[2])]
        spans = [next((t for t in fit if stem(t[2]) in things), (fit or tokens)[0])[:2]]
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]}**{text[start:end]}**{text[end:]}"
    return text.replace("** **", " ")  # two terms side by side are one


def _phrases(reading: Reading, question: str, nouns: Collection[str]) -> list[list[str]]:
    """Stems of the question's terms, the longer ones first."""
    stems = [stem(word.lower()) for word in _TOKEN.findall(question)]
    fit = [is_content(w.lower()) and not is_empty(w.lower()) for w in _TOKEN.findall(question)]
    pairs = {tuple(stem(word) for word in term.words) for term in reading.terms if len(term.words) == 2}
    match = re.match(r"What (?:is|are) (?:an? |the )?([^?]+)\?$", question)
    defined = [stem(word.lower()) for word in _TOKEN.findall(match[1])] if match else []
    phrases = [defined] if 1 < len(defined) <= 4 else []
    for at, word in enumerate(stems):
        if not fit[at] or word not in nouns:
            continue
        if at and (stems[at - 1], word) in pairs:
            phrases.append([stems[at - 1], word])
        if at > 1 and stems[at - 1] == "of" and fit[at - 2] and stems[at - 2] in nouns:
            phrases.append(stems[at - 2 : at + 1])
        phrases.append([word])
    return sorted(phrases, key=lambda p: -len(p))


def _occurrence(text: str, tokens: list[tuple[int, int, str]], phrase: list[str]) -> tuple[int, int] | None:
    for at in range(len(tokens) - len(phrase) + 1):
        run = tokens[at : at + len(phrase)]
        together = all(text[a[1] : b[0]] == " " for a, b in pairwise(run))
        if together and all(stem(t[2]) == each for t, each in zip(run, phrase)):
            return run[0][0], run[-1][1]
    return None
