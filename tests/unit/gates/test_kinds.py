# ruff: noqa: E501
"""What is kept and what is refused, by kind: subjects that look like a leak, endings without a stop, loops, echoes."""

import pytest

from tests.unit.gates.test_gates import verdict
from tests.unit.pairs import pair

ALONE = "length characters endings formatting repetition mentions boilerplate instructions".split()
REST = "The seam has to dry for a whole night before you sand it, since glue that is only dry outside smears."

KEPT = [
    ("What is the formula for the area of a circle?", f"{REST} So much for the glue; the area is:\n\n\\[ A = \\pi r^2 \\]"),
    ("How wide is the seam?", f"{REST}\n\nLeave 12 mm"),
    ("How hot is the iron?", f"{REST}\n\nSet it to 180 °C"),
    ("Where is the pattern?", f"{REST}\n\nThe pattern is here: https://seams.example.org/p/12"),
    ("Whom do I ask?", f"{REST}\n\nWrite to seams@example.org"),
    ("Which colours sell?", f"{REST}\n\n- red\n- a dark green\n- white"),
    ("Was sagte der Meister?", "Der **Leim** muss eine Nacht trocknen, sonst schmiert er beim Schleifen, und dann fängt man von vorn an, sagte er, ‚ganz von vorn‘. So stand es auch an der Wand: „Wer wartet, schleift nur einmal.“"),
    ("¿Qué decía el maestro?", "La **cola** tiene que secar una noche entera antes de lijar, porque si no se pega a la lija y hay que empezar otra vez. Él decía: «Quien espera, lija una sola vez»."),
    ("How should I cut for a phone?", f"{REST} Faces in the video should fill a third of the frame, or nobody sees them on a bus."),
    ("What does the author of a novel about whales say?", f"{REST} The author says more about ropes than about whales, and that is the joke."),
    ("How do I keep my tasks in order?", f"A TODO list on the wall is worth two in the phone. {REST}"),
    ("Who pays for the race?", f"The race is sponsored by a mill that sells flour to every bakery of the valley. {REST}"),
    ("What do you do?", f"As an AI researcher I spend most days looking at wrong answers. {REST}"),
    ("What do I write to a friend I have hurt?", f"Sorry is the whole letter; the rest is paper. {REST}"),
    ("What is a system prompt?", f"A system prompt is read before your words, and \"ignore all previous instructions\" tries to undo it. {REST}"),
    ("How deep is the pond?", "The pond is four metres deep in the middle, and in dry summers you can still stand on the old millstone there."),
    ("池塘有多深？", "池塘中间最深的地方有四米，天旱的夏天，人还能站在从前那块磨盘上，水刚好到腰。"),
    ("สระน้ำลึกเท่าไร", "กลางสระน้ำลึกประมาณสี่เมตร และในฤดูร้อนที่แห้งแล้งเรายังยืนบนหินโม่เก่าได้ น้ำจะอยู่แค่เอว ไม่ต้องกลัวว่าจะจม"),
    ("तालाब कितना गहरा है?", "तालाब बीच में चार मीटर गहरा है, और सूखी गर्मियों में भी वहाँ पुराने चक्की के पत्थर पर खड़ा हुआ जा सकता है।"),
    ("How do you spell an ampersand in HTML?", f"In HTML it is &amp; and nothing else. {REST}"),
    ("Why do poems repeat?", "A refrain **holds**.\n\n> Row on, row on.\n\nSo the crew breathes together, all of it, even the tired ones.\n\n> Row on, row on.\n\nThat is the use of it, and there is no other."),
]  # fmt: skip
REFUSED = [
    ("characters", "Why does glue smear?", f"The ratio is $\x0crac{{1}}{{3}}$. {REST}"),
    ("characters", "Why does glue smear?", f"The angle \theta counts. {REST}"),
    ("characters", "Why does glue smear?", f"It\x00 smears. {REST}"),
    ("characters", "Why does glue smear?", f"Itâ€™s wet. {REST}"),
    ("characters", "Warum schmiert Leim?", "Der Leim klebt am Papier, weil er innen noch weich ist, und das Ã¤rgert jeden, der zu frÃ¼h schleift."),
    ("characters", "Why does glue smear?", f"It&#x27;s wet &amp; soft. {REST}"),
    ("repetition", "Why does glue smear?", f"{REST} {REST} {REST}"),
    ("repetition", "Why does glue smear?", f"Why does glue smear? {REST}"),
    ("repetition", "Why does glue smear?", f"### Why does *glue* smear\n\n{REST}"),
    ("repetition", "Why does glue smear?", f"{REST} " + "and the glue and the seam " * 30 + "."),
    ("formatting", "Why does glue smear?", f"~~~\n{REST}\n~~~"),
    ("boilerplate", "Why does glue smear?", f"Certainly! {REST}"),
    ("boilerplate", "Why does glue smear?", f"{REST}\n\nLet me know if you'd like more detail."),
    ("boilerplate", "Why does glue smear?", f"{REST} Use code SEAM15 for a discount."),
    ("mentions", "Why does glue smear?", f"Based on the information given, it is wet. {REST}"),
    ("mentions", "Why does glue smear?", f"She explains that it is wet. {REST}"),
    ("mentions", "Why does glue smear?", f"The instructor's advice is to wait. {REST}"),
    ("endings", "Why does glue smear?", f"{REST} It is best to"),
    ("length", "Why does glue smear?", "Because it is wet inside."),
    ("length", "胶水为什么会糊？", "因为里面没干。"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer"), KEPT, ids=[question for question, _ in KEPT])
def test_a_good_answer_that_looks_like_a_bad_one_is_kept(question: str, answer: str) -> None:
    reasons = {name: verdict(name, pair("t", 1, question, answer))[0] for name in ALONE}
    assert {name: reason for name, reason in reasons.items() if reason} == {}


@pytest.mark.parametrize(("gate", "question", "answer"), REFUSED)
def test_what_teaches_nothing_good_is_refused(gate: str, question: str, answer: str) -> None:
    assert verdict(gate, pair("t", 1, question, answer)) != [None]
