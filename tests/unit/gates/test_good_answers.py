"""A good teacher's answers pass every gate that is on by default, whatever language, list, code or sign they use."""

import pytest

from tests.unit.gates.test_gates import GATES, verdict
from tests.unit.pairs import pair

GOOD = [
    "**Yeast** eats sugar and gives off gas.\n\nThe gas is caught in the dough, so the dough has to rise. It’s slow at "
    "first, and then it’s quick — give it an hour.",
    "There are three steps:\n\n1. **Warm** the pot with hot water.\n2. Add 3 g of tea for each cup.\n3. Wait 4 "
    "minutes, then pour it all out at once.",
    "Use what you have:\n\n- a **wide** pan\n- a lid that closes\n- half a cup of water\n- ten minutes of patience and "
    "a little salt for the taste",
    "Call the function with its name:\n\n```python\ndef area(r):\n    return 3.14 * r ** 2\n```\n\nThe **result** is "
    "in square metres when `r` is in metres, and in square feet when it is in feet.",
    "Great question to start with! 😀 **Light** is a wave, and it is also a stream of particles.\n\nWhich one you see "
    "depends on how you look at it. 🌈",
    "The word **سلام** is read from right to left, and it means peace.\n\nYou will hear it as a greeting from morning "
    "to night, so learn it before any other word.",
    "كيف **ينام** المرء جيدا؟\n\nيطفئ الضوء قبل ساعة، ويترك الهاتف خارج الغرفة، ثم يقرأ كتابا من ورق حتى تثقل العينان. "
    "أليس هذا أسهل من عد الخراف طوال الليل والنظر إلى السقف؟",
    "The Hebrew **שלום** does the same work as hello.\n\nSay it when you come and when you go; nobody will ask you for "
    "more on the first day of your journey.",
    "**Wärme** geht immer von dem heißen Ding zu dem kalten, nie umgekehrt.\n\nDas ist der Grund, warum der Tee in der "
    "Küche kalt wird: Er gibt seine Wärme an die Luft ab.",
    "Du brauchst nur drei Dinge:\n\n- **Mehl**, am besten Type 550\n- 300 g lauwarmes Wasser\n- eine Prise "
    "Salz\n\nDann lässt du den Teig eine Stunde ruhen und formst ihn mit nassen Händen.",
    "1. Zuerst die **Pfanne** heiß werden lassen.\n2. Dann das Öl hineingeben, etwa 2 Esslöffel.\n3. Erst jetzt kommt "
    "das Gemüse dazu, und es bleibt drei Minuten drin.",
    "## The short answer\n\nSleep comes **before** training, not after it.\n\n## Why\n\nA tired muscle learns nothing, "
    "and a tired head learns even less. Aim for 8 hours.",
    "Compare the two:\n\n| metal | melts at |\n|---|---|\n| **tin** | 232 °C |\n| lead | 327 °C |\n\nSo tin is the one "
    "to start with, because a kitchen stove is hot enough for it.",
    "I cannot stress enough that **posture** comes first.\n\nStand as if a thread pulled you up by the top of your "
    "head; the shoulders will follow by themselves.",
    "Think of the **system** as a kitchen with one cook.\n\nThe user orders, the cook answers, and nobody else may "
    "touch the pan. Ask yourself: who is allowed to change the recipe?",
    "> A poem is never finished, only left.\n\nThat is why you **stop** on a good day. Read it aloud the next morning, "
    "and change only what your tongue trips over.",
    "Inflation of 2 % a year halves your money in about 35 years.\n\n**Rule of thumb:** divide 70 by the rate. With 7 "
    "% it takes only 10 years, so do not let cash lie around.",
    "Put the **loudspeaker** one metre from the wall and turn it towards your chair.\n\nA speaker in the corner booms, "
    "and a video call then sounds as if it came out of a barrel.",
    "Never use `rm -rf` on a path you did not print first.\n\n**Print** it, read it, and only then run the command "
    "again. An error here costs a day; reading costs two seconds.",
    "No, and here is why: **cold water** takes the heat of your body 25 times as fast as air does.\n\nAfter twenty "
    "minutes at 10 °C your hands stop obeying you, so get out earlier.",
    "Ja, aber nur mit **Geduld**: Ein Muskel wächst nicht im Training, sondern in der Pause danach.\n\nGib ihm zwei "
    "Tage, iss genug und schlaf — dann wird er stärker. „Weniger ist mehr“ gilt auch hier!",
]


# `quality` refuses the lowest of any channel, however good they are.
@pytest.mark.parametrize("name", sorted(set(GATES) - {"verbatim", "language", "quality"}))
def test_no_good_answer_is_refused(name: str) -> None:
    good = [pair("t", at, f"What is part {at} about?", answer) for at, answer in enumerate(GOOD)]
    options = {"max_template": 1} if name == "boilerplate" else {}  # the questions of this test are a template
    talk = " ".join(GOOD)
    refused = (
        verdict(name, *good, talk=talk, **options) if name != "duplicates" else [verdict(name, one)[0] for one in good]
    )
    assert {GOOD[at]: reason for at, reason in enumerate(refused) if reason} == {}


def test_no_good_answer_is_taken_for_another_language() -> None:
    for ours, own in (("die ", True), ("the ", False)):
        channel = [
            pair("t", at, answer=a)
            for at, a in enumerate(GOOD)
            if "كيف" not in a and (" und " in a or " der " in a) == own
        ]
        assert len(channel) >= 4 and not any(verdict("language", *channel)), ours
