"""Refuses answers that break off, are refusals, or contain a placeholder."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.closing import settled
from understudy.gates.guarded import Guarded, listed
from understudy.records import Pair
from understudy.text import markdown

_TALK = r"(?:talk|transcript|text|video|passage|lecture|speaker|provided (?:text|context|information)|source)"
_CANNOT = r"(?:cannot|can[’']t|can not|am (?:not able|unable) to|won[’']t be able to)"
_REFUSAL = Guarded(
    rf"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b|\bi(?:[’']m| am) (?:an ai"
    rf"|a language model)\b"
    rf"|\bi {_CANNOT} (?:answer|assist|help (?:you )?with|comply|fulfil\w*|provide (?:an answer|medical|legal"
    rf"|that|this))\b"
    rf"|\b(?:the|this) {_TALK} (?:does not|doesn[’']t|did not|didn[’']t|never) "
    r"(?:say|mention|cover|address|discuss|specify|explain|provide|contain|answer|state|go into)"
    rf"|\bnot (?:mentioned|covered|discussed|addressed|specified|stated|answered) (?:in|by) (?:the|this) {_TALK}\b"
    rf"|\b(?:no|not enough|insufficient) information (?:\w+ ){{0,3}}(?:in|from) (?:the|this) {_TALK}\b"
    r"|\A\W*(?:i[’']m |i am )?(?:sorry|i apologi[sz]e)\b"
    r"|\bals (?:ki|k[üu]nstliche intelligenz|sprachmodell)\b|\bich kann (?:diese|die) frage nicht beantworten\b"
    r"|\b(?:der|dieser|im) (?:vortrag|text|transkript) (?:sagt|erwähnt|nennt|enthält|behandelt) (?:das |dazu "
    r"|dies )?(?:nichts|nicht|kein)",
    ["an ai", "a ai", "artificial intelligence", "language model", "i cannot", "i can't", "i can’t", "i can not",
     "i am not able", "i am unable", "i won't be", "i won’t be", "talk ", "transcript ", "text ", "video ", "passage ",
     "lecture ", "speaker ", "context ", "information ", "source ", "not mentioned", "not covered", "not discussed",
     "not addressed", "not specified", "not stated", "not answered", "sorry", "apologi", "als k", "als sprachmodell",
     "nicht beantworten", "vortrag ", "transkript "],
)  # fmt: skip
_PLACEHOLDER = Guarded(
    r"\[(?:insert|your|add|todo|placeholder|name|answer|fill)\b[^\]\n]*\](?!\()|\{(?:question|answer|text|name)s?\}"
    r"|<(?:answer|insert|your)[^>\n]*>|\blorem ipsum\b|\b(?:TODO|TBD|FIXME)\b|\A\W*(?:n/a|none|null|nan|error)\W*\Z"
    r"|\A\W*error:|\(to be continued\)|\[(?:\.\.\.|…)\]|\banswer goes here\b",
    ["[", "{", "<", "lorem ipsum", "todo", "tbd", "fixme", "n/a", "none", "null", "nan", "error", "(to be continued)",
     "answer goes here"],
    re.NOFLAG,
)  # fmt: skip
_ELLIPSIS = re.compile(r"(?:\.\.\.|…)[\s*_`\"'”’)\]]*\Z")
_DANGLING = re.compile(r"\b(?:and|or|but|because|the|und|oder|weil)\.?[\s*_]*\Z", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_TAIL_CHARACTERS = 80  # longer than a last word with its punctuation, so that only the end is read


class EndingsGate:
    """Keeps a pair when its answer is finished, and is an answer."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        phrases: list[str] = Field(default=[], description="more phrases of refusal, in words; case is ignored")

    VERSION = 2

    def __init__(self, options: Options) -> None:
        self.options = options
        self._more = listed(options.phrases)

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each answer is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """How the answer breaks off, or its refusal."""
        answer = pair.answer.rstrip()
        prose = _CODE.sub(" ", answer) if "`" in answer else answer
        refusal = _REFUSAL.search(prose) or (self._more.search(prose) if self._more else None)
        if refusal:
            return f"refuses to answer: {' '.join(refusal.group().split())!r}"
        if blank := _PLACEHOLDER.search(prose):
            return f"a placeholder: {blank.group()!r}"
        tail = max(0, len(answer) - _TAIL_CHARACTERS)
        if _ELLIPSIS.search(answer, tail):
            return "ends in an ellipsis"
        if _DANGLING.search(answer, tail) or not _stops(answer):
            return f"ends in mid-sentence: ...{' '.join(answer.split())[-24:]!r}"
        return None


def _stops(answer: str) -> bool:
    return answer.endswith((".", "!", "?")) or markdown.profile(settled(answer)).ends_with_punctuation
