"""Words with the signs that are part of them: C++, C#, .NET, ===, A/B, -5, 3.5."""

import re

from understudy.text.words import words

_MAYBE = re.compile(r"[+#=<>&|*/%^~\\$€£¥₹₽₺@]|[-−]\d|\d[.,]\d|!=|::|\?\?|--|(?<!\w)[.!][A-Za-z]")
_SYMBOL = re.compile(
    r"\d{1,3}(?:,\d{3})+(?![\d,])|\d+(?:[.,]\d+)+"
    r"|(?<![\w)\]−-])[-−]\d+(?:[.,]\d+)?"
    r"|[A-Za-z]\w*(?:\+\+?|--)(?![\w+=])|(?<!\w)[A-Za-z](?:\#|\+|\*)(?![A-Za-z\d+#*])"
    r"|(?<![\w.])\.[A-Za-z]\w*"
    r"|(?<![\w*~+&#@%$-])(?:\*{1,3}|\+\+|--|&|@|\#|\$|~|!(?=[a-z]))[A-Za-z_]\w*(?![*\w])"
    r"|(?<![\w/])[^\W\d_]{1,2}/[^\W\d_]{1,3}(?![\w/])"
    r"|!==?|\?\?=?|::|[-=<>+*/%&|^~\\:]*[=<>&|^~\\%][-=<>+*/%&|^~\\:]*|(?<!\w)[-+*/]+[+*/][-+*/]*(?!\w)|(?<![\w+*/-])[+*/](?![\w+*/-])"
    r"|[$€£¥₹₽₺]"
)
_SIGNS = frozenset("+#=<>&|*/%^~\\$@.-!?:€£¥₹₽₺")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+$")


def split(text: str) -> list[str]:
    """The words of `text`, hyphens taken as spaces, and its symbols, in lower case and in order."""
    plain = text.rstrip("?.! ")
    if plain.isascii() and plain.replace(" ", "").isalnum():
        return plain.lower().split()
    if not _MAYBE.search(text):
        return _words(text)
    tokens: list[str] = []
    at = 0
    for match in _SYMBOL.finditer(text):
        tokens += _words(text[at : match.start()])
        symbol, at = match.group().lower().replace("−", "-"), match.end()
        tokens.append(symbol.replace(",", "") if _GROUPED.match(symbol) else symbol.replace(",", "."))
    return [*tokens, *_words(text[at:])]


def is_symbol(token: str) -> bool:
    """Whether signs are part of `token`, so that nothing else means the same."""
    return not _SIGNS.isdisjoint(token)


def _words(text: str) -> list[str]:
    found = words(text)
    if "-" not in text and "’" not in text and "'" not in text:
        return found
    return [part for word in found for part in word.replace("’", "'").split("-") if part]
