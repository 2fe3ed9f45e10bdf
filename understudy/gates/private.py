"""Refuses pairs with what belongs to one person: addresses, telephone numbers, keys, and names that are listed."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Pair
from understudy.text.words import words

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_FOR_EXAMPLES = re.compile(r"@(?:[\w-]+\.)*(?:example|test|invalid|localhost)(?:\.(?:com|org|net))?\Z", re.IGNORECASE)
# International, with brackets around the area code, or three groups as they are written in North America.
_PHONE = re.compile(
    r"(?<![\w.+])(?:\+\d{1,3}[ ./()-]{0,2}(?:\d[ ./()-]{0,2}){6,12}\d|\(0?\d{2,5}\) ?\d{3,4}[ -]?\d{2,5}"
    r"|\d{3}[.-]\d{3}[.-]\d{4}|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5})(?![\w-])"
)
_KEY = re.compile(
    r"\b(?:sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}|hf_\w{30,}|xox[abprs]-[\w-]{20,}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


class PrivateGate:
    """Keeps a pair when neither question nor answer has an address, a telephone number, a key or a listed name."""

    class Options(BaseModel):
        """Options under `gates:` in a preset."""

        model_config = ConfigDict(extra="forbid")
        names: list[str] = Field(default=[], description="of persons who are not to appear, in any case of letters")

    VERSION = 1

    def __init__(self, options: Options) -> None:
        self.names = [words(name) for name in options.names if words(name)]

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """What kind of thing is in question or answer; never the thing itself, since reasons are kept and shown."""
        for side, text in (("question", pair.question), ("answer", pair.answer)):
            if what := _private(text) or self._named(text):
                return f"the {side} has {what}"
        return None

    def _named(self, text: str) -> str | None:
        if not self.names:
            return None
        said = f" {' '.join(words(text))} "
        return next(
            (f"name {at} of the list" for at, name in enumerate(self.names, 1) if f" {' '.join(name)} " in said), None
        )


def _private(text: str) -> str | None:
    if any(not _FOR_EXAMPLES.search(found) for found in _EMAIL.findall(text)):
        return "an e-mail address"
    if _KEY.search(text):
        return "a key"
    return "a telephone number" if _PHONE.search(text) else None
