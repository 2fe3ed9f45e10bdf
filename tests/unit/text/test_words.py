# ruff: noqa: E501
"""Laws of words, sentences and lengths: the same notion in every script."""

import pytest

from understudy.text.words import TERMINALS, ends_sentence, sentences, unspaced, word_count, words

# The first article of the Universal Declaration of Human Rights: one text of 30 English words.
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
    "and should act towards one another in a spirit of brotherhood.",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、"
    "互いに同胞の精神をもって行動しなければならない。",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर "
    "उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в "
    "отношении друг друга в духе братства.",
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı "
    "kardeşlik zihniyeti ile hareket etmelidirler.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen "
    "einander im Geist der Brüderlichkeit begegnen.",
}  # fmt: skip


@pytest.mark.parametrize("code", ARTICLE)
def test_the_same_text_has_about_the_same_length_in_every_language(code: str) -> None:
    assert 0.6 <= word_count(ARTICLE[code]) / word_count(ARTICLE["en"]) <= 1.4


@pytest.mark.parametrize("code", [code for code in ARTICLE if code != "th"])
def test_sentences_are_found_in_every_script_that_marks_them(code: str) -> None:
    first, second = sentences(ARTICLE[code])
    assert first[-1] in TERMINALS and ends_sentence(first) and ends_sentence(second)
    assert not ends_sentence(first[:-1])


def test_a_script_without_marks_always_ends_well() -> None:
    assert ends_sentence(ARTICLE["th"])


def test_a_semicolon_asks_in_greek_alone() -> None:
    assert ends_sentence("Πόσο κοστίζει;") and not ends_sentence("How much;")


@pytest.mark.parametrize(("text", "expected"), [
    ("हिन्दी में", ["हिन्दी", "में"]),
    ("Don't re-use l’été", ["don't", "re-use", "l’été"]),
    ("面团醒", ["面团", "团醒"]),
    ("水", ["水"]),
    ("用AI做饭", ["用", "ai", "做饭"]),
    ("", []),
    ("—…!", []),
])  # fmt: skip
def test_words_keep_their_marks_and_unspaced_scripts_give_pairs(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("Das ist gut. Ärzte sagen nein.", ["Das ist gut.", "Ärzte sagen nein."]),
    ("Was z. B. Regen heißt. Ja.", ["Was z. B. Regen heißt.", "Ja."]),
    ("Er sagt „gut.“ Dann geht er.", ["Er sagt „gut.“", "Dann geht er."]),
    ("「好。」他说。再见", ["「好。」", "他说。", "再见"]),
    ("هل هذا بيت؟ نعم.", ["هل هذا بيت؟", "نعم."]),
    ("It is 3.5 m. See e.g. Dr. Smith.", ["It is 3.5 m. See e.g. Dr. Smith."]),
    ("One. Two! three", ["One.", "Two! three"]),
])  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_only_scripts_without_spaces_are_unspaced() -> None:
    assert unspaced("ok 水") and unspaced("ไทย")
    assert not unspaced("한국어 हिन्दी עברית")
