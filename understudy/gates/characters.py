"""Refuses answers with characters that belong in no text: control characters, broken encodings, escapes left in."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from understudy.records import Pair

# A backslash that was read as an escape leaves these: \f of \frac, \b of \beta, \t of \theta, \r of \rho, \n of \nabla.
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)"
    "|\t(?:heta|imes|au|ext(?:bf|it|rm)?\\{|an\\b|herefore|riangle)|\n(?:abla|eq|otin|eg|u)\\b|[\ud800-\udfff\ufffd]"
)
# UTF-8 that was read byte by byte: what each byte from 0x80 to 0xBF looks like in Latin-1 and in Windows-1252. Quotes,
# dashes and dots are left out, since they may follow a capital letter with an accent.
_BYTE = "[\u0080-\u00aa\u00ac-\u00b6\u00b8-\u00ba\u00bc-\u00bf€‚ƒ„†‡ˆ‰Š‹ŒŽ•˜™š›œžŸ]"
_MOJIBAKE = re.compile(
    rf"[ÃÂ]{_BYTE}|â€[\u0080-\u00ff‹›“”‘’œ™˜¢¦\u0153\u009d]|ï»¿|ï¿½|锟斤拷"
    rf"|(?:[Ð-Ñ]{_BYTE}[^\w]?){{2}}|(?:[Ø-Ù]{_BYTE}[^\w]?){{2}}|(?:[Ä-Å]{_BYTE}.{{0,80}}){{2}}"
    rf"|(?:[à-ïð]{_BYTE}(?:{_BYTE}|[…–—‘’“”·«»])\s?){{2}}|(?:[РС][°±µѕ№ЅїЃѓ€‰Љ‹ЊЌЋЏђ™љ›њќћџІі„†‡…]\s?){{3}}",
)
_ENTITY = re.compile(r"&(?:#\d{2,6}|#[xX][0-9a-fA-F]{2,5}|[a-zA-Z]{2,8}\d{0,2});")
_ABOUT_ENTITIES = re.compile(r"\bhtml\b|\bxml\b|\bentit|\bescap|&|\bmarkup|\bampersand", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


class CharactersGate:
    """Keeps a pair when its answer consists of characters that somebody may have typed."""

    class Options(BaseModel):
        """Options under `gates:` in a preset: it has none."""

        model_config = ConfigDict(extra="forbid")

    VERSION = 1
    FOR_REFUSALS = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def study(self, pairs: Sequence[Pair]) -> None:
        """Each pair is judged on its own."""

    def judge(self, pair: Pair) -> str | None:
        """The character, and whether it is in question or answer."""
        for side, text in (("question", pair.question), ("answer", pair.answer)):
            if problem := _damage(text):
                return f"the {side} has {problem}"
            if "&" in text and not _ABOUT_ENTITIES.search(pair.question):
                prose = _CODE.sub(" ", text) if "`" in text else text
                if entity := _ENTITY.search(prose):
                    return f"the {side} has an HTML entity: {entity.group()!r}"
        return None


def _damage(text: str) -> str | None:
    # Most answers have nothing but printable characters and line breaks, which takes a microsecond to see.
    if text.isascii() and "$" not in text and text.replace("\n", "").isprintable():
        return None
    if control := _CONTROL.search(text):
        return f"a control or replacement character: {control.group()!r}"
    if not text.isascii() and (broken := _MOJIBAKE.search(text)):
        return f"characters of a broken encoding: {broken.group()[:12]!r}"
    return None
