"""
The chat template round trip: the same conversation gives the same tokens wherever the model runs.

Compared are the training code's tokens, those of the GGUF file's own template and vocabulary, and
those of Ollama's TEMPLATE, as `template_families` renders it.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import ExportError
from understudy.exporters.template_families import DATE, FAMILIES, Family, Messages, family
from understudy.interfaces import Progress
from understudy.records import Record, TemplateCheck
from understudy.text.thinking import TEMPLATE_ARGUMENTS
from understudy.text.tokenizer import load
from understudy.worker import call, serve

if TYPE_CHECKING:
    from understudy.serving.gguf import Gguf

__all__ = ["CONVERSATIONS", "FAMILIES", "family", "marks_in", "round_trip", "set_defaults", "with_defaults"]

Encoder = Callable[[Messages, bool], list[int] | None]
"""(messages, whether to add the generation prompt) > tokens, None where the template refuses, as some do a system."""

THINKING_OFF = {
    name: f"{{% if {name} is not defined %}}{{% set {name} = {json.dumps(value)} %}}{{% endif %}}"
    for name, value in TEMPLATE_ARGUMENTS.items()
}
DATE_PINNED = f'{{% if date_string is not defined %}}{{% set date_string = "{DATE}" %}}{{% endif %}}'
MARKS = re.compile(
    r"</?think\w*>|<\|[^|<>\n]*\|>|</?(?:start|end)_of_turn>|\[/?INST\]"
    r"|^\s*(?:user|assistant|system|model)\s*:?\s*$",
    re.MULTILINE | re.IGNORECASE,
)
TURN_STARTS = re.compile(r"think|start|header|role|INST|user|assistant|system|model", re.IGNORECASE)
"""What the marks of a turn's beginning have in their name, and those of its end have not."""


def _conversation(system: str, *turns: str) -> Messages:
    roles = ("system", *("user", "assistant") * len(turns))
    return [{"role": role, "content": text} for role, text in zip(roles, (system, *turns), strict=False) if text]


CONVERSATIONS: dict[str, Messages] = {
    "one turn": _conversation(
        "", "Why does a candle burn?", "**Wax** is the fuel.\n\n- It melts.\n- The wick draws it up."
    ),
    "two turns": _conversation("", "What is soot?", "Carbon.", "And where does it go?", "Up with warm air, 1,234 mm."),
    "a system message": _conversation("You answer like a patient teacher.", "Is the flame hollow?", "It is."),
    "unicode": _conversation("", "Qu’est-ce que l’été ? 你好 🙂", "«Été» — ½ de l’année…"),
    "an answer of one sign": _conversation("", "Go on?", ".", "Sure?", "."),
}


class Job(Record):
    """The folder that was trained and the file that was made of it."""

    fused: Path
    gguf: Path


def with_defaults(template: str) -> str:
    """The same template, with thinking off and a fixed date unless the caller says otherwise."""
    wanted = THINKING_OFF | {"date_string": DATE_PINNED}
    added = [line for name, line in wanted.items() if name in template and line not in template]
    return "".join(added) + template


def set_defaults(model: Path) -> bool:
    """Give the chat template of a Hugging Face folder its defaults, in place; True when that changed it."""
    file = model / "chat_template.jinja"
    before = file.read_bytes().decode() if file.exists() else ""
    after = with_defaults(before)
    if not before:
        file = model / "tokenizer_config.json"
        before = after = file.read_bytes().decode()
        raw = json.loads(before)
        match raw.get("chat_template"):
            case str(template):
                raw["chat_template"] = with_defaults(template)
            case list(named):
                raw["chat_template"] = [one | {"template": with_defaults(one["template"])} for one in named]
        if raw != json.loads(before):
            after = json.dumps(raw, indent=2, ensure_ascii=False)
    if after != before:
        file.write_bytes(after.encode())
    return after != before


def round_trip(fused: Path, gguf: Path, progress: Progress) -> TemplateCheck:
    """How both render five conversations, in a process of its own. Raises ExportError, WorkerFailed."""
    return call(__name__, Job(fused=fused, gguf=gguf), TemplateCheck, progress)


def run(job: Job, progress: Progress) -> TemplateCheck:
    """The worker's half of `round_trip`."""
    return compare(job.fused, job.gguf)


