"""Near-duplicates are found, and questions that only look alike are left alone."""

import pytest

from benchmarks.duplicates import background, labelled
from understudy.text.similarity import components, near_duplicates

OTHERS = [f"How does the {a} of a {b} change?" for a in ("weight", "colour", "sound") for b in ("bell", "tree", "lens")]


def linked(*questions: str) -> bool:
    return (0, 1) in set(near_duplicates([*questions, *OTHERS], 0.7))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Why does a cup of tea cool fastest at the start?", "Why does the cup of tea cool fastest at the start?"),
        ("Why does bread dough rise in a warm kitchen?", "Why does bread dough rise in warm kitchens?"),
        ("How does soap clean grease off your hands?", "How does soap clean grease off hands?"),
    ],
)
def test_the_same_question_in_nearly_the_same_words_is_found(a: str, b: str) -> None:
    assert linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What helps people with type 1 diabetes sleep well?", "What helps people with type 2 diabetes sleep well?"),
        ("Should I eat before a long run in the morning?", "Should I not eat before a long run in the morning?"),
        ("Why does insulin rise after a large meal at night?", "Why does insulin fall after a large meal at night?"),
        ("What does hypertension do to the heart?", "What does hypotension do to the heart?"),
        ("What practical advice is there about tea?", "What practical advice is there about bread?"),
    ],
)
def test_questions_one_word_apart_in_meaning_are_two(a: str, b: str) -> None:
    assert not linked(a, b)


def test_components_join_what_is_linked_and_nothing_else() -> None:
    assert components(6, [(0, 1), (1, 4), (2, 3)]) == [0, 0, 2, 2, 0, 5]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How does fasting lower insulin in the morning?", "How does fasting reduce insulin in the morning?"),
        ("Why does photosynthesis need sunlight in plants?", "Why does photosynthesis need sunligth in plants?"),
        ("Why does a bridge arch stand in winter?", "In winter, why does a bridge arch stand?"),
        ("How does the morning sun affect deep sleep?", "How is deep sleep affected by the morning sun?"),
        ("Warum geht der Teig im Ofen auf?", "Warum geht denn der Teig im Ofen auf?"),
    ],
)
def test_a_question_reworded_is_the_same(a: str, b: str) -> None:
    assert linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Does salt pull water out of cells?", "Does water pull salt out of cells?"),
        ("How did Newton explain the colours of light?", "How did Goethe explain the colours of light?"),
        ("When should bread dough rest in a bowl?", "Where should bread dough rest in a bowl?"),
        ("How long should bread dough rest?", "How often should bread dough rest?"),
        ("Should I run with shoes on grass?", "Should I run without shoes on grass?"),
        ("Is red wine healthy at dinner?", "Is red wine unhealthy at dinner?"),
        ("Kann man Tee am Abend trinken?", "Kann man Tee nicht am Abend trinken?"),
        ("Why is the left lung smaller?", "Why is the right lung smaller?"),
    ],
)
def test_a_name_an_order_or_an_opposite_makes_two_questions(a: str, b: str) -> None:
    assert not linked(a, b)


def test_two_words_that_both_occur_elsewhere_are_no_typo() -> None:
    more = ["What is a casual link?", "What is a causal link?", "Is a casual remark rude?", "Is a causal remark rude?"]
    assert not list(near_duplicates([*more, *OTHERS], 0.7))


def test_a_question_asked_a_thousand_times_is_paired_with_its_first_only() -> None:
    assert len(list(near_duplicates(["Why does bread dough rise?"] * 1000, 0.7))) == 999


