"""
The chat template round trip: the same conversation gives the same tokens wherever the model runs.

Compared are the training code's tokens, those of the GGUF file's own template and vocabulary, and
those of Ollama's TEMPLATE, as `template_families` renders it.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy import worker
from understudy.errors import ExportError
from understudy.exporters.template_families import DATE, FAMILIES, Family, Messages, family
from understudy.interfaces import Progress
from understudy.text.thinking import TEMPLATE_ARGUMENTS

if TYPE_CHECKING:
    from understudy.calls.local_worker import LocalModel

__all__ = ["CONVERSATIONS", "FAMILIES", "RoundTrip", "family", "marks_in", "round_trip", "settle", "settled"]

Side = Callable[[Messages, bool], list[int] | None]
"""(messages, whether to add the generation prompt) > tokens, None where the template refuses, as some do a system."""

THINKING_OFF = {
    name: f"{{% if {name} is not defined %}}{{% set {name} = {json.dumps(value)} %}}{{% endif %}}"
    for name, value in TEMPLATE_ARGUMENTS.items()
}
DATE_PINNED = f'{{% if date_string is not defined %}}{{% set date_string = "{DATE}" %}}{{% endif %}}'
DRIFT = re.compile(
    r"</?think\w*>|<\|[^|<>\n]*\|>|</?(?:start|end)_of_turn>|\[/?INST\]"
    r"|^\s*(?:user|assistant|system|model)\s*:?\s*$",
    re.MULTILINE | re.IGNORECASE,
)
BEGINS = re.compile(r"think|start|header|role|INST|user|assistant|system|model", re.IGNORECASE)
"""What the marks of a turn's beginning have in their name, and those of its end have not."""


def _said(system: str, *turns: str) -> Messages:
    roles = ("system", *("user", "assistant") * len(turns))
    return [{"role": role, "content": text} for role, text in zip(roles, (system, *turns), strict=False) if text]


CONVERSATIONS: dict[str, Messages] = {
    "one turn": _said("", "Why does a candle burn?", "**Wax** is the fuel.\n\n- It melts.\n- The wick draws it up."),
    "two turns": _said("", "What is soot?", "Carbon.", "And where does it go?", "Up with the warm air, 1,234 mm."),
    "a system message": _said("You answer like a patient teacher.", "Is the flame hollow?", "It is."),
    "unicode": _said("", "Qu’est-ce que l’été ? 你好 🙂", "«Été» — ½ de l’année…"),
    "an answer of one sign": _said("", "Go on?", ".", "Sure?", "."),
}


def settled(template: str) -> str:
    """The same template, with thinking off and the date standing still unless the caller says otherwise."""
    wanted = THINKING_OFF | {"date_string": DATE_PINNED}
    added = [line for name, line in wanted.items() if name in template and line not in template]
    return "".join(added) + template


def settle(model: Path) -> bool:
    """Settle the chat template of a Hugging Face folder in place; True when that changed it."""
    file = model / "chat_template.jinja"
    before = file.read_bytes() if file.exists() else b""
    after = settled(before.decode()).encode()
    if not before:
        file = model / "tokenizer_config.json"
        before, raw = file.read_bytes(), json.loads(file.read_bytes())
        listed = raw.get("chat_template") or []
        named = [one | {"template": settled(one["template"])} for one in listed if isinstance(one, dict)]
        told = raw | {"chat_template": settled(listed) if isinstance(listed, str) else named}
        after = before if told == raw or not listed else json.dumps(told, indent=2, ensure_ascii=False).encode()
    if changed := after != before:
        file.write_bytes(after)
    return changed


@dataclass(frozen=True)
class RoundTrip:
    """What the comparison found; each list holds sentences, and empty is good."""

    family: str | None
    """Its `go()` may be TEMPLATE of a Modelfile; None: write none, and need Ollama 0.30 or newer."""
    stops: list[str]
    """The text of every end token in the file: what a Modelfile lists as stop."""
    differences: list[str]
    endless: list[str]
    """Questions whose answer had to be cut off."""
    stray: list[str]
    """Answers that hold marks of the template or of thinking."""

    @property
    def problems(self) -> list[str]:
        """Why the file must not be published, one sentence each."""
        return [*self.differences, *self.endless, *self.stray]


def round_trip(
    fused: Path, gguf: Path, questions: Sequence[Messages], max_tokens: int, log: Path, progress: Progress
) -> RoundTrip:
    """Compare the renderings, then let the file answer `questions` greedily. Raises ExportError, WorkerFailed.

    Each question is a conversation up to the user's turn. It works in a process of its own.
    """
    job = {"fused": str(fused), "gguf": str(gguf), "questions": list(questions), "max_tokens": max_tokens}
    result = worker.call(__name__, job, log, progress)
    if "error" in result:
        raise ExportError(result["error"])
    return RoundTrip(**result)


