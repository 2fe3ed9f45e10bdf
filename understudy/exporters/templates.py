"""
The chat template round trip: the same conversation gives the same tokens wherever the model runs.

Compared are the training code's tokens, those of the GGUF file's own template and vocabulary, and
those of Ollama's TEMPLATE. That one is in Go's language, which nothing here can run: it comes from a
table of families, where one row of marks makes both the Go text and a rendering in Python, and a
family is used only where its rendering proved equal.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from understudy import worker
from understudy.errors import ExportError
from understudy.interfaces import Report

if TYPE_CHECKING:
    from understudy.calls.local_worker import LocalModel

Messages = list[dict[str, str]]
Side = Callable[[Messages, bool], list[int] | None]
"""(messages, whether to add the generation prompt) > tokens, None where the template refuses, as some do a system."""

THINKING_OFF = "{% if enable_thinking is not defined %}{% set enable_thinking = false %}{% endif %}"
DATE = "26 Jul 2024"
"""What Llama's templates write where no clock is at hand; a clock would give another prompt every day."""
DATE_PINNED = f'{{% if date_string is not defined %}}{{% set date_string = "{DATE}" %}}{{% endif %}}'
DRIFT = re.compile(
    r"</?think\w*>|<\|[^|<>\n]*\|>|</?(?:start|end)_of_turn>|\[/?INST\]"
    r"|^\s*(?:user|assistant|system|model)\s*:?\s*$",
    re.MULTILINE | re.IGNORECASE,
)


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


@dataclass(frozen=True)
class Family:
    """How one kind of model marks the turns of a conversation, up to the place where it is to answer."""

    name: str
    user: tuple[str, str]
    answer: tuple[str, str]
    opening: str
    """What comes before the answer that is asked for."""
    system: tuple[str, str] | Literal["first", "last"]
    """Marks of a system turn, or the user turn whose text it is put before."""
    default: str | None = None
    """The system text where a conversation has none; "" writes the marks alone, None writes nothing."""

    def render(self, messages: Messages) -> str:
        """The prompt of a conversation that ends with the user's turn, without a start token."""
        system = "".join(m["content"] for m in messages if m["role"] == "system")
        turns = [m for m in messages if m["role"] != "system"]
        merged = {"first": 0, "last": len(turns) - 1}.get(str(self.system))
        text = ""
        if isinstance(self.system, tuple) and (system or self.default is not None):
            text = self.system[0] + (system or self.default or "") + self.system[1]
        for place, turn in enumerate(turns):
            before, after = self.user if turn["role"] == "user" else self.answer
            inside = f"{system}\n\n" if system and place == merged else ""
            text += before + inside + turn["content"] + after
        return text + self.opening

    def go(self) -> str:
        """The same as TEMPLATE of a Modelfile."""
        user, loop, head = "{{ .Content }}", "{{ range .Messages }}", ""
        if self.system == "first":
            head = "{{ $system := .System }}"
            user = '{{ if $system }}{{ $system }}\n\n{{ $system = "" }}{{ end }}' + user
        elif self.system == "last":
            loop = "{{ range $i, $_ := .Messages }}"
            user = "{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}{{ $.System }}\n\n{{ end }}" + user
        else:
            before, after = self.system
            head = f"{before}{{{{ .System }}}}{after}"
            if self.default is None:
                head = f"{{{{ if .System }}}}{head}{{{{ end }}}}"
            elif self.default:
                head = f"{before}{{{{ if .System }}}}{{{{ .System }}}}{{{{ else }}}}{self.default}{{{{ end }}}}{after}"
        asked, told = user.join(self.user), "{{ .Content }}".join(self.answer)
        turn = f'{{{{ if eq .Role "user" }}}}{asked}{{{{ else if eq .Role "assistant" }}}}{told}{{{{ end }}}}'
        return f"{head}{loop}{turn}{{{{ end }}}}{self.opening}"


def _alike(name: str, mark: str, end: str, default: str | None = None, more: str = "", dated: str = "") -> Family:
    """A family whose turns differ by their role's name only."""
    before = {role: mark.format(role) for role in ("system", "user", "assistant")}
    system = (before["system"] + dated, end)
    return Family(name, (before["user"], end), (before["assistant"], end), before["assistant"] + more, system, default)


