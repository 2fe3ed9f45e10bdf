"""
Whether a question stands alone, without the talk it came from.

`standalone_problem` looks for a word for the talk or its speaker in a place where it can only mean this
one, and leaves alone the same words as a subject ("What is a video codec?").
"""

import re

from understudy.text.mentioning import mention
from understudy.text.words import QUESTION_MARKS, word_count

_THING = (
    r"(?:talk|video|lecture|transcript|transcription|episode|presentation|speech|podcast|webinar|sermon|clip"
    r"|recording|interview|session|lesson|seminar|text|passage|article|excerpt|conversation|discussion)"
)
_SPOKEN = r"(?:talk|lecture|transcript|transcription|episode|podcast|webinar|sermon|presentation)"
_PERSON = r"(?:speaker|presenter|lecturer|narrator|host|instructor|author|interviewer|interviewee)"
_SAID = (
    r"(?:mention|discuss|describe|explain|cover|say|said|state|claim|argue|suggest|recommend|outline|present"
    r"|address|emphasi[sz]e|define|mean|think|believe|compare|advise|refer|illustrate|point)(?:s|d|ed|es)?"
)
_DING = (
    r"(?:vortrag|vorlesung|video|transkript|podcast|referat|folge|gespräch|interview|sendung|text|predigt|kurs)"
    r"(?:s|es)?"
)
_GESPROCHEN = r"(?:vortrag|vorlesung|transkript|podcast|referat|predigt)(?:s|es)?"
_MENSCH = r"(?:sprecher|redner|vortragende|referent|dozent|moderator|autor)(?:in|s|n|en)?"
_GESAGT = (
    r"(?:genannt|erwähnt|beschrieben|erklärt|besprochen|gezeigt|vorgestellt|empfohlen|erläutert|behandelt|gesagt)\w*"
)
_SAGT = r"(?:meint|sagt|erklärt|empfiehlt|beschreibt|erwähnt|nennt|versteht|glaubt|denkt|behauptet|vergleicht|rät|hält)"
_NO_NOUN_NEXT = r"(?=\s*(?:[?.,;:!)]|$)|\s+(?:and|about|is|are|was|were|does|did|how|what|why|that|which|as)\b)"

