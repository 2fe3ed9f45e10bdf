"""The recipe of answers from given texts: passages come with the question, and the answer cites them or declines."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from understudy.recipes import BaseRecipe, RecipeOptions
from understudy.records import Message, Passage
from understudy.retrieval.passages import Cutting
from understudy.sections import Settings
from understudy.text.citations import CitationForm, citation
from understudy.text.markdown import Form


class Shares(Settings):
    """What the rows are made of; the three add up to 1."""

    grounded: float = Field(default=0.6, ge=0, le=1, description="one document answers")
    synthesis: float = Field(default=0.2, ge=0, le=1, description="two documents answer together")
    refusal: float = Field(default=0.2, ge=0, le=1, description="the passages do not answer")

    @model_validator(mode="after")
    def _is_whole(self) -> "Shares":
        if abs(self.grounded + self.synthesis + self.refusal - 1) > 0.001:
            raise ValueError("grounded, synthesis and refusal must add up to 1")
        return self


class GroundedRecipe(BaseRecipe):
    """Passages and a question, and an answer from them that cites their titles, or says that they do not answer."""

    VERSION = 1
    GATES = (
        "length", "characters", "endings", "formatting", "citations", "repetition", "boilerplate", "instructions",
        "language", "duplicates",
    )  # fmt: skip
    METRICS = ("nll", "citations", "formatting", "degeneration", "format_gap", "copying")
    composes = retrieves = True
    UNIT = "text"

    class Options(RecipeOptions):
        """Options under `recipe:` in a preset."""

        form: Form = Field(default="prose", description="of the answers that are taught, checked and measured")
        passages: Cutting = Field(default=Cutting(), description="how documents are cut")
        per_question: int = Field(default=3, ge=1, le=20, description="passages with a question, at most")
        max_rank: int = Field(
            default=5, ge=1, description="a passage that does not answer is among so many best for the question"
        )
        shares: Shares = Field(default=Shares(), description="of the rows: grounded, synthesis and refusal")
        citation: CitationForm = Field(default="[Title]", description="how an answer names what it rests on")
        refusal: str = Field(
            default="I cannot answer this from the provided context", min_length=5, description="how a refusal begins"
        )

        @field_validator("refusal")
        @classmethod
        def _goes_on_with_a_colon(cls, value: str) -> str:
            if "{" in value or "}" in value:
                raise ValueError("it must have no braces")
            return " ".join(value.split()).rstrip(" .:;!")

        instruction: str | None = Field(default=None, description="the system text; None: the built-in one")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options: GroundedRecipe.Options = options

    def settled(self) -> dict[str, Any]:
        """The form of answers, citations and refusals."""
        own = self.options.model_dump(include={"citation", "refusal"})
        usual = {name: self.Options.model_fields[name].default for name in own}
        return super().settled() | {name: value for name, value in own.items() if value != usual[name]}

    def prompt_values(self) -> dict[str, str]:
        """How a citation looks, and how a refusal begins."""
        form = self.options.citation
        return {"form": citation("Title", ["heading"], form), "refusal": self.options.refusal}

    def system(self) -> str:
        """The rules, as they stand in every row and before every question of a running model."""
        if self.options.instruction:
            return self.options.instruction
        prose = "in plain prose, without lists or headings" if self.form == "prose" else "in short paragraphs"
        example = citation("Title", ["heading"], self.options.citation)
        return (
            f"Answer from the passages only, {prose}. Cite the title of each passage you use as {example}. "
            f'If the passages do not hold the answer, say "{self.options.refusal}" and what is missing.'
        )

    def context(self, passages: Sequence[Passage]) -> str:
        """The passages, each under its title."""
        form = self.options.citation
        return "\n\n".join(f"{citation(p.title, p.heading, form)}\n{p.text}" for p in passages)

    def prompt(self, question: str, passages: Sequence[Passage] = ()) -> list[Message]:
        """System text, then the passages and the question."""
        text = f"{self.context(passages)}\n\nQuestion: {question}" if passages else f"Question: {question}"
        return [Message(role="system", content=self.system()), Message(role="user", content=text)]
