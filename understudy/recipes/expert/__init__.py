"""The recipe of manuals: questions about every section and over two of them, answered without the text at hand."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from understudy.recipes import BaseRecipe, Reasoning, RecipeOptions
from understudy.records import Message, Passage
from understudy.retrieval.passages import Cutting
from understudy.retrieval.sections import Reading
from understudy.sections import Settings
from understudy.text.markdown import Form

TYPES = {
    "recall": "what the section states: a number, a limit, a name, a condition, who does what",
    "apply": "a concrete case with its own figures, to which a rule of the section gives the answer",
    "compare": "how two things, cases or values in the section differ, or which of them is more",
    "exception": "when a rule of the section does not hold, or what holds instead",
    "edge case": "what holds exactly at a limit, or where two rules of the section meet",
}
"""Type of question > what the teacher is told of it; a preset may name others."""


class Across(Settings):
    """Questions that need two sections, as shares of all pairs."""

    sections: float = Field(default=0.1, ge=0, le=0.4, description="of one manual")
    documents: float = Field(default=0.1, ge=0, le=0.4, description="of two manuals")


class ExpertRecipe(BaseRecipe):
    """A question alone, and the answer by heart: what the manual says, briefly."""

    VERSION = 1
    INDIFFERENT: ClassVar[set[str]] = {"contradictions"}
    GATES = (
        "length", "characters", "endings", "formatting", "repetition", "mentions", "boilerplate", "instructions",
        "language", "duplicates",
    )  # fmt: skip
    METRICS = ("nll", "correctness", "formatting", "degeneration", "format_gap", "copying")
    composes = True
    closed_book = True
    UNIT = "section"
    TOKENS: ClassVar[Mapping[str, float]] = {"answers": 80, "questions": 45}
    DEFAULTS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"questions": {"per_unit": 5}, "split": {"questions": 0.1}}

    class Options(RecipeOptions):
        """Options under `recipe:` in a preset."""

        form: Form = Field(default="prose", description="of the answers that are taught, checked and measured")
        reasoning: Reasoning = Field(
            default="keep", description="of answers: train puts it before them, keep into gold.jsonl and other formats"
        )
        read: Reading = Field(default=Reading(), description="how manuals are cut into sections")
        types: list[str] = Field(
            default=list(TYPES), min_length=1, max_length=12, description="of questions, asked for in turn"
        )
        role: str = Field(default="", description="who asks, in a few words: a nurse on the ward")
        across: Across = Field(default=Across(), description="questions over two sections, and over two manuals")
        passages: Cutting = Field(
            default=Cutting(), description="how manuals are cut for the comparison with retrieval"
        )
        contradictions: float = Field(
            default=1.5, ge=0, le=10, description="passages of like subject that the verifier compares, per section"
        )
        per_question: int = Field(default=3, ge=1, le=20, description="passages that the retriever gives, at most")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options: ExpertRecipe.Options = options

    def prompt_values(self) -> dict[str, str]:
        """The types of questions with what they are, and who asks."""
        kinds = "\n".join(f"- {name}" + (f": {TYPES[name]}" if name in TYPES else "") for name in self.options.types)
        role = " ".join(self.options.role.split())
        return {"types": kinds, "role": f" {role[:1].upper()}{role[1:]}." if role else ""}

    def system(self) -> str | None:
        """None: what is asked for is in the weights."""
        return None

    def context(self, passages: Sequence[Passage]) -> str:
        """The passages, each under its title; '' without any."""
        return "\n\n".join(f"[{passage.title}]\n{passage.text}" for passage in passages)

    def prompt(self, question: str, passages: Sequence[Passage] = ()) -> list[Message]:
        """The question; with passages before it where a retriever found some."""
        if not passages:
            return [Message(role="user", content=question)]
        text = f"Answer from these passages of the manual.\n\n{self.context(passages)}\n\nQuestion: {question}"
        return [Message(role="user", content=text)]
