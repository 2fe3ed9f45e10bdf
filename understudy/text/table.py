"""Tables in markdown, with cells of external text."""

import re
from collections.abc import Iterable, Sequence
from html import escape


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A GitHub-flavoured markdown table, '' without rows; external text must go through `plain` first."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) if len(lines) > 2 else ""


def plain(text: str) -> str:
    """`text` on one line, with what markdown or HTML would read as markup escaped."""
    return re.sub(r"([\\`*|\[\]#]|(?<!\w)_|_(?!\w))", r"\\\1", escape(" ".join(text.split()), quote=False))
