"""Refuses pairs that contain instructions to a model, or pieces of the prompt."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.gates.guarded import Guarded, listed
from understudy.records import Pair

# Where a line begins with a role, a number or a field: only a colon identifies these, so they are a separate pattern.
_LABEL = (
    r"^[#* ]{0,6}(?:instruction|response|system|assistant|user|human)s?\*{0,2} ?:\s|^\s*(?:tags|paragraphs):\s"
    r"|\A\W{0,3}(?:answer|antwort|a|q|question|frage)(?: ?\d{1,3})?\*{0,2} ?: ?"
)
_LABELLED = re.compile(_LABEL, re.IGNORECASE | re.MULTILINE)
_LEAK = Guarded(
    r"\b(?:ignore|disregard|forget|override) (?:\w+ ){0,3}(?:previous|prior|above|earlier|preceding|system"
    r"|foregoing) "
    r"(?:\w+ ){0,2}(?:instruction|prompt|rule|direction|message|order)s?\b"
    r"|\b(?:system|developer) (?:prompt|message)\b|\bquestion_number\b|\bfirst_paragraph\b"
    r"|\byou are (?:an? )?(?:helpful |large |ai )*(?:assistant|language model|chatbot)\b"
    r"|\bignorier\w* (?:\w+ ){0,2}(?:vorherigen|bisherigen|obigen) (?:anweisung|regel)\w*"
    r"|\bEND OF TALK\b|={3} ?TALK\b|<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>|</?think>|</s>|<(?:start|end)_of_turn>"
    rf"|{_LABEL}"
    r"|\b(?:as|per) (?:instructed|your instructions|the instructions)\b|\bthe question asks\b"
    r"|\bhere (?:is|are) (?:the|your|my) (?:answer|response|json)s?\b|\bparagraphs? \[\d{1,4}\]"
    r"|(?<!\w)\[\d{1,4}(?:-\d{1,4})?\](?!\()",
    ["ignore", "disregard", "forget", "override", "system prompt", "system message", "developer prompt",
     "developer message", "question_number", "first_paragraph", "assistant", "language model", "chatbot", "ignorier",
     "end of talk", "===", "<|", "inst]", "<<", "think>", "</s>", "_of_turn>", "instruct", "the question asks",
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

    VERSION = 1

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
            match = _leak(prose) or (self._more.search(prose) if self._more else None)
            if match:
                return f"the {side} contains instructions or a piece of the prompt: {match.group().strip()!r}"
        return None


def _may_be_json(text: str) -> bool:
    inner = text.strip()
    return inner[:1] in set('`[{"ta') or inner[-1:] in set("}]")


def _leak(prose: str) -> re.Match[str] | None:
    if ":" in prose and _LABELLED.search(prose):
        return _LEAK.pattern.search(prose)
    return _LEAK.search(prose)
