"""A prompt that was cut is noticed, and no language is taken for one."""

from typing import Any

import pytest

from understudy.calls import Call, Usage, prompting
from understudy.calls.prompt_check import PromptCheck
from understudy.errors import TeacherStopped

SENTENCES = {
    "en": "The kettle is still hot, and that is why the tea in it cools more slowly than the tea in a cup. ",
    "de": "Der Kessel ist noch heiß, und deshalb kühlt der Tee darin langsamer ab als der Tee in einer Tasse. ",
    "fi": "Kattila on yhä kuuma, joten tee jäähtyy siinä hitaammin kuin kupissa pöydällä ikkunan vieressä. ",
    "hi": "केतली अभी भी गरम है, इसलिए उसमें चाय प्याले की चाय से धीरे ठंडी होती है। ",
    "ta": "கெண்டி இன்னும் சூடாக இருப்பதால் அதில் உள்ள தேநீர் மெதுவாக ஆறுகிறது. ",
    "ka": "ჩაიდანი ჯერ კიდევ ცხელია და ამიტომ მასში ჩაი უფრო ნელა ცივდება. ",
    "zh": "水壶还是热的，所以里面的茶比杯子里的茶凉得慢。",
}
INSTRUCTION = "Answer each of these questions in the language of the talk, with the words of the speaker. " * 10


def call(code: str, size: int, name: str = "talk", more: str = "") -> Call:
    """A call about a talk of `size` estimated tokens, about."""
    one = prompting.estimated_tokens(SENTENCES[code])
    lines = "\n\n".join(f"[{at}] {SENTENCES[code] * 10}" for at in range(max(1, size // (10 * one))))
    messages = ({"role": "system", "content": "Be exact."}, {"role": "user", "content": lines + INSTRUCTION + more})
    tokens = prompting.estimated_tokens("".join(message["content"] for message in messages))
    return Call("answers", f"{name}-{code}", "l", "m", messages, None, {}, 900, (1,), tokens, 300)


def counts(check: PromptCheck, *reads: tuple[Call, float]) -> str | None:
    """The sentence it stops with after these (call, tokens per estimated token); None when it does not."""
    try:
        for one, ratio in reads:
            check.read(one, Usage(input=round(one.input_tokens * ratio)))
    except TeacherStopped as stopped:
        return str(stopped)
    return None


@pytest.mark.parametrize(
    ("code", "ratio"), [("en", 0.8), ("de", 1.0), ("fi", 1.4), ("hi", 0.5), ("ta", 0.45), ("ka", 0.5), ("zh", 0.6)]
)
def test_no_language_is_stopped_at_its_first_call_nor_after_another(code: str, ratio: float) -> None:
    assert counts(PromptCheck("l"), (call(code, 6000), ratio)) is None
    before: list[tuple[Call, float]] = [(call("en", 4000), 0.83), (call("hi", 5000), 1.6), (call("zh", 3000), 1.0)]
    assert counts(PromptCheck("l"), *before, (call(code, 9000), ratio), (call(code, 9500, "next"), ratio)) is None


def test_a_cut_of_most_of_a_talk_is_seen_at_the_first_call() -> None:
    stopped = counts(PromptCheck("ollama/toy"), (call("en", 12_000), 0.33))
    assert stopped and "OLLAMA_CONTEXT_LENGTH" in stopped and "teacher.context_window" in stopped


def test_a_cut_of_a_quarter_is_seen_at_the_second_call_on_the_talk() -> None:
    check, first = PromptCheck("l"), call("en", 6000)
    second = call("en", 6000, more="And a list of questions that is four hundred tokens long. " * 28)
    check.read(first, Usage(input=4800))
    with pytest.raises(TeacherStopped, match="same talk"):
        check.read(second, Usage(input=4800))


def test_the_same_call_again_counts_the_same_and_is_no_sign() -> None:
    check = PromptCheck("l")
    for _ in range(4):
        check.read(call("en", 6000), Usage(input=5000))


@pytest.mark.parametrize("code", ["en", "hi"])
def test_a_count_at_the_size_of_a_window_is_a_cut_where_fewer_tokens_came_than_usual(code: str) -> None:
    for counted in (4096, 4093):
        with pytest.raises(TeacherStopped, match="size of a usual context window"):
            PromptCheck("l").read(call(code, 6000), Usage(input=counted))
    PromptCheck("l").read(call("en", 4700), Usage(input=4094))


def test_talks_of_a_language_are_measured_by_each_other() -> None:
    whole = [(call("hi", size, str(size)), 1.0) for size in (3000, 4000, 5000)]
    assert counts(PromptCheck("l"), *whole, (call("hi", 9000), 0.6))
    assert counts(PromptCheck("l"), *whole, (call("hi", 9000), 0.8)) is None


def test_a_prompt_well_below_the_largest_count_was_not_cut() -> None:
    large = call("en", 20_000, "large")
    assert counts(PromptCheck("l"), (large, 0.83), (call("en", 9000, "cached"), 0.2)) is None


def test_three_talks_of_different_lengths_with_one_count_were_cut() -> None:
    check = PromptCheck("l")
    talks = [call("fi", size, f"talk {size}") for size in (5000, 5600, 6200)]
    for one in talks[:2]:
        check.read(one, Usage(input=5000))
    with pytest.raises(TeacherStopped, match="other talks"):
        check.read(talks[2], Usage(input=5000))


def test_counts_that_come_together_by_chance_are_no_sign() -> None:
    check: Any = PromptCheck("l")
    check.read(call("en", 9000, "long"), Usage(input=7600))
    for size in (5000, 5100, 5300):
        check.read(call("en", size, str(size)), Usage(input=4300))


def test_a_server_that_counts_nothing_or_a_short_prompt_says_nothing() -> None:
    PromptCheck("l").read(call("en", 9000), Usage(input=0))
    PromptCheck("l").read(call("en", 100), Usage(input=5))
