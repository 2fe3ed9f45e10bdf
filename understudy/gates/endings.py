"""Refuses answers that break off, are refusals, or contain a placeholder."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.elsewhere import REFUSAL, REFUSAL_NOT_LATIN
from understudy.gates.guarded import Guarded, folded, in_english, listed
from understudy.records import Pair
from understudy.text import markdown
from understudy.text.language import language

_TALK = r"(?:talk|transcript|text|video|passage|lecture|speaker|provided (?:text|context|information)|source)"
_CANNOT = r"(?:cannot|can[’']t|can not|am (?:not able|unable) to|won[’']t be able to|am not in a position to)"
_MODEL = (
    r"(?:ai|artificial intelligence|(?:large )?language model)(?: (?:language )?(?:model|assistant|chatbot|system))?"
)
_SILENT = (" does not ", " doesn't ", " doesn’t ", " did not ", " didn't ", " didn’t ", " never ")
_REFUSAL = Guarded(
    rf"\bas an? {_MODEL}(?=\s*[,.;:]|\s+(?:i|my|developed|trained|created)\b)"
    rf"|\bi(?:[’']m| am) (?:just |only )?an? {_MODEL}(?=\s*[,.;!]|\s+(?:and|so|trained|created|developed"
    rf"|without|that|which|with)\b)"
    rf"|\bi(?: {_CANNOT}|[’']m (?:not able|unable) to) (?:answer|assist|help (?:you )?with|comply|fulfil\w*"
    rf"|provide (?:an answer|medical|legal"
    rf"|that|this)|say (?:how|what|where|when|why|whether|which)|give (?:you )?(?:an answer|a reliable))\b"
    r"|\bi (?:do not|don[’']t) have (?:(?:enough|sufficient|the necessary) (?:information|details|data|context)"
    r"|(?:any )?information (?:about|on)"
    r"|access to (?:the|that|your|real)|personal (?:experiences?|opinions?) (?:as|or (?:feelings|opinions)))\b"
    r"|\bthere is (?:not enough|no|insufficient) information (?:about|on|to|available|provided|given|here|in the)\b"
    rf"|\b(?:the|this) {_TALK} (?:does not|doesn[’']t|did not|didn[’']t|never) "
    r"(?:say|mention|cover|address|discuss|specify|explain|provide|contain|answer|state|go into)"
    rf"|\bnot (?:mentioned|covered|discussed|addressed|specified|stated|answered) (?:in|by) (?:the|this) {_TALK}\b"
    rf"|\b(?:no|not enough|insufficient) information (?:\w+ ){{0,3}}(?:in|from) (?:the|this) {_TALK}\b"
    r"|\A\W*(?:i[’']m |i am )?(?:so |very |really )?(?:sorry|i apologi[sz]e|unfortunately"
    r"|regrettably)\b[^.!?\n“\"]{0,60}\bi (?:cannot|can[’']t|can not|am (?:not|un)"
    r"|don[’']t|do not|won[’']t|have no)\b",
    ["an ai", "a ai", "artificial intelligence", "language model", "i cannot", "i can't", "i can’t", "i can not",
     "i do not have", "i don't have", "i don’t have", " information", "i am not able", "i am not in", "i am unable",
     "i'm unable", "i’m unable", "i'm not able", "i’m not able",
     "i won't be", "i won’t be", "not mentioned", "not covered", "not discussed", "not addressed", "not specified",
     "not stated", "not answered", "sorry", "apologi", "fortunately", "regrettably", *_SILENT],
)  # fmt: skip
_PLACEHOLDER = Guarded(
    r"\[(?:insert|your|add|todo|placeholder|name|answer|fill|(?i:hier|insérer|insertar|inserire|inserir"
    r"|вставьте|在此|ここに|أدخل)\w*)\b[^\]\n]*\](?!\()"
    r"|\{(?:question|answer|text|name)s?\}|<(?:answer|insert|your)[^>\n]*>|\b[Ll]orem ipsum\b"
    r"|\b(?:TODO|TBD|FIXME)(?= ?[:)\]]|\.?[\s*_]*\Z)|\A\W*(?:TODO|TBD|FIXME)\b|\A\W*(?:n/a|none|null|nan|error"
    r"|N/A|None|NULL|NaN|Error)\W*\Z"
    r"|\A\W*[Ee]rror:|\((?:to be continued|continued)\)|\[(?:\.\.\.|…)\]|\b[Aa]nswer goes here\b",
    ["[", "{", "<", "lorem ipsum", "todo", "tbd", "fixme", "n/a", "none", "null", "nan", "error", "continued)",
    "answer goes here"],
    re.NOFLAG,
)  # fmt: skip
_ELLIPSIS = re.compile(r"(?:\.\.\.|…)[\s*_`\"'”’)\]]*\Z")
# A full stop after one of these was put there by a model that was cut off; "or" is gold in French, "but" a goal.
_LAST_WORD = re.compile(
    r"(?<![\w'’-])(?:(?P<en>and|or|but|because|the)|(?P<de>und|oder|weil))\.?[\s*_]*\Z", re.IGNORECASE
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_TAIL_CHARACTERS = 80  # longer than a last word with its punctuation, so that only the end is read


class EndingsGate:
    """Keeps a pair when its answer is finished, and is an answer."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        phrases: list[str] = Field(default=[], description="more phrases of refusal, in words; case is ignored")

    VERSION = 3

    def __init__(self, options: Options) -> None:
        self.options = options
        self._more = listed(options.phrases)

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each answer is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """How the answer breaks off, or its refusal."""
        answer = pair.answer.rstrip()
        prose = _CODE.sub(" ", answer) if "`" in answer else answer
        low = folded(prose)
        refusal = _refusal(prose, low, pair.question) or (self._more.search(prose, low) if self._more else None)
        if refusal:
            return f"refuses to answer: {' '.join(refusal.group().split())!r}"
        if blank := _PLACEHOLDER.search(prose, low):
            return f"a placeholder: {blank.group()!r}"
        tail = max(0, len(answer) - _TAIL_CHARACTERS)
        if _ELLIPSIS.search(answer, tail):
            return "ends in an ellipsis"
        if not _stops(answer) or _dangles(answer, tail):
            return f"ends in mid-sentence: ...{' '.join(answer.split())[-24:]!r}"
        return None


def _refusal(prose: str, low: str, question: str) -> re.Match[str] | None:
    """A phrase of refusal, unless the question is about the thing it names or about saying so."""
    refusal = _REFUSAL.search(prose, low)
    if refusal is None and not in_english(low):
        refusal = REFUSAL.search(prose, low) or (None if prose.isascii() else REFUSAL_NOT_LATIN.search(prose, low))
    if refusal is None:
        return None
    asked, named = question.lower(), refusal.group().lower()
    about = (
        "sorry",
        "apolog",
        "text",
        "video",
        "lecture",
        "speaker",
        "passage",
        "vortrag",
        "source",
        "information",
        "assistant",
        "language model",
    )
    return None if any(word in named and word in asked for word in about) else refusal


def _dangles(answer: str, tail: int) -> bool:
    match = _LAST_WORD.search(answer, tail)
    return match is not None and language(answer) in (match.lastgroup, None)


def _stops(answer: str) -> bool:
    return answer.endswith((".", "!", "?")) or markdown.profile(answer).ends_with_punctuation
