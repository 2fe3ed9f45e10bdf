"""Refuses pairs that speak of the transcript, the video or the speaker instead of the subject."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.guarded import Guarded, folded, in_english, listed
from understudy.records import Pair
from understudy.text.mentioning import is_subject, mention

_WORK = r"(?:video|talk|lecture|episode|podcast|recording|webinar|presentation|seminar|interview|livestream)"
_WHO = r"(?:speaker|lecturer|presenter|narrator|host|author|teacher|instructor|interviewer|guest)"
_SAYS = (
    r"(?:(?:say|said|explain|mention|describe|discuss|argue|suggest|state|claim|note|stresse|recommend|think"
    r"|thought|believe|told"
    r"|emphasi[sz]e|refer|advise|conclude|demonstrate)(?:s|ed|d|es)?|tells (?:us|you)|points? (?:out|to)"
    r"|means by|talks about"
    r"|(?:gives|gave) (?:an? |some |the )?(?:\w+ )?(?:example|advice|reason|tip)s?|uses (?:the|an?) (?:example"
    r"|word|term|image))"
)
_SHOWN = (
    r"(?:mentioned|discussed|explained|said|described|covered|stated|recommended|suggested|noted|emphasi[sz]ed"
    r"|outlined|argued"
    r"|demonstrated|shown|seen|named|listed|advised)"
)
_OWNED = r"(?:advice|opinion|view|point|example|recommendation|suggestion|explanation|argument|claim|story|experience)"
_WERK = r"(?:video|vortrag|transkript|folge|episode|podcast|vorlesung|aufnahme|untertitel\w*)"
_WER = (
    r"(?:sprecher(?:in|s)?|redner(?:in|s)?|vortragende[nr]?|referent(?:in|en)?|moderator(?:in|s)?|autor(?:in"
    r"|s)?|dozent(?:in|en)?"
    r"|lehrer(?:in|s)?)"
)
_SAGT = r"(?:sagt|sagte|erklärt|erklärte|erwähnt|erwähnte|meint|beschreibt|betont|nennt|spricht|empfiehlt|rät|glaubt)"
# A word alone is too little: "the speaker" may be a loudspeaker, "the video" a file somebody edits.
_PATTERN = (
    rf"(?:the|this) transcript(?:ion)?|(?:in|from|throughout|during|of) this {_WORK}(?! (?:card|game|call|file"
    rf"|editor|camera))"
    rf"|according to (?:the|this) (?:{_WORK}|text|passage|(?:\w+ )?information (?:provided|given)|provided \w+)"
    rf"|this {_WORK} (?:\w+ )?{_SAYS}|the {_WORK} (?:also )?{_SAYS}"
    rf"|the {_WHO} (?:\w+ly )?(?:also |then |further |goes on to )?{_SAYS}|the {_WHO}[’']s (?:\w+ )?{_OWNED}"
    rf"|according to (?:the|this|our) {_WHO}|as the {_WHO} (?:puts|sees|shows|frames) it"
    rf"|this {_WORK} (?:covers|is about|deals with|shows|teaches|explores|focuses)"
    rf"|(?:throughout|during) the {_WORK},? (?:he|she|they|we|the {_WHO})"
    r"|given the (?:context|information|text|passage) (?:above|provided|given)"
    rf"|{_SHOWN} (?:\w+ )?(?:in|by|during|throughout|at the (?:start|beginning|end) of) (?:the|this) (?:{_WORK}"
    rf"|text|passage|{_WHO})"
    rf"|(?:\A|(?<=[.!?] )|(?<=\n))in the {_WORK}(?= ?,| (?:he|she|they|we|I|it is (?:said|explained|mentioned"
    rf"|stated|suggested))\b)"
    rf"|(?:point|message|topic|theme|idea|subject|takeaway|thesis|focus|gist)s? of (?:the|this) {_WORK}"
    r"|the (?:text|passage) (?:says|states|mentions|explains|describes|notes|suggests|argues)"
    r"|(?:based|relying|drawing) (?:solely |only |purely )?on (?:the|this|your) (?:(?:information|context"
    r"|material|details|text|content|passage|source) (?:(?:that (?:is|was|you) )?(?:given|provided|available|supplied"
    r"|presented|shared)|above|you (?:gave|provided|shared))|(?:given|provided|available|supplied) \w+|passage|text)"
    r"|from (?:the information|what is) (?:given|provided)|the (?:provided|given) (?:information|text|context"
    r"|passage|source)"
    r"|(?:the )?information (?:provided|given|supplied)(?= (?:here|above|in|does|suggests|states)\b)"
    rf"|(?:im|in diesem|in dieser|in der|laut|laut dem|laut der|das|dieses|dieser|der) {_WERK} (?:{_SAGT}"
    rf"|wird|heißt|erwähnt|gesagt)"
    rf"|(?:im|in der|in dem|in diesem|in dieser|aus dem|aus der) {_WERK}(?:,)? (?:wurde|werden|gezeigt|erklärt|erwähnt"
    r"|genannt|besprochen|beschrieben|gesagt|heißt es|erläutert|behandelt)"
    rf"|(?:in diesem|in dieser|laut|laut dem|laut der|laut diesem) {_WERK}|(?:das|dem|im|dieses) transkript"
    rf"|(?:der|die|dem"
    rf"|laut) {_WER} {_SAGT}|laut (?:der |dem |des )?{_WER}|{_SAGT} (?:der|die) {_WER}"
    r"|(?:basierend auf|auf (?:der )?grundlage|anhand|ausgehend von|gemäß|laut|nach) (?:den|der|dieser|diesen)"
    r" (?:bereitgestellten|gegebenen|vorliegenden|angegebenen|verfügbaren|obigen|gelieferten) (?:informationen|angaben)"
)
_PIECES = (
    "transcript video talk lecture episode podcast recording webinar presentation seminar interview livestream speaker "
    "lecturer presenter narrator host author teacher instructor guest passage vortrag transkript folge vorlesung "
    "aufnahme untertitel sprecher redner vortragende referent moderator autor dozent lehrer informationen angaben"
)
_MORE_PIECES = (
    "the text", "this text", "information", "based ", "relying ", "drawing ", "from what is ", "the provided ",
    "the given ", "given the ",
)  # fmt: skip
_NOUN = re.compile(rf"{_WORK}|{_WHO}|{_WERK}|{_WER}|transcript|text|passage|information", re.IGNORECASE)
_PRONOUN = Guarded(
    rf"(?<!\w)(?:in (?:his|her) {_WORK}|(?:he|she) (?:also |then |further |even )?(?:believes|explains|says"
    rf"|mentions|recommends|suggests"
    r"|emphasi[sz]es"
    r"|stresses|argues|tells|describes|advises|points out|notes|thinks|goes on to))(?!\w)",
    ["in his ", "in her ", "he believes", "he also", "he explains", "he says", "he mentions", "he recommends",
    "he suggests",
    "he emphasi", "he stresses",
     "he argues", "he tells", "he describes", "he advises", "he points", "he notes", "he thinks", "he goes", "he then",
     "he further", "he even"],
)  # fmt: skip
# Somebody whom "he" or "she" may mean: a person named by a noun, or a name.
_PERSON = re.compile(
    r"\b(?:an?|the|my|your|our|his|her|their|every|each|one|some|no|another|any"
    r"|whose) (?:\w+ ){0,2}(?:\w*(?:man|woman|boy|girl|lady|king|queen"
    r"|father|mother|uncle|aunt|son|daughter|sister|brother|wife|husband|friend|child|kid|person|student|doctor"
    r"|patient|nurse|guy|baby"
    r"|cook|chef|guest|client|customer|monk|saint|god|smith|wright|boss|cousin|neighbou?r|cat|dog|horse)"
    r"|\w{3,}(?:ist|ian|ant|eer|or|er))\b"
    r"|(?<=[a-z,;] )(?!I\b)[A-Z][a-z]+|\b(?:who|whoever|someone|somebody|anyone|nobody|god|mum|dad|grandma|grandpa)\b"
)
_NO_PERSON = re.compile(rf"\b{_WHO}\b")


class MentionsGate:
    """Keeps a pair when neither question nor answer names its source."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        phrases: list[str] = Field(default=[], description="more phrases to refuse: whole words, case ignored")

    VERSION = 3

    def __init__(self, options: Options) -> None:
        self.options = options
        self._phrase = Guarded(rf"(?<!\w)(?:{_PATTERN})(?!\w)", [*_PIECES.split(), *_MORE_PIECES])
        self._more = listed(options.phrases)

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """The phrase, and whether it is in question or answer. What the question is about may be named."""
        for side, text in (("question", pair.question), ("answer", pair.answer)):
            bare = text.replace("*", "") if "*" in text else text
            if self._more and (own := self._more.search(bare)):
                return f"the {side} says {own.group()!r}"
            subject = pair.question if side == "answer" else None
            if phrase := self._mention(bare, subject):
                return f"the {side} says {' '.join(phrase.split())!r}"
        return None

    def _mention(self, text: str, question: str | None) -> str | None:
        low = folded(text)
        if match := self._phrase.search(text, low):
            noun = _NOUN.search(match.group())
            if noun is None or not _spoken_of(noun.group(), question, text):
                return match.group()
        if (
            question
            and (match := _PRONOUN.search(text, low))
            and not _somebody(question + "\n" + text[: match.start()])
        ):
            return match.group()
        if in_english(low):
            return None
        elsewhere = mention(text, low)
        return elsewhere.text if elsewhere and not _spoken_of(elsewhere.noun, question, text) else None


def _spoken_of(noun: str, question: str | None, text: str) -> bool:
    """Whether `noun` is the subject: in an answer, of its question; in a question, of a question about books."""
    if question is not None:
        return is_subject(noun, question)
    return noun[:5].lower() not in ("trans", "infor") and is_subject(noun, text.replace(noun, " "))


def _somebody(text: str) -> bool:
    return bool(_PERSON.search(_NO_PERSON.sub(" ", text)))
