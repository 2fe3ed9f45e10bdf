"""Recipes: what pairs are for, what a teacher is asked for them, and how a row looks."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.text.markdown import Form

Reasoning = Literal["drop", "keep", "train"]


class RecipeOptions(BaseModel):
    """Options that every recipe has, under `recipe:` in a preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    form: Form = Field(default="markdown", description="of the answers that are taught, checked and measured")
    reasoning: Reasoning = Field(
        default="drop", description="of pairs that have some: train puts it before the answer, keep into other formats"
    )


class BaseRecipe:
    """What recipes share."""

    Options: ClassVar[type[RecipeOptions]] = RecipeOptions
    composes: ClassVar[bool] = False
    retrieves: ClassVar[bool] = False
    closed_book: ClassVar[bool] = False
    UNIT: ClassVar[str] = "talk"
    TOKENS: ClassVar[Mapping[str, float]] = {}
    DEFAULTS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, options: RecipeOptions) -> None:
        self.options = options

    @property
    def form(self) -> Form:
        """Of the answers."""
        return self.options.form

    def settled(self) -> dict[str, Any]:
        """The form, where it is not markdown."""
        return {} if self.form == "markdown" else {"form": self.form}

    def prompt_values(self) -> dict[str, str]:
        """Nothing: the texts of its prompts are whole."""
        return {}
