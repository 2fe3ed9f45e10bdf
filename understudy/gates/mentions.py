"""Refuses pairs that speak of the transcript, the video or the speaker instead of the subject."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.guarded import Guarded, piece
from understudy.records import Pair

_WORK = r"(?:video|talk|lecture|episode|podcast|recording|webinar|presentation|seminar|interview|livestream)"
_WHO = r"(?:speaker|lecturer|presenter|narrator|host|author|teacher|instructor|interviewer|guest)"
_SAYS = (
    r"(?:say|said|explain|mention|describe|discuss|argue|suggest|state|claim|note|stresse|"
    r"recommend|think|believe|mean|tell|told|point|give|use|talk|cover|emphasi[sz]e|refer|address)(?:s|ed|d|es)?"
)
_WERK = r"(?:video|vortrag|transkript|folge|episode|podcast|vorlesung|aufnahme|untertitel\w*)"
_WER = r"(?:sprecher(?:in)?|vortragende[nr]?|referent(?:in)?|moderator(?:in)?|autor(?:in)?|dozent(?:in)?)"
_SAGT = r"(?:sagt|sagte|erklärt|erklärte|erwähnt|erwähnte|meint|beschreibt|betont|nennt|spricht|empfiehlt)"
# A word alone is too little: "the speaker" may be a loudspeaker, "the video" a file somebody edits.
_PATTERN = (
    rf"(?:the|this) transcript(?:ion)?|(?:in|from|throughout|during|according to|of) (?:this"
    rf"|the) {_WORK}(?! (?:card|game|call|file|editor|camera))"
    rf"|this {_WORK} (?:\w+ )?{_SAYS}|the {_WORK} {_SAYS}|the {_WHO}(?:'s|’s)? (?:also |then |further "
    rf"|really )?{_SAYS}"
    rf"|(?:according to|as) (?:the|this|our) {_WHO}|(?:mentioned|discussed|explained|said|described"
    rf"|covered) (?:earlier |above )?in (?:the|this) (?:{_WORK}|text|passage)"
    r"|the (?:text|passage) (?:says|states|mentions|explains|describes)"
    rf"|(?:im|in diesem|in dieser|in der|laut|laut dem|laut der|das|dieses|dieser|der) {_WERK} (?:{_SAGT}"
    rf"|wird|heißt|erwähnt|gesagt)"
    rf"|(?:in diesem|in dieser|laut dem|laut diesem) {_WERK}|(?:das|dem|im|dieses) transkript|(?:der|die|dem"
    rf"|laut) {_WER} {_SAGT}|laut (?:der |dem )?{_WER}"
)  # fmt: skip
_PIECES = (
    "transcript video talk lecture episode podcast recording webinar presentation seminar interview livestream speaker "
    "lecturer presenter narrator host author teacher instructor guest passage vortrag transkript folge vorlesung "
    "aufnahme untertitel sprecher vortragende referent moderator autor dozent"
)


class MentionsGate:
    """Keeps a pair when neither question nor answer names its source."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        phrases: list[str] = Field(default=[], description="more phrases to refuse: whole words, case ignored")

    VERSION = 2

    def __init__(self, options: Options) -> None:
        self.options = options
        every = "|".join([_PATTERN, *map(re.escape, options.phrases)])
        pieces = [*_PIECES.split(), "the text", "this text", *map(piece, options.phrases)]
        self._phrase = Guarded(rf"(?<!\w)(?:{every})(?!\w)", pieces)

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """The phrase, and whether it is in question or answer."""
        for side, text in (("question", pair.question), ("answer", pair.answer)):
            match = self._phrase.search(text)
            if match:
                return f"the {side} says {match.group()!r}"
        return None
