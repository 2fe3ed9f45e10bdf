"""Refuses, or masks, what belongs to one person: addresses, telephone numbers, keys, and names that are listed."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text import private


class PrivateGate:
    """Keeps a pair when neither question nor answer has an address, a telephone number, a key or a listed name."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        names: list[str] = Field(default=[], description="of persons who are not to appear, in any case of letters")
        mask: bool = Field(default=False, description="put [name], [e-mail address] ... in place of refusing the pair")

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.options = options

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged on its own."""

    def masked(self, pair: Pair) -> Pair:
        """The pair without what is private, where that is wanted; else as it is."""
        if not self.options.mask:
            return pair
        question, answer = (private.masked(text, self.options.names) for text in (pair.question, pair.answer))
        return pair.model_copy(update={"question": question, "answer": answer})

    def judge(self, pair: Pair) -> str | None:
        """What kind of thing is in question or answer; never the thing itself, since reasons are kept and shown."""
        for side, text in (("question", pair.question), ("answer", pair.answer)):
            if kinds := private.found(text, self.options.names):
                kind = next(iter(kinds))
                article = "" if kind.startswith("name") else "an " if kind.startswith("e") else "a "
                return f"the {side} has {article}{kind}"
        return None