def test_a_slip_that_many_make_is_still_a_slip_of_a_word_that_everyone_writes() -> None:
    usual = [f"Why does the {name} material change?" for name in ("bell", "lens")]
    often = [f"Why does it matter in case {number}?" for number in range(1200)]
    slips = ["Why do bells mattter at sea?", "Why do trees mattter in towns?"]
    meant = ["Why do bells matter at sea?", "Why do trees matter in towns?"]
    result = set(near_duplicates([*meant, *slips, *usual, *often], 0.7))
    assert {(0, 2), (1, 3)} <= result


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How does vinegar prevent milk from curdling?", "How does vinegar stop milk from curdling?"),
        ("How long should clay dry in the shade?", "How much time should clay dry in the shade?"),
        ("Is an e-bike faster than a horse?", "Is an ebike faster than a horse?"),
        ("Can you explain how a steam engine pulls a train?", "How does a steam engine pull a train?"),
        ("What are the main benefits of cold showers?", "What are the key advantages of cold showers?"),
        ("Is smoke bad for wool?", "Is smoke harmful for wool?"),
        ("How does light control whether seeds sprout?", "How does light influence whether seeds sprout?"),
        ("Which colour does brass have in grey light?", "Which color does brass have in gray light?"),
        ("When should I quit watering grapes?", "When should I stop watering grapes?"),
        ("How does oil stop rust?", "How does oil prevent rust?"),
    ],
)
def test_an_opener_a_synonym_or_another_spelling_asks_the_same(a: str, b: str) -> None:
    assert linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What does C do at the start of a program?", "What does C++ do at the start of a program?"),
        ("Who wrote C for the first time?", "Who wrote C# for the first time?"),
        ("How are records written in F?", "How are records written in F#?"),
        ("What does == do in a shell?", "What does === do in a shell?"),
        ("Why would I learn .NET this year?", "Why would I learn net this year?"),
        ("What does a / b give in Python?", "What does a // b give in Python?"),
        ("When is an A/B test fair?", "When is a B test fair?"),
        ("What is a temperature of -5 degrees like?", "What is a temperature of 5 degrees like?"),
        ("How heavy is a load of 1.5 tons?", "How heavy is a load of 5.1 tons?"),
    ],
)
def test_a_sign_that_is_part_of_a_name_makes_two_questions(a: str, b: str) -> None:
    assert not linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Зачем солить воду для риса?", "Зачем не солить воду для риса?"),
        ("Ska man salta vattnet till riset?", "Ska man inte salta vattnet till riset?"),
        ("Suyu tuzlamak doğru mu?", "Suyu tuzlamak doğru değil mi?"),
        ("Çocuklar neden bugün koşuyor?", "Çocuklar neden bugün koşmuyor?"),
        ("马可以吃苹果吗？", "马不可以吃苹果吗？"),
        ("馬はりんごを食べますか？", "馬はりんごを食べませんか？"),
        ("هل يجب تمليح الماء للأرز؟", "هل لا يجب تمليح الماء للأرز؟"),
        ("क्या पानी में नमक डालना चाहिए?", "क्या पानी में नमक नहीं डालना चाहिए?"),
        ("Trebuie să sărez apa?", "Nu trebuie să sărez apa?"),
        ("Apakah air harus diberi garam?", "Apakah air tidak harus diberi garam?"),
        ("Czy należy solić wodę?", "Czy nie należy solić wody?"),
        ("말은 사과를 먹어요?", "말은 사과를 안 먹어요?"),
        ("ม้ากินแอปเปิลได้ไหม", "ม้าไม่กินแอปเปิลได้ไหม"),
    ],
)
def test_a_negation_in_any_language_makes_two_questions(a: str, b: str) -> None:
    assert not linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("茶叶为什么要泡三分钟？", "为什么茶叶要泡三分钟？"),
        ("なぜお茶は三分待つのですか？", "お茶はなぜ三分待つのですか？"),
        ("찻잎은 왜 세 분 우리나요?", "왜 찻잎은 세 분 우리나요?"),
        ("请解释一下茶叶是怎么做的？", "茶叶是怎么做的？"),
        ("Wie lange soll Ton im Schatten trocknen?", "Wie viel Zeit soll Ton im Schatten trocknen?"),
        ("Wie wirkt Ton auf Salz?", "Können Sie mir erklären, wie Ton auf Salz wirkt?"),
        ("Pouvez-vous expliquer comment sèche l'argile ?", "Comment sèche l'argile ?"),
    ],
)
def test_word_order_and_openers_are_forgiven_in_other_languages(a: str, b: str) -> None:
    assert linked(a, b)


@pytest.mark.parametrize(
    ("a", "b"), [("盐比糖贵吗？", "糖比盐贵吗？"), ("犬は猫より速いですか？", "猫は犬より速いですか？")]
)
def test_who_does_what_to_whom_counts_without_spaces_too(a: str, b: str) -> None:
    assert not linked(a, b)


@pytest.mark.parametrize("language", sorted({pair.language for pair in labelled()}))
def test_no_labelled_trap_is_joined_and_most_that_ask_the_same_are(language: str) -> None:
    pairs = [pair for pair in labelled() if pair.language == language]
    links = set(near_duplicates([text for pair in pairs for text in pair[:2]] + background(language), 0.7))
    joined = [(2 * at, 2 * at + 1) in links for at in range(len(pairs))]
    assert not [pair for pair, together in zip(pairs, joined, strict=True) if together and not pair.same]
    assert sum(joined) >= 0.5 * sum(pair.same for pair in pairs)
