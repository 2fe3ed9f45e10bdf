"""
How the families of models mark the turns of a conversation, as Ollama's TEMPLATE and as a rendering in Python.

TEMPLATE is in Go's language, which nothing here can run: one set of marks makes both texts, so that a family
whose rendering proved equal to the training code's is one whose TEMPLATE may be given to Ollama.
"""

from dataclasses import dataclass
from typing import Literal

from understudy.errors import ExportError

Messages = list[dict[str, str]]
DATE = "26 Jul 2024"
"""What Llama's templates write where no clock is at hand; a clock would give another prompt every day."""


@dataclass(frozen=True)
class Family:
    """How one kind of model marks the turns of a conversation, up to the place where it is to answer."""

    name: str
    user: tuple[str, str]
    answer: tuple[str, str]
    opening: str
    """What comes before the requested answer."""
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

    def ollama_template(self) -> str:
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
        user, answer = user.join(self.user), "{{ .Content }}".join(self.answer)
        turn = f'{{{{ if eq .Role "user" }}}}{user}{{{{ else if eq .Role "assistant" }}}}{answer}{{{{ end }}}}'
        return f"{head}{loop}{turn}{{{{ end }}}}{self.opening}"


def _by_role(name: str, mark: str, end: str, default: str | None = None, more: str = "", dated: str = "") -> Family:
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
    _by_role("llama3", *_LLAMA),
    _by_role("llama3-dated", *_LLAMA, "", dated=f"Cutting Knowledge Date: December 2023\nToday Date: {DATE}\n\n"),
    _by_role("chatml", *_CHATML),
    _by_role("chatml-helpful", *_CHATML, "You are a helpful assistant."),
    _by_role("qwen2.5", *_CHATML, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    _by_role("qwen3-not-thinking", *_CHATML, more="<think>\n\n</think>\n\n"),
    Family("gemma", ("<start_of_turn>user\n", "<end_of_turn>\n"), (_MODEL, "<end_of_turn>\n"), _MODEL, "first"),
    Family("mistral", ("[INST] ", "[/INST]"), (" ", "</s>"), "", "last"),
    Family("mistral-tekken", ("[INST]", "[/INST]"), ("", "</s>"), "", "last"),
    Family("mistral-system", ("[INST]", "[/INST]"), ("", "</s>"), "", ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")),
    _by_role("granite", *_GRANITE),
    _by_role("granite4", *_GRANITE, _GRANITE_DEFAULT),
    _by_role("phi3", "<|{}|>\n", "<|end|>\n"),
    _by_role("phi4-mini", "<|{}|>", "<|end|>"),
    _by_role("phi4", "<|im_start|>{}<|im_sep|>", "<|im_end|>"),
]


def family(name: str) -> Family:
    """The family of that name. Raises ExportError."""
    known = {f.name: f for f in FAMILIES}
    if name in known:
        return known[name]
    raise ExportError(f"no template family {name!r}; known: {', '.join(known)}")