def compare(fused: Path, gguf: Path) -> TemplateCheck:
    """How both render five conversations, in this process: a damaged file can end it. Raises ExportError."""
    from understudy.serving.gguf import Gguf, Unusable

    try:
        trained, model = _training(fused), Gguf(gguf)
        embedded = _embedded(model)
        sentences = [*_differences(trained, embedded, model), *_left_over(embedded, model)]
        equal = (f.name for f in FAMILIES if not any(_differences(trained, _ollama(f, model), model, whole=False)))
        name = gguf.name.removeprefix(".").removesuffix(".tmp")  # a file is checked before it has its own name
        return TemplateCheck(
            family=next(equal, None), stops=_ends(model), differences=[f"{name}: {one}" for one in sentences]
        )
    except (Unusable, ValueError, OSError) as error:
        raise ExportError(f"{gguf}: its chat template cannot be compared: {error}") from None


def marks_in(answer: str) -> set[str]:
    """Marks of a template or of thinking that a reader of `answer` would see."""
    return {mark.strip() for mark in MARKS.findall(answer)}


def _training(fused: Path) -> Encoder:
    """The tokens the model was trained on."""
    tokenizer = load(fused)
    apply, options = tokenizer.apply_chat_template, {"tokenize": False, **TEMPLATE_ARGUMENTS}
    return _encoder(
        lambda messages, prompt: str(apply(messages, add_generation_prompt=prompt, **options)),
        lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
    )


def _embedded(model: "Gguf") -> Encoder:
    """The tokens by the file's template and vocabulary, thinking not mentioned, as other programs do."""
    return _encoder(lambda messages, prompt: model.render(messages, prompt, {}), model.tokens)


def _ollama(marks: Family, model: "Gguf") -> Encoder:
    """The tokens of Ollama's prompts; it puts a start token before them where the file asks for one."""
    return lambda messages, _: model.tokens(marks.render(messages), add_bos=True)


def _encoder(render: Callable[[Messages, bool], str], encode: Callable[[str], list[int]]) -> Encoder:
    from jinja2 import TemplateError

    def tokens(messages: Messages, prompt: bool) -> list[int] | None:
        try:
            return encode(render(messages, prompt))
        except (TemplateError, ValueError):  # the binding's raise_exception raises ValueError
            return None

    return tokens


def _differences(trained: Encoder, other: Encoder, model: "Gguf", whole: bool = True) -> Iterator[str]:
    """A sentence for each conversation whose tokens differ, as a prompt and, where wanted, as a whole."""
    for title, messages in CONVERSATIONS.items():
        parts = {"prompt": (messages[:-1], True), "whole": (messages, False)}
        for part in parts if whole else ["prompt"]:
            expected, actual = trained(*parts[part]), other(*parts[part])
            if expected is None or actual is None:
                if expected != actual and whole:
                    refusing = "the training code" if expected is None else "the file"
                    yield f"conversation {title!r}: refused by the template of {refusing} only; export it again"
            elif expected != actual:
                yield f"conversation {title!r} ({part}): {_first_difference(expected, actual, model)}"


def _left_over(encoder: Encoder, model: "Gguf") -> Iterator[str]:
    """A sentence for each prompt that leaves thinking open, and each whole that begins another turn at its end."""
    for title, messages in CONVERSATIONS.items():
        prompt, whole = (
            _text(model, encoder(*arguments) or []) for arguments in ((messages[:-1], True), (messages, False))
        )
        if prompt.count("<think>") > prompt.count("</think>"):
            yield f"conversation {title!r} (prompt): leaves <think> open, and training had it closed; switch it off"
        after = marks_in(whole.rpartition(messages[-1]["content"])[2])
        if starts := sorted(mark for mark in after if TURN_STARTS.search(mark)):
            yield f"conversation {title!r} (whole): {starts[0]!r} after the last answer; correct the chat template"


def _first_difference(expected: list[int], actual: list[int], model: "Gguf") -> str:
    shorter = min(len(expected), len(actual))
    place = next((i for i in range(shorter) if expected[i] != actual[i]), shorter)
    one, other = (
        f"{_text(model, [tokens[place]])!r} ({tokens[place]})" if place < len(tokens) else "no more"
        for tokens in (expected, actual)
    )
    return f"token {place} was {one} in training and is {other} here; export the template again"


def _ends(model: "Gguf") -> list[str]:
    """The texts of all tokens the file marks as an end."""
    ends = filter(model.is_end, range(model.llama.n_vocab()))
    return [_text(model, [token]) for token in ends]


def _text(model: "Gguf", tokens: list[int]) -> str:
    return b"".join(map(model.piece, tokens)).decode(errors="replace")


if __name__ == "__main__":
    serve(Job, run)
