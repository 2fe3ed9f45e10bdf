"""What belongs to one person in a text: e-mail addresses, telephone numbers, keys, and names that somebody lists."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

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
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----)?"
)
KINDS: dict[str, re.Pattern[str]] = {"e-mail address": _EMAIL, "key": _KEY, "telephone number": _PHONE}


def found(text: str, names: Sequence[str] = ()) -> Counter[str]:
    """How many of each kind are in `text`; a name is 'name N of the list'."""
    counts = Counter[str]()
    _replaced(text, names, lambda kind, at: counts.update([f"name {at} of the list" if kind == "name" else kind]))
    return counts


def masked(text: str, names: Sequence[str] = ()) -> str:
    """`text` with '[e-mail address]', '[name]' and the like in place of what is private."""
    return _replaced(text, names, lambda kind, at: None)


def _replaced(text: str, names: Sequence[str], seen: Callable[[str, int], object]) -> str:
    """`text` with what is private masked; `seen` gets the kind of each thing, and which of the names it is."""

    def mask(kind: str, at: int = 0) -> Callable[[re.Match[str]], str]:
        def one(match: re.Match[str]) -> str:
            if kind == "e-mail address" and _FOR_EXAMPLES.search(match[0]):
                return match[0]
            seen(kind, at)
            return f"[{kind}]"

        return one

    for kind, pattern in KINDS.items():
        text = pattern.sub(mask(kind), text)
    for at, name in enumerate(names, 1):
        if parts := words(name):
            anywhere = r"\W+".join(map(re.escape, parts))
            text = re.sub(rf"(?<!\w){anywhere}(?!\w)", mask("name", at), text, flags=re.IGNORECASE)
    return text
