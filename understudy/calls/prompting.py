"""
What a teacher is asked: the files in recipes/teach/prompts, or a preset's own, filled with a talk and an instruction.

A request is [system, user], and the user's message is the talk block, then the instruction: what both
passes and every repair share comes first, because a provider's cache matches from the front. The
reply's schema is one for both passes for the same reason: it is part of that front. A verifier reads
the same front, but replies by a schema of its own.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from understudy.errors import ConfigError
from understudy.interfaces import TeacherRequest
from understudy.records import Document, Paragraph, Question

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
FOLDER = RECIPES / "teach" / "prompts"
FROZEN = {
    "questions": "e383bfd734dabb1d40cfa7b01e4849833e66083b8b399c4086a7f3b70c48feaf",
    "answers": "bab6275f74c81e18505a061ff0da18dcbf79b48dd01adf9f6989c6f7e138eca4",
    "augment": "428df4c05619eeae0a7e5cc7b6c5ee66f280a579c159259d3bd1c98f4f9bff7c",
    "verify": "707ec58260c50bb271fb203e2e8124d4140f37a1de74beaac45d74f7ff008ae1",
    "judge": "c88a7e0f3e3fb6fa766044887bba0a0ac7fb7d406ab15f229fda2c752af36a0e",
}
"""What stands for the built-in prompt of each pass in fingerprints: the digest of its first wording. A better wording
makes nothing stale that was paid for; `understudy retry --prompt` asks again by it."""

_LANGUAGE = (
    "THE LANGUAGE\n\nWrite every question and every answer in {}, whatever the language of the talk. Where it says "
    "to write in the language of the talk, this one is meant."
)


_PROSE = (
    "THE FORM\n\nIn place of markdown, every answer is plain prose: finished sentences in paragraphs, without "
    "headings, lists, tables and bold. Where it says to set something in bold or to use a list, do neither."
)


@dataclass(frozen=True)
class Prompts:
    """The texts that a teacher is asked with: a preset's own by name, the files of `folder` for the others."""

    own: Mapping[str, str] = field(default_factory=dict)
    persona: str = ""
    """Who the teacher is, in a preset's words: the end of the system text."""
    language: str = ""
    """What questions and answers are written in; empty: the language of the talk."""
    folder: Path = FOLDER
    prose: bool = False
    """Whether prose is asked for, where the built-in texts ask for markdown."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """What a recipe puts into its texts: '{name}' > text."""

    def text(self, name: str) -> str:
        """The prompt `name`, without outer white space. Raises OSError, UnicodeDecodeError."""
        # utf-8-sig: some editors put a byte order mark in front, which is no part of the prompt.
        text = self.own.get(name) or self._file(name).read_text(encoding="utf-8-sig")
        for key, value in self.fixed.items():
            text = text.replace(f"{{{key}}}", value)
        return text.strip() + (self._addition() if name == "system" else "")

    def _file(self, name: str) -> Path:
        """The recipe's own file, or the one of the first recipe, which every kind of call has."""
        file = self.folder / f"{name}.md"
        return file if file.exists() or self.folder.parent.parent != RECIPES else FOLDER / f"{name}.md"

    def _addition(self) -> str:
        """What a preset adds to the system text."""
        persona = f"\n\nTHE TEACHER\n\n{self.persona.strip()}" if self.persona.strip() else ""
        language = f"\n\n{_LANGUAGE.format(self.language)}" if self.language else ""
        return persona + language + (f"\n\n{_PROSE}" if self.prose else "")

    def place(self, name: str) -> str:
        """Where a person finds the prompt `name`."""
        return f"prompts.{name}" if self.own.get(name) else str(self._file(name))

    @property
    def names(self) -> list[str]:
        """The prompts that there are."""
        return [name for name in _PLACEHOLDERS if name not in _SPECIAL or (self.folder / f"{name}.md").exists()]


BUILT_IN = Prompts()


