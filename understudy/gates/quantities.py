"""Numbers with their units, written and spoken."""

import re

_UNITS = {
    word: group.split()[0]
    for group in (
        "% percent pct", "kg kilogram kilograms kilo kilos kilogramm", "g gram grams gramm",
        "mg milligram milligrams", "µg mcg microgram micrograms",
        "km kilometer kilometers kilometre kilometres", "m meter meters metre metres",
        "cm centimeter centimeters centimetre centimetres",
        "mm millimeter millimeters millimetre millimetres", "l liter liters litre litres",
        "ml milliliter milliliters millilitre millilitres",
        "second seconds sec", "minute minutes min minuten", "hour hours stunden stunde",
        "day days tage tagen tag", "week weeks wochen woche", "month months monate monaten monat",
        "year years jahre jahren jahr",
        "degree degrees °c °f ° grad", "mile miles", "foot feet ft", "inch inches", "pound pounds lb lbs",
        "ounce ounces oz",
        "$ dollar dollars usd", "€ euro euros eur", "calorie calories kcal", "watt watts w", "volt volts v",
        "hertz hz", "times", "cup cups", "people persons",
    )
    for word in group.split()
}  # fmt: skip
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven "
    "twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_VALUES = {word: value for value, word in enumerate(_SMALL.split())} | {
    word: 10 * tens
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
} | {"a": 1, "an": 1, "half": 0.5, "dozen": 12}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_QUANTITY = re.compile(rf"(?<![\w.,])(\d[\d,]*(?:\.\d+)?)[\s-]?({_UNIT})(?!\w)", re.IGNORECASE)
_MONEY = re.compile(r"([$€])\s?(\d[\d,]*(?:\.\d+)?)")
_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?|[a-z]+", re.IGNORECASE)


def quantities(text: str) -> dict[tuple[float, str], str]:
    """Value and unit of each number that has a unit -> its text."""
    measures = {(_number(m[1]), _UNITS[m[2].lower()]): m.group() for m in _QUANTITY.finditer(text)}
    return measures | {(_number(m[2]), m[1]): m.group() for m in _MONEY.finditer(text)}


def numbers(text: str) -> set[float]:
    """Every number of `text`, in digits or in English words: 'twenty-five' and 25, 'one hundred and ten' and 110."""
    values: set[float] = set()
    total, current, open_ = 0.0, 0.0, False
    for token in map(str.lower, _TOKEN.findall(text)):
        if token[0].isdigit():
            value = _number(token)
            values.add(value)
            total, current, open_ = 0.0, value, True
        elif token in _SCALES and open_:
            current = max(current, 1) * _SCALES[token]
            if token != "hundred":
                total, current = total + current, 0.0
            values.add(total + current)
        elif token in _VALUES:
            value = _VALUES[token]
            joins = open_ and (current % 100 == 0 if value >= 10 else current % 10 == 0 and current % 100 != 10)
            current = current + value if joins else value
            total = total if joins else 0.0
            open_ = True
            values |= {float(value), total + current}
        elif token != "and":
            total, current, open_ = 0.0, 0.0, False
    return values


def _number(text: str) -> float:
    return float(text.replace(",", "") or 0)
