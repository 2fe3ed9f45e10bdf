"""Formulas as text: Word's equations as LaTeX, raised figures as powers, and marks of notes as nothing."""

import re
from xml.etree.ElementTree import Element

from understudy.readers.archive import local

_RAISED = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_IS_RAISED = re.compile(r"[0-9+\-−=()n]+")
_IS_MARK = re.compile(r"\W*(?:\d{1,3}|[a-z]|[*†‡§¶]{1,3})(?:\s*[,–-]\s*\d{1,3})*\W*")
_TAKES_POWER = re.compile(r"(?:\d|\)|(?<![^\W\d_])[^\W\d_]{1,2})$")
_PROPERTIES = re.compile(r"(?:.*Pr|ctrlPr)$")
_SIGNS = {"sSup": "^", "sSub": "_"}


def raised(before: str, text: str) -> str:
    """What a superscript adds behind `before`: '10' and '3' are 10³, a figure behind a word is the mark of a note."""
    plain = text.strip()
    if _IS_RAISED.fullmatch(plain) and _TAKES_POWER.search(before):
        return plain.translate(_RAISED)
    return "" if _IS_MARK.fullmatch(plain) and not (plain.isalpha() and _TAKES_POWER.search(before)) else text


def latex(node: Element) -> str:
    """An equation of Office Math (ECMA-376 part 1, section 22.1) as LaTeX, without its fonts."""
    tag = local(node.tag)
    if tag == "t":
        return node.text or ""
    parts = {local(child.tag): latex(child) for child in node if not _PROPERTIES.fullmatch(local(child.tag))}
    base = parts.get("e", "")
    if tag in _SIGNS:
        return f"{base}{_SIGNS[tag]}{_group(parts.get('sup') or parts.get('sub', ''))}"
    if tag in ("sSubSup", "nary"):
        sign = "" if tag == "sSubSup" else (_property(node, "chr") or "∫")
        limits = "".join(f"{m}{_group(parts[p])}" for m, p in (("_", "sub"), ("^", "sup")) if parts.get(p))
        return f"{sign}{limits}{base}" if sign else f"{base}{limits}"
    if tag == "f":
        return f"\\frac{{{parts.get('num', '')}}}{{{parts.get('den', '')}}}"
    if tag == "rad":
        degree = f"[{parts['deg']}]" if parts.get("deg") else ""
        return f"\\sqrt{degree}{{{base}}}"
    if tag == "d":
        inner = ", ".join(latex(child) for child in node if local(child.tag) == "e")
        return f"{_property(node, 'begChr') or '('}{inner}{_property(node, 'endChr') or ')'}"
    return "".join(latex(child) for child in node if not _PROPERTIES.fullmatch(local(child.tag)))


def _group(text: str) -> str:
    return text if len(text) == 1 else f"{{{text}}}"


def _property(node: Element, name: str) -> str:
    """A character among the properties of an equation's part."""
    holder = next((child for child in node.iter() if local(child.tag) == name), None)
    return "" if holder is None else next((value for key, value in holder.attrib.items() if local(key) == "val"), "")
