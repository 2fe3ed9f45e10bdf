"""One guesser of languages and scripts."""

import pytest

from tests.unit.gates.test_gates import GERMAN, TALK
from understudy.text.language import language, scripts


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", TALK),
        ("de", GERMAN),
        ("fr", "La chaleur va toujours de la chose chaude à la chose froide, et ce n'est pas une question de temps."),
        (
            "es",
            "El calor va siempre de la cosa caliente a la cosa fría, y no es una cuestión de tiempo para los demás.",
        ),
        ("it", "Il calore va sempre dalla cosa calda alla cosa fredda, e non è una questione di tempo per gli altri."),
        ("pt", "O calor vai sempre da coisa quente para a coisa fria, e não é uma questão de tempo para os outros."),
        ("nl", "De warmte gaat altijd van het hete ding naar het koude, en dat is niet een kwestie van de tijd."),
        (
            "tr",
            "Isı her zaman sıcak olandan soğuk olana geçer ve bu yalnızca zamanla değil, ağırlıkla ilgilidir.",
        ),
        (
            "pl",
            "Ciepło zawsze płynie od rzeczy gorącej do zimnej choć każdą zimą wydaje się inaczej.",
        ),
        ("zh", "热量总是从热的东西流向冷的东西。"),
        ("ja", "熱はいつも熱いものから冷たいものへ移ります。"),
        ("cyrillic", "Тепло всегда переходит от горячего к холодному."),
    ],
)
def test_a_language_is_recognized_without_a_model(code: str, text: str) -> None:
    assert language(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "F = m · a",
        "**Newton** 1687.",
        "Rust, Python, Java.",
        "The **Schadenfreude** der anderen",  # two languages close to each other
        "Use α, β and γ here.",  # few letters of another script
    ],
)
def test_a_text_that_shows_too_little_has_no_language(text: str) -> None:
    assert language(text) is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "Water boils when it has enough heat there."),  # four words of grammar are enough
        ("ko", "열은 항상 뜨거운 것에서 차가운 것으로 이동합니다."),
        ("greek", "Η θερμότητα πηγαίνει πάντα από το ζεστό στο κρύο."),
        ("arabic", "الحرارة تنتقل دائما من الساخن إلى البارد."),
        ("tamil", "வெப்பம் எப்போதும் வெப்பத்திலிருந்து செல்கிறது."),
        ("en", "The word 熱 means heat, and it is read as netsu in the language of that country."),
    ],
)
def test_a_script_or_a_few_words_of_grammar_show_the_language(code: str, text: str) -> None:
    assert language(text) == code


def test_the_shares_of_scripts_need_twenty_letters() -> None:
    assert scripts("Тепло") == {}
    assert scripts("abcdefghijklmnopqrst " + "Теплоидёт" * 2 + "ёж") == {"LATIN": 0.5, "CYRILLIC": 0.5}
