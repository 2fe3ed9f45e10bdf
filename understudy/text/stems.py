"""Words without their endings, and the spellings of one word as one; no linguistic stems."""

import re
from functools import lru_cache

_SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"is(e|ed|es|er|ers|ing|ation|ations)$", r"iz\1"),
        (r"ys(e|ed|es|ing)$", r"yz\1"),
        (r"(?<=[bdfgilmnv])our(?!s?$|t|c|n)|(?<=[bdgilmnv])our(?=s?$)", "or"),
        (r"(?<=[bt])re(s?)$", r"er\1"),
        (r"([aeiou][^aeiou]{1,3}[aeiou])ll(?=(?:ed|ing|er|ers)$)", r"\1l"),
        (r"ogue(s?)$", r"og\1"),
        (r"(?<=.)ence(s?)$", r"ense\1"),
        (r"^oe(?=[sd])|(?<=[rh])oe(?=a)", "e"),
        (r"(?<=[nh])ae(?=m)|(?<=m)ae(?=s)", "e"),
    )
]
_ONE_WORD = {
    "goes": "go", "grey": "gray", "aluminium": "aluminum", "sulphur": "sulfur", "licence": "license",
    "practise": "practice", "mould": "mold", "mouldy": "moldy", "plough": "plow", "yoghurt": "yogurt",
    "doughnut": "donut", "tyre": "tire", "sceptical": "skeptical", "ageing": "aging", "fulfil": "fulfill",
    "programme": "program", "programmes": "programs", "cosy": "cozy", "pyjamas": "pajamas",
    "jewellery": "jewelry", "cheque": "check", "storey": "story", "haemoglobin": "hemoglobin",
    "oestrogen": "estrogen", "orthopaedic": "orthopedic", "paediatric": "pediatric", "manoeuvre": "maneuver",
    "draught": "draft", "kerb": "curb", "maths": "math", "vapour": "vapor",
}  # fmt: skip


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """`word` without the endings of a plural or a verb: 'rises', 'rising' and 'rise' are one. Not a linguistic stem."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and re.search("[aeiouy]", rest) and not rest.endswith("e"):
            word = rest[:-1] if len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") and not word.endswith("ee") else word


@lru_cache(maxsize=200_000)
def spelled(word: str) -> str:
    """An English `word` in one of its spellings, which need not be one that is written: 'exercize' for exercise."""
    if len(word) < 4:
        return word
    if word in _ONE_WORD:
        return _ONE_WORD[word]
    for pattern, replacement in _SPELLINGS:
        word = pattern.sub(replacement, word)
    return word
