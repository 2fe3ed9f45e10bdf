"""Laws of placing answers: none stands under a question that it does not answer, whatever its number says."""

import random
from collections.abc import Callable

import pytest

from understudy.calls.likeness import Asked, Claim, doubtful, place

THINGS = (
    "brass lamp;oak bench;clay pot;felt hat;tin whistle;paper kite;wool sock;glass bowl;iron gate;straw basket".split(
        ";"
    )
)
QUESTIONS = {n: f"How do you mend a {thing} at home?" for n, thing in enumerate(THINGS, 1)}
ANSWERS = {
    n: f"Clean the **{thing}** first, since dirt hides the damage.\n\nThen glue what is loose; leave the {thing} alone."
    for n, thing in enumerate(THINGS, 1)
}
ASKED = Asked(QUESTIONS)
Damage = Callable[[random.Random, list[int]], list[Claim]]


def claims(numbers: list[int], texts: list[int]) -> list[Claim]:
    return [Claim(number, ANSWERS[text]) for number, text in zip(numbers, texts, strict=True)]


def kept(damaged: list[Claim], asked: Asked = ASKED, whole: bool = True) -> dict[int, str]:
    return place(damaged, asked, whole).texts


def from_zero(rng: random.Random, all_: list[int]) -> list[Claim]:
    return claims([n - 1 for n in all_], all_)


def rotated(rng: random.Random, all_: list[int]) -> list[Claim]:
    turn = rng.randrange(1, len(all_))
    return claims(all_, all_[turn:] + all_[:turn])


def skipped(rng: random.Random, all_: list[int]) -> list[Claim]:
    gone = rng.randrange(len(all_) - 1)
    texts = all_[:gone] + all_[gone + 1 :]
    return claims(all_[: len(texts)], texts)


def merged(rng: random.Random, all_: list[int]) -> list[Claim]:
    at = rng.randrange(len(all_) - 1)
    texts = [ANSWERS[n] for n in all_]
    texts[at : at + 2] = [f"{texts[at]}\n\n{texts[at + 1]}"]
    return [Claim(n, text) for n, text in zip(all_, texts, strict=False)]


def doubled(rng: random.Random, all_: list[int]) -> list[Claim]:
    at = rng.randrange(1, len(all_))
    return claims([n if n < at else n - 1 for n in all_], all_)


def shifted(rng: random.Random, all_: list[int]) -> list[Claim]:
    """The numbers fit, and from some entry on each text is the next one's; the last one is said again."""
    at = rng.randrange(len(all_) - 3)
    return claims(all_, [*all_[:at], *all_[at + 1 :], all_[-1]])


def renamed(rng: random.Random, all_: list[int]) -> list[Claim]:
    """Each entry says which question it answers, and its number says another."""
    return [Claim(n % len(all_) + 1, ANSWERS[n], QUESTIONS[n]) for n in all_]


@pytest.mark.parametrize("damage", [from_zero, rotated, skipped, merged, doubled, shifted, renamed])
@pytest.mark.parametrize("seed", range(10))
def test_no_text_stands_under_a_question_that_it_does_not_answer(damage: Damage, seed: int) -> None:
    rng = random.Random(seed)
    texts = kept(damage(rng, sorted(ANSWERS)))
    assert all(THINGS[number - 1] in text for number, text in texts.items())
    if damage in (from_zero, rotated, doubled, renamed):
        assert texts == ANSWERS, "nothing that is sure is paid for again"


@pytest.mark.parametrize("seed", range(10))
def test_what_is_in_order_is_kept_whole_also_when_some_are_missing(seed: int) -> None:
    rng = random.Random(seed)
    assert kept(claims(sorted(ANSWERS), sorted(ANSWERS))) == ANSWERS
    some = sorted(rng.sample(sorted(ANSWERS), 8))
    assert kept(claims(some, some)) == {n: ANSWERS[n] for n in some}
    assert kept(claims([1, 2], [1, 2]), whole=False) == {n: ANSWERS[n] for n in (1, 2)}


def test_answers_that_share_no_word_with_any_question_stay_where_they_are() -> None:
    texts = {n: f"Quite so, {n * 'very '}much." for n in QUESTIONS}
    assert kept([Claim(n, text) for n, text in texts.items()]) == texts


def test_a_repair_numbered_from_one_is_never_kept_under_the_wrong_number() -> None:
    repair = Asked(
        {n: QUESTIONS[n] for n in (2, 3)}, [QUESTIONS[n] for n in QUESTIONS if n not in (2, 3)], [*ANSWERS.values()]
    )
    assert kept(claims([1, 2], [2, 3]), repair).items() <= ANSWERS.items()
    assert (
        2 not in kept(claims([1, 2], [2, 3]), Asked(repair.questions)) or ANSWERS[2] == kept(claims([1, 2], [2, 3]))[2]
    )


def test_one_text_for_all_numbers_is_kept_for_none_or_for_its_own() -> None:
    assert kept(claims(sorted(ANSWERS), [1] * len(ANSWERS))).items() <= {1: ANSWERS[1]}.items()


def test_an_echo_of_the_first_words_confirms_its_number() -> None:
    echoed = [Claim(n, ANSWERS[n], " ".join(QUESTIONS[n].split()[:7])) for n in ANSWERS]
    assert kept(echoed) == ANSWERS


def test_only_what_may_be_misplaced_is_doubtful() -> None:
    assert doubtful(ANSWERS, ASKED) == set()
    wrong = dict(ANSWERS) | {n: ANSWERS[n + 1] for n in range(3, 10)}
    assert set(range(3, 10)) <= doubtful(wrong, ASKED) <= set(range(3, 11))