_LLAMA = ("<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>")
_CHATML = ("<|im_start|>{}\n", "<|im_end|>\n")
_GRANITE = ("<|start_of_role|>{}<|end_of_role|>", "<|end_of_text|>\n")
_GRANITE_DEFAULT = "You are a helpful assistant. Please ensure responses are professional, accurate, and safe."
_MODEL = "<start_of_turn>model\n"
FAMILIES = [
    _alike("llama3", *_LLAMA),
    _alike("llama3-dated", *_LLAMA, "", dated=f"Cutting Knowledge Date: December 2023\nToday Date: {DATE}\n\n"),
    _alike("chatml", *_CHATML),
    _alike("chatml-helpful", *_CHATML, "You are a helpful assistant."),
    _alike("qwen2.5", *_CHATML, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    _alike("qwen3-not-thinking", *_CHATML, more="<think>\n\n</think>\n\n"),
    Family("gemma", ("<start_of_turn>user\n", "<end_of_turn>\n"), (_MODEL, "<end_of_turn>\n"), _MODEL, "first"),
    Family("mistral", ("[INST] ", "[/INST]"), (" ", "</s>"), "", "last"),
    Family("mistral-tekken", ("[INST]", "[/INST]"), ("", "</s>"), "", "last"),
    Family("mistral-system", ("[INST]", "[/INST]"), ("", "</s>"), "", ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")),
    _alike("granite", *_GRANITE),
    _alike("granite4", *_GRANITE, _GRANITE_DEFAULT),
    _alike("phi3", "<|{}|>\n", "<|end|>\n"),
    _alike("phi4-mini", "<|{}|>", "<|end|>"),
    _alike("phi4", "<|im_start|>{}<|im_sep|>", "<|im_end|>"),
]


def family(name: str) -> Family:
    """The family of that name. Raises ExportError."""
    known = {f.name: f for f in FAMILIES}
    if name in known:
        return known[name]
    raise ExportError(f"no template family {name!r}; known: {', '.join(known)}")


def settled(template: str) -> str:
    """The same template, with thinking off and the date standing still unless the caller says otherwise."""
    wanted = [(THINKING_OFF, "enable_thinking"), (DATE_PINNED, "date_string")]
    added = [line for line, name in wanted if name in template and line not in template]
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
    fused: Path, gguf: Path, questions: Sequence[Messages], max_tokens: int, log: Path, report: Report
) -> RoundTrip:
    """Compare the renderings, then let the file answer `questions` greedily. Raises ExportError, WorkerFailed.

    Each question is a conversation up to the user's turn. It works in a process of its own.
    """
    job = {"fused": str(fused), "gguf": str(gguf), "questions": list(questions), "max_tokens": max_tokens}
    result = worker.call(__name__, job, log, report)
    if "error" in result:
        raise ExportError(result["error"])
    return RoundTrip(**result)


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """The worker's half of `round_trip`: the fields of a RoundTrip, or {error}."""
    from understudy.calls.local_worker import LocalModel, Unusable

    gguf, questions, limit = Path(job["gguf"]), job["questions"], job["max_tokens"]
    try:
        trained, model = _training(Path(job["fused"])), LocalModel(job["gguf"], False, None, None, 0)
        differences = [f"{gguf.name}: {told}" for told in _differences(trained, _embedded(model), model)]
        equal = (f.name for f in FAMILIES if not any(_differences(trained, _by_family(f, model), model, whole=False)))
        found = RoundTrip(next(equal, None), _ends(model), differences, [], [])
        window = max([len(model.prompt(asked)) for asked in questions], default=0) + limit
        if questions:
            model = LocalModel(job["gguf"], True, window, None, 0)
        for number, asked in enumerate(questions):
            report(number, len(questions), "answering")
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
    apply, given = tokenizer.apply_chat_template, {"tokenize": False, "enable_thinking": False}
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


def _by_family(family: Family, model: "LocalModel") -> Side:
    """The tokens of Ollama's prompts; it puts a start token before them where the file asks for one."""
    return lambda messages, _: model.llama.tokenize(family.render(messages).encode(), add_bos=True, special=True)


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