def object_schema(**properties: dict[str, Any]) -> dict[str, Any]:
    """A JSON object by OpenAI's strict rules: every field required, no other fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def items_schema(**properties: dict[str, Any]) -> dict[str, Any]:
    """A reply of numbered entries, each with these fields."""
    return object_schema(items={"type": "array", "items": object_schema(**properties)})


INTEGER, STRING, BOOLEAN = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}
# The number stands before the text, so that an entry that was cut has no text yet. No maxLength: large ones kill
# llama.cpp.
SCHEMA = items_schema(question_number=INTEGER, text=STRING)
# The verifier names the pair by its question too, because a number slips. Its quote comes before what it decides, so
# that the verdict follows from it.
VERDICT_SCHEMA = items_schema(
    question_number=INTEGER,
    question=STRING,
    evidence_quote=STRING,
    grounded=BOOLEAN,
    no_hallucination=BOOLEAN,
    complete=BOOLEAN,
    standalone=BOOLEAN,
    reason=STRING,
)

_PLACEHOLDERS = {
    "system": frozenset[str](),
    "talk": frozenset({"nonce", "title", "language", "paragraphs"}),
    "questions": frozenset({"count"}),
    "further": frozenset({"asked"}),
    "answers": frozenset({"questions"}),
    "augment": frozenset({"nonce", "titles", "pairs", "tasks"}),
    "verify": frozenset({"pairs", "nonce"}),
    "judge": frozenset(),
    "grade": frozenset(),
    "compose": frozenset({"tasks"}),
    "unanswered": frozenset({"items", "nonce"}),
    "contradictions": frozenset({"items", "nonce"}),
}
_SPECIAL = ("compose", "unanswered", "grade", "contradictions")
"""Of some recipes only."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_CJK = re.compile(r"[\u1100-\u11ff\u3000-\u30ff\u3130-\u318f\u31f0-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+")


class Prompt(NamedTuple):
    """What is sent, and the question numbers its reply must have (none in pass 1)."""

    messages: tuple[dict[str, str], ...]
    numbers: tuple[int, ...]


def compose(request: TeacherRequest, prompts: Prompts = BUILT_IN) -> Prompt:
    """The messages of one request. Raises ConfigError when a prompt file cannot be used."""
    values = {"count": str(request.count), "questions": _listed(request.questions)}
    numbers = tuple(q.question_number for q in request.questions) if request.kind == "answers" else ()
    system, user = messages(request.kind, request.document, values, prompts)
    if request.kind == "questions" and request.others:
        asked = "\n".join(f"- {' '.join(question.split())}" for question in request.others)
        further = _filled(_texts(("further",), prompts)["further"], {"asked": asked})
        user = user | {"content": f"{user['content']}\n\n{further}"}
    return Prompt((system, user), numbers)


def messages(
    kind: str, document: Document, values: Mapping[str, str], prompts: Prompts = BUILT_IN
) -> tuple[dict[str, str], ...]:
    """System and user message: the talk, then the instruction of `kind`, filled with `values`. Raises ConfigError."""
    texts = _texts(("system", "talk", kind), prompts)
    user = f"{_filled(texts['talk'], _talk_values(document))}\n\n{_filled(texts[kind], values)}"
    return {"role": "system", "content": texts["system"]}, {"role": "user", "content": user}


def alone(kind: str, values: Mapping[str, str], prompts: Prompts = BUILT_IN) -> tuple[dict[str, str], ...]:
    """One message with the instruction of `kind`, for what no talk is shown with. Raises ConfigError."""
    text = _texts((kind,), prompts)[kind]
    return ({"role": "user", "content": _filled(text, values)},)


def sha256(kind: str, prompts: Prompts = BUILT_IN) -> str:
    """Digest of all that the prompt of one pass is made of; the other pass's instruction is no part of it."""
    parts = [_texts(("system", "talk", kind), prompts), VERDICT_SCHEMA if kind == "verify" else SCHEMA]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def identity(kind: str, prompts: Prompts = BUILT_IN) -> str:
    """What stands for the prompt of a pass in fingerprints: a digest of a preset's own texts, else `FROZEN`."""
    names = {kind} if kind in ("judge", "grade") else {"system", "talk", kind}
    own = {name: text for name, text in prompts.own.items() if name in names and text}
    added: list[object] = [prompts.persona.strip(), prompts.language] if "system" in names else ["", ""]
    added += ["prose"] if prompts.prose and "system" in names else []
    first = FROZEN[kind] if prompts.folder == FOLDER else f"{prompts.folder.parent.name}/{kind}"
    added += [dict(prompts.fixed)] if prompts.fixed else []
    if not own and not any(added):
        return first
    parts = [first, own, *added]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def json_line(fields: Mapping[str, Any]) -> str:
    """`fields` as JSON on one line: no text in them can forge a fence or the begin of another line."""
    # A few characters besides \n end a line for some readers; JSON leaves them as they are.
    return re.sub(r"[\x85\u2028\u2029]", " ", json.dumps(fields, ensure_ascii=False))


def problems(prompts: Prompts = BUILT_IN) -> list[str]:
    """What is wrong with the prompt files, one sentence each; [] when every file can be used."""
    return [problem for name in prompts.names for problem in _problems_of(name, prompts)]


def estimated_tokens(text: str) -> int:
    """About how many tokens `text` has: a quarter of its bytes, 1.4 times that for Chinese, Japanese and Korean.

    Made for prices and budgets before a call; the usage in the first replies corrects it.
    """
    dense = 0 if text.isascii() else sum(len(run.encode()) for run in _CJK.findall(text))
    total = len(text.encode(errors="replace"))
    return math.ceil((total + 0.4 * dense) / 4)


def _texts(names: Sequence[str], prompts: Prompts) -> dict[str, str]:
    if wrong := [problem for name in names for problem in _problems_of(name, prompts)]:
        raise ConfigError(wrong)
    return {name: prompts.text(name) for name in names}


def _problems_of(name: str, prompts: Prompts) -> list[str]:
    file = prompts.place(name)
    try:
        text = prompts.text(name)
    except OSError as error:
        return [f"the prompt file {file} cannot be read ({error.strerror}): put it back"]
    except UnicodeDecodeError:
        return [f"the prompt file {file} is not UTF-8 text: save it as UTF-8"]
    if not text:
        return [f"the prompt file {file} is empty: it must say what the teacher is asked"]
    needed, present = _PLACEHOLDERS[name], set(_PLACEHOLDER.findall(text))
    missing = [f"{file} must contain {{{key}}}, which is filled in for each talk" for key in sorted(needed - present)]
    allowed = ", ".join(f"{{{key}}}" for key in sorted(needed)) or "none"
    unknown = [f"{file} contains {{{key}}}, but only {allowed} can be filled in" for key in sorted(present - needed)]
    return missing + unknown


def _filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with its placeholders filled in one pass, so that braces in a talk stay what they are."""
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], text)


def _talk_values(document: Document) -> dict[str, str]:
    # One line each: what begins a line is ours, so a talk can forge neither a number nor a fence.
    title = " ".join(document.title.split())
    lines = [
        f"[{i}] {_who(document, paragraph)}{' '.join(paragraph.text.split())}"
        for i, paragraph in enumerate(document.paragraphs)
    ]
    paragraphs = "\n\n".join([*_context(document, "before"), *lines, *_context(document, "after")])
    return {
        "title": title,
        "language": " ".join((document.language or "").split()) or "the one it is written in",
        "paragraphs": paragraphs,
        # The same for the same talk, and unknown to the author of a talk: it digests the whole of it.
        "nonce": hashlib.sha256(f"{title}\n{paragraphs}".encode(errors="replace")).hexdigest()[:16],
    }


def _context(document: Document, which: Literal["before", "after"]) -> list[str]:
    """The headings over a section, or the text next to it, each marked as what it is."""
    place = document.section
    if place is None:
        return []
    above = ["(headings:) " + " > ".join(" ".join(one.split()) for one in place.heading)] if place.heading else []
    text = " ".join(getattr(place, which).split())
    return [*(above if which == "before" else []), *([f"({which}:) {text}"] if text else [])]


def _who(document: Document, paragraph: Paragraph) -> str:
    """Who says a paragraph, where that is not the teacher, or where the teacher is not known."""
    if document.speaker:
        return "" if paragraph.speaker == document.speaker else "(another person, who does not teach:) "
    return f"{' '.join(paragraph.speaker.split())}: " if paragraph.speaker and document.several_speakers else ""


def _listed(questions: Sequence[Question]) -> str:
    return "\n".join(f"{q.question_number}. {' '.join(q.question.split())}" for q in questions)
