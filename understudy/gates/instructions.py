"""Refuses pairs that contain instructions to a model, or pieces of the prompt."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.elsewhere import ORDER
from understudy.gates.guarded import Guarded, folded, in_english, listed
from understudy.records import Pair

# What may be the subject of a talk about language models, and is let pass where the question is about them.
_ABOUT_MODELS = re.compile(
    r"prompt|language model|chatbot|assistant|\bLLM|\bGPT|\bAI\b|jailbreak|injection|instruct|fine-?tun|\bKI\b|\bIA\b",
    re.IGNORECASE,
)
_SUBJECT = Guarded(
    r"\b(?:ignore|disregard|forget|override) (?:\w+ ){0,3}(?:previous|prior|above|earlier|preceding|system|foregoing) "
    r"(?:\w+ ){0,2}(?:instruction|prompt|rule|direction|message|order)s?\b|\b(?:system|developer) (?:prompt|message)\b"
    r"|\byou are (?:an? )?(?:\w+ |language model )?(?:assistant|language model|chatbot)\b"
    r"|\bignorier\w* (?:\w+ ){0,2}(?:vorherigen|bisherigen|obigen) (?:anweisung|regel)\w*|\b(?:as"
    r"|per) (?:instructed|your instructions|the instructions)\b",
    ["ignore", "disregard", "forget", "override", "system prompt", "system message", "developer prompt",
    "developer message", "assistant",
     "language model", "chatbot", "ignorier", "instruct"],
)  # fmt: skip
_ASKS = Guarded(
    r"\A\W*(?:answer|respond|reply|write) in (?:\w+ ){0,2}(?:paragraph|sentence|word"
    r"|bullet point)s?\b|"
    r"\b(?:answer|respond to|reply to) (?:the|this|each) (?:following "
    r"|numbered )?question(?:s)?\b(?=[^.\n]{0,60}(?:below|following|in (?:two|one|\w+) (?:paragraph|sentence)"
    r"|using|only|with))"
    r"|\banswer the following question|\b(?:write|give|phrase) (?:the|your|each|an|every) answers? (?:in|as"
    r"|with|using|to)\b|\bin the (?:voice|style|manner) of the (?:teacher|speaker|lecturer|instructor)\b"
    r"|\bin the (?:teacher|speaker)[’']s (?:voice|style)\b|\b(?:do not|don[’']t|never) (?:mention"
    r"|refer to) the (?:transcript|talk|video|speaker)\b|\b(?:use|using) only (?:the|this) (?:transcript|talk"
    r"|text|context|information)\b"
    r"|\bone answer per (?:number|question)\b",
    ["answer in", "respond in", "reply in", "write in", "question", "write the", "write your", "write each", "write an",
    "write every", "give the", "give your",
    "give each", "give an", "phrase the", "phrase your",
     "phrase each", "phrase an", "phrase every", "give every", "in the voice", "in the style", "in the manner",
     "'s voice", "’s voice", "'s style", "’s style", "mention the",
     "refer to the", "only the", "only this", "one answer per"],
)  # fmt: skip
# Where a line begins with a role, a number or a field: only a colon identifies these, so they are a separate pattern.
_LABEL = (
    r"^[#* ]{0,6}(?:instruction|response|system|assistant|user|human)s?\*{0,2} ?:\s|^\s*(?:tags|paragraphs):\s"
    r"|\A\W{0,3}(?:answer|antwort|a|q|question|frage)(?: ?\d{1,3})?\*{0,2} ?: ?"
)
_LABELLED = re.compile(_LABEL, re.IGNORECASE | re.MULTILINE)
_LEAK = Guarded(
    r"\bquestion_number\b|\bfirst_paragraph\b|\bEND OF TALK\b|={3} ?TALK\b|<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>"
    r"|</?think>|</s>|<(?:start|end)_of_turn>"
    rf"|{_LABEL}"
    r"|\bthe question asks\b"
    r"|\bhere (?:is|are) (?:the|your|my) (?:answer|response|json)s?\b|\bparagraphs? \[\d{1,4}\]"
    r"|(?<!\w)\[\d{1,4}(?:-\d{1,4})?\](?!\()",
    ["question_number", "first_paragraph",
     "end of talk", "===", "<|", "inst]", "<<", "think>", "</s>", "_of_turn>", "the question asks",
     "here is the", "here is your", "here is my", "here are the", "here are your", "here are my", "["],
    re.IGNORECASE | re.MULTILINE,
)  # fmt: skip
_ENVELOPE = re.compile(
    r"\A\s*(?:```(?:json)?\s*)?[\[{]\s*[\"{]|[\"']\s*:\s*[\"\[{][^\n]*[}\]]\s*\Z|\A\s*\"?(?:text|answer)\"\s*:"
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


class InstructionsGate:
    """Keeps a pair when it speaks to a reader, not to a model."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        phrases: list[str] = Field(default=[], description="more phrases that show a leak; case is ignored")

    VERSION = 2

    def __init__(self, options: Options) -> None:
        self.options = options
        self._more = listed(options.phrases, whole_words=False)

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """The words that are addressed to a model, and whether they are in question or answer."""
        for side, text in (("question", pair.question), ("answer", pair.answer)):
            if _may_be_json(text) and _ENVELOPE.search(text):
                return f"the {side} is wrapped in JSON"
            prose = _CODE.sub(" ", text) if "`" in text else text
            low = folded(prose)
            match = _leak(prose, low) or (self._more.search(prose, low) if self._more else None)
            if match is None and (order := _order(prose, low, side)):
                match = None if side == "answer" and _ABOUT_MODELS.search(pair.question) else order
            if match:
                return f"the {side} contains instructions or a piece of the prompt: {match.group().strip()!r}"
        return None


def _may_be_json(text: str) -> bool:
    inner = text.strip()
    return inner[:1] in set('`[{"ta') or inner[-1:] in set("}]")


def _leak(prose: str, low: str) -> re.Match[str] | None:
    if ":" in prose and _LABELLED.search(prose):
        return _LEAK.pattern.search(prose)
    return _LEAK.search(prose, low)


def _order(prose: str, low: str, side: str) -> re.Match[str] | None:
    """Words that are addressed to a model; a question may ask what a system prompt is."""
    match = _SUBJECT.search(prose, low)
    if side == "question":
        return match if match and not match.group().lower().startswith(("system", "developer")) else None
    return match or _ASKS.search(prose, low) or (None if in_english(low) else ORDER.search(prose))
