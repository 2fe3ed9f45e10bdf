"""Laws of the gate for what belongs to one person; all numbers and addresses here are made up or reserved."""

import pytest

from tests.unit.pairs import pair
from understudy.gates.private import PrivateGate


def judged(text: str, *names: str) -> str | None:
    return PrivateGate(PrivateGate.Options(names=list(names))).judge(pair(answer=text))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Write to anna.b+list@forge-guild.org for the plans.", "an e-mail address"),
        ("Call me on +49 30 1234 5678 after six.", "a telephone number"),
        ("The shop is at (030) 901820 on weekdays.", "a telephone number"),
        ("Ring 555-867-5309 and ask for glue.", "a telephone number"),
        ("Unter 0171 5550123 bin ich erreichbar.", "a telephone number"),
        (f"The key is sk-{'a1' * 14}, do not share it.", "a key"),
        ("-----BEGIN RSA PRIVATE KEY----- and so on", "a key"),
    ],
)
def test_what_belongs_to_a_person_is_refused_and_not_repeated(text: str, what: str) -> None:
    reason = judged(text)
    assert reason == f"the answer has {what}"


@pytest.mark.parametrize(
    "text",
    [
        "Write to someone@example.com, as in every manual.",
        "Light travels 299 792 458 metres in a second.",
        "In 1969-07-20 they landed; 2001-2004 was worse.",
        "The ISBN is 978-3-16-148410-0, the part number 12-345-678.",
        "Take 1,000,000,000 grains, or 0.001 of them.",
        "Multiply 555 by 867, then by 5309.",
        "The version is 3.141.592, the address 192.168.1.10.",
        "Decorators begin with @ and a name: @property.",
        "From 100 to 200 degrees it takes 30 minutes, from 200 to 300 it takes 45.",
    ],
)
def test_what_only_looks_like_it_is_kept(text: str) -> None:
    assert judged(text, "Anna Berg") is None


def test_listed_names_are_found_in_any_case_and_only_whole() -> None:
    assert judged("As ANNA  Berg, the neighbour, says.", "Otto", "Anna Berg") == "the answer has name 2 of the list"
    assert judged("The Annaberg is a hill.", "Anna Berg", "Berg") is None


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to anna.b@forge-guild.org, or not.", "Write to [e-mail address], or not."),
        ("Ring +49 30 1234 5678.", "Ring [telephone number]."),
        ("ANNA  Berg said so, the Annaberg did not.", "[name] said so, the Annaberg did not."),
        (f"Key sk-{'a1' * 14}!", "Key [key]!"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nend", "[key]\nend"),
        ("Write to someone@example.com.", "Write to someone@example.com."),
    ],
)
def test_what_is_masked_passes(text: str, masked: str) -> None:
    gate = PrivateGate(PrivateGate.Options(names=["Anna Berg"], mask=True))
    changed = gate.masked(pair(question=text, answer=text))
    assert (changed.question, changed.answer) == (masked, masked) and gate.judge(changed) is None
    assert PrivateGate(PrivateGate.Options()).masked(pair(answer=text)).answer == text