_MENTIONS = [
    rf"\b(?:this|today's|your) {_THING}\b(?! (?:{_THING}|file|format|card|editor|message)\b)",
    rf"\b(?:in|from|during|throughout|within) the {_SPOKEN}{_NO_NOUN_NEXT}",
    rf"\b{_SAID} (?:\w+ )?(?:in|by|during|throughout|at the (?:start|beginning|end) of) the (?:{_THING}|{_PERSON})\b",
    rf"\baccording to (?:the|this) (?:{_THING}|{_PERSON})\b",
    rf"\bthe {_PERSON} (?:\w+ly )?{_SAID}\b",
    rf"\b(?:does|did|do|would|has) the (?:{_THING}|{_PERSON}) (?:\w+ly )?{_SAID}\b",
    rf"\bthe {_PERSON}(?:'s|’s) (?:view|opinion|argument|point|analogy|example|advice|experience|definition|story)\b",
    rf"\b(?:point|idea|message|topic|theme|argument|takeaway|lesson)s? (?:of|from) the {_THING}\b",
    r"\bas (?:mentioned|discussed|described|explained|noted) (?:above|earlier|before|previously)\b",
    r"\bparagraphs? \[?[0-9]",
    rf"\b(?:diese[mnrs]?|deine[mnrs]?|ihre[mnrs]?) {_DING}(?!-)\b",
    rf"\b(?:im|in der|in dem|aus dem|aus der|laut|während des|während der) {_GESPROCHEN}\s*(?:[?.,;:!]|$|{_GESAGT})",
    rf"\b(?:im|in der|in dem|vom|von der|von dem) (?:{_DING}|{_MENSCH}) {_GESAGT}",
    rf"\b(?:laut|nach ansicht|nach meinung|zufolge) (?:de[mrsn] )?(?:{_DING}|{_MENSCH})\b(?!-)",
    rf"\b{_SAGT} (?:de[rm]|die) {_MENSCH}\b",
]
_MENTION = re.compile("|".join(_MENTIONS), re.IGNORECASE)
_NO_REFERENT = re.compile(
    r"^(?:what|why|how|when|where|who)\s+(?:does|did|do|is|was|has|would|should|can|could)"
    r"\s+(?:he|she|they)\b(?! say\b)"
    r"|^(?:what|why|how|when|where)\s+(?:does|did|is|are|was|can|could|would|should)\s+(?:this|that|these|those)"
    r"(?:\s+(?:important|happen|matter|work|mean|necessary|possible|true|so|different|relevant|useful|called|done"
    r"|help|caused?))?(?:\s+(?:so|in practice|at all|important))?\s*\?"
    r"|^(?:was|warum|wie|wann|wo|wieso|weshalb)\s+(?:ist|passiert|funktioniert|bedeutet|geschieht|heißt"
    r"|hilft)\s+(?:das|dies)"
    r"(?:\s+(?:so|wichtig|nötig|möglich|gut|schlecht))?\s*\?"
    r"|^(?:pourquoi|comment)\s+(?:est-ce que )?(?:c['’]est|est-ce|cela est|ça)\s*(?:si )?(?:important|marche"
    r"|utile|fonctionne)?\s*\?"
    r"|^¿?(?:por qué|cómo)\s+(?:es|funciona)\s+(?:esto|eso)?\s*(?:tan )?(?:importante|así|útil)?\s*\?"
    r"|^(?:perché|come)\s+(?:è|funziona)\s+(?:questo|ciò)?\s*(?:così )?(?:importante|utile)?\s*\?"
    r"|^(?:por que|como)\s+(?:isso|isto)\s+(?:é|funciona)\s*(?:tão )?(?:importante|útil)?\s*\?"
    r"|^(?:почему|как|зачем)\s+(?:это|он|она|они)\s+(?:так )?(?:важно|работает|нужно|происходит|говорит|думает)\s*\?"
    r"|^(?:为什么)?(?:这|那|他|她)(?:个)?(?:为什么|怎么)?(?:很)?(?:重要|有用|这么说)(?:吗|呢)?？?$"
    r"|^なぜ(?:それ|これ|彼|彼女)(?:が|は)[^、。]{0,8}(?:重要|大切|必要)[^、。]{0,6}$",
    re.IGNORECASE,
)
_QUESTION_MARK = re.compile(f"[{QUESTION_MARKS}]")
_ASKS = re.compile(
    r"\W*(?:what|why|how|when|where|who|whom|whose|which|explain|describe|tell|compare|give|list|name|define"
    r"|was|warum|wie|wann|wo|wer|wen|wem|welche\w*|wieso|weshalb|wozu|erkläre?|beschreibe?|nenne?|vergleiche?)\b",
    re.IGNORECASE,
)
_LATIN_ONLY = re.compile(r"[\u0000-\u024f\u2000-\u206f]*")


def standalone_problem(question: str) -> str | None:
    """Why `question` does not stand alone, or None: 'no question', 'mentions the talk' or 'no referent'."""
    line = " ".join(question.split())
    if not any(c.isalpha() for c in line) or (_LATIN_ONLY.fullmatch(line) and not _is_asked(line)):
        return "no question"
    if _MENTION.search(line) or mention(line, line.lower()):
        return "mentions the talk"
    return "no referent" if _NO_REFERENT.search(line) else None


def _is_asked(line: str) -> bool:
    """True for two words or more that ask; other scripts may ask without a mark and are not judged."""
    return word_count(line) > 1 and bool(_QUESTION_MARK.search(line) or _ASKS.match(line))