def run(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The worker's half of `round_trip`: the fields of a RoundTrip, or {error}."""
    from understudy.calls.local_worker import LocalModel, Unusable

    gguf, questions, limit = Path(job["gguf"]), job["questions"], job["max_tokens"]
    try:
        trained, model = _training(Path(job["fused"])), LocalModel(job["gguf"], False, None, None, 0)
        embedded = _embedded(model)
        told = [*_differences(trained, embedded, model), *_left_over(embedded, model)]
        name = gguf.name.removeprefix(".").removesuffix(".tmp")  # a file is checked before it has its own name
        differences = [f"{name}: {sentence}" for sentence in told]
        equal = (f.name for f in FAMILIES if not any(_differences(trained, _by_family(f, model), model, whole=False)))
        found = RoundTrip(next(equal, None), _ends(model), differences, [], [])
        window = max([len(model.prompt(asked)) for asked in questions], default=0) + limit
        if questions:
            model = LocalModel(job["gguf"], True, window, None, 0)
        for number, asked in enumerate(questions):
            progress(number, len(questions), "answering")
            said, stopped = _answer(model, asked, limit)
            about = f"to {asked[-1]['content']!r}"
            if not stopped:
                told = f"its answer {about} did not stop within {limit} tokens; are its end tokens those of training?"
                found.endless.append(f"{gguf.name}: {told}")
            found.stray.extend(f"{gguf.name}: wrote {mark!r} in its answer {about}" for mark in sorted(marks_in(said)))
    except (Unusable, ValueError, OSError) as error:
        return {"error": f"{gguf}: its chat template cannot be compared: {error}"}
    return asdict(found)


def marks_in(answer: str) -> set[str]:
    """Marks of a template or of thinking that a reader of `answer` would see."""
    return {found.strip() for found in DRIFT.findall(answer)}


def _training(fused: Path) -> Side:
    """The tokens the model was trained on."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(fused)
    apply, given = tokenizer.apply_chat_template, {"tokenize": False, **TEMPLATE_ARGUMENTS}
    return _side(
        lambda messages, prompt: str(apply(messages, add_generation_prompt=prompt, **given)),
        lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
    )


def _embedded(model: "LocalModel") -> Side:
    """The tokens by the template and the vocabulary in the file, told nothing about thinking, as programs do."""
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    template = model.llama.metadata.get("tokenizer.chat_template")
    if template is None:
        raise ValueError("it holds none, so programs would prompt it unlike it was trained; convert it again")
    eos, bos = (model.piece(t).decode(errors="replace") for t in (model.llama.token_eos(), model.llama.token_bos()))
    forms = {prompt: Jinja2ChatFormatter(template, eos, bos, add_generation_prompt=prompt) for prompt in (True, False)}
    return _side(lambda messages, prompt: forms[prompt](messages=messages).prompt, model.tokens)  # type: ignore[arg-type]


def _by_family(marks: Family, model: "LocalModel") -> Side:
    """The tokens of Ollama's prompts; it puts a start token before them where the file asks for one."""
    return lambda messages, _: model.llama.tokenize(marks.render(messages).encode(), add_bos=True, special=True)


def _side(render: Callable[[Messages, bool], str], encode: Callable[[str], list[int]]) -> Side:
    from jinja2 import TemplateError

    def tokens(messages: Messages, prompt: bool) -> list[int] | None:
        try:
            return encode(render(messages, prompt))
        except (TemplateError, ValueError):  # the binding's raise_exception raises ValueError
            return None

    return tokens


def _differences(trained: Side, other: Side, model: "LocalModel", whole: bool = True) -> Iterator[str]:
    """A sentence for each conversation whose tokens differ, as a prompt and, where wanted, as a whole."""
    for title, messages in CONVERSATIONS.items():
        parts = {"prompt": (messages[:-1], True), "whole": (messages, False)}
        for part in parts if whole else ["prompt"]:
            here, there = trained(*parts[part]), other(*parts[part])
            if here is None or there is None:
                if here != there and whole:
                    who = "the training code" if here is None else "the file"
                    yield f"conversation {title!r}: refused by the template of {who} only; export the template again"
            elif here != there:
                yield f"conversation {title!r} ({part}): {_first_difference(here, there, model)}"


def _left_over(side: Side, model: "LocalModel") -> Iterator[str]:
    """A sentence for each prompt that leaves thinking open, and each whole that begins another turn at its end."""
    for title, messages in CONVERSATIONS.items():
        prompt, whole = (side(*of) or [] for of in ((messages[:-1], True), (messages, False)))
        asked, told = (b"".join(map(model.piece, tokens)).decode(errors="replace") for tokens in (prompt, whole))
        if asked.count("<think>") > asked.count("</think>"):
            yield f"conversation {title!r} (prompt): leaves <think> open, and training had it closed; switch it off"
        after = marks_in(told.rpartition(messages[-1]["content"])[2])
        if begun := sorted(mark for mark in after if BEGINS.search(mark)):
            yield f"conversation {title!r} (whole): {begun[0]!r} after the last answer; mend the chat template"


def _first_difference(trained: list[int], other: list[int], model: "LocalModel") -> str:
    shorter = min(len(trained), len(other))
    place = next((i for i in range(shorter) if trained[i] != other[i]), shorter)
    there, here = (
        f"{model.piece(side[place]).decode(errors='replace')!r} ({side[place]})" if place < len(side) else "no more"
        for side in (trained, other)
    )
    return f"token {place} was {there} in training and is {here} here; export the template again"


def _ends(model: "LocalModel") -> list[str]:
    """The texts of all tokens the file marks as an end."""
    import llama_cpp

    ends = (t for t in range(model.llama.n_vocab()) if llama_cpp.llama_vocab_is_eog(model.vocabulary, t))
    return [model.piece(token).decode(errors="replace") for token in ends]


def _answer(model: "LocalModel", asked: Messages, max_tokens: int) -> tuple[str, bool]:
    """What the model says, marks included, and whether it stopped by itself."""
    said, prompt = b"", model.prompt(asked)
    model.read(prompt, lambda _: None)
    for written, (token, ends) in enumerate(model.write(prompt, {"schema": None, "temperature": 0.0, "seed": 0})):
        if ends or written == max_tokens:
            return said.decode(errors="replace"), ends
        said += model.piece(token)
    return said.decode(errors="replace"), False


if __name__ == "__main__":
    worker.serve(run)
