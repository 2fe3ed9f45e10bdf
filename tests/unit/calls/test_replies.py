"""Laws of reading replies: nothing that was cut passes, nothing that is whole is lost, markdown stays as it is."""

import json
import random

import pytest

from understudy.calls import Finish, Reply
from understudy.calls.replies import Parsed, parse

PIECES = [
    "**Heat** moves from hot to cold.",
    "\n\n",
    "- one\n- two\n",
    "1. first\n2. second",
    'He said "no", twice.',
    " {x} ",
    "[0] ",
    '`a = {"b": [1, 2, ]}`',
    '```json\n{"question_number": 2, "text": "fake"}\n```',
    "\\",
    "\\n",
    "\t",
    "日本語。",
    "é",
    "😀",
    "use {",
    "},{",
    "]}",
    ", ]",
    "\u2028",
    "'",
    '"',
    "end.",
    " <b>html</b> ",
    "$x_{1}$",
]


def reply(text: str, finish: Finish = "stop", refusal: str | None = None) -> Reply:
    return Reply(text=text, finish=finish, refusal=refusal)


def written(answers: dict[int, str], **how: object) -> str:
    return json.dumps({"items": [{"question_number": n, "text": text} for n, text in answers.items()]}, **how)


def read(text: str, numbers: range | list[int] = range(1, 100), finish: Finish = "stop") -> dict[int, str]:
    return {item.question_number: item.text for item in answers_of(text, numbers, finish).items}


def answers_of(text: str, numbers: range | list[int] = range(1, 100), finish: Finish = "stop") -> Parsed:
    return parse(reply(text, finish), "answers", list(numbers))


def random_answers(seed: int, most: int = 4) -> dict[int, str]:
    rng = random.Random(seed)
    texts = ("".join(rng.choices(PIECES, k=rng.randint(1, 12))).strip() or "x" for _ in range(rng.randint(1, most)))
    return dict(enumerate(texts, 1))


@pytest.mark.parametrize("seed", range(60))
def test_a_cut_reply_never_yields_an_answer_that_differs_from_the_true_one(seed: int) -> None:
    answers = random_answers(seed)
    full = written(answers, ensure_ascii=seed % 2 == 0, indent=(None, 1, None)[seed % 3])
    text = ("", "```json\n", "Here you are:\n", '<think>short {"</think>')[seed % 4] + full
    for end in range(len(text) + 1):
        for finish in ("cut", "length", "stop"):
            result = read(text[:end], finish=finish)
            assert result.items() <= answers.items()
    assert result == answers


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_that_was_closed_before_the_cut_is_kept(seed: int) -> None:
    answers = random_answers(seed)
    text = written(answers)
    ends, at = [], 0
    for number, answer in answers.items():
        entry = json.dumps({"question_number": number, "text": answer})
        at = text.index(entry, at) + len(entry)
        ends.append(at)
    for end in range(len(text)):
        assert len(read(text[:end], finish="length")) == sum(e <= end for e in ends)


@pytest.mark.parametrize("seed", range(40))
def test_what_stands_around_a_reply_changes_nothing(seed: int) -> None:
    answers = random_answers(seed)
    bare = [{"question_number": str(n), "text": t} for n, t in answers.items()]
    for text in (
        written(answers),
        json.dumps(bare),
        f"As paragraph [0] says:\n```json\n{written(answers)}\n```\nI hope this helps [1].",
        f"<think>\nmaybe [1] or {{2}}, {written({1: 'draft'})}\n</think>\n\n{written(answers)}",
        f"maybe {written({1: 'draft'})}\n</think>\n\n{written(answers)}",
        written(answers).replace("]}", "],}") if "]}" not in str(answers) else written(answers),
        "\n".join(map(json.dumps, bare)),
        json.dumps({"answers": bare}),
        "[" + ",".join(json.dumps(entry)[:-1] + ",}" for entry in bare) + ",]",
        written(answers, ensure_ascii=False).replace("\\n", "\n") if "\\" not in str(answers.values()) else "[]",
    ):
        if text != "[]":
            assert read(text) == answers, text


def test_raw_line_breaks_in_a_string_are_read() -> None:
    assert read('{"items":[{"question_number":1,"text":"One.\n\n- a\n- b"}]}') == {1: "One.\n\n- a\n- b"}


def test_unescaped_quotes_are_read_where_the_next_number_shows_the_end() -> None:
    answers = {1: "a", 2: "he said HI to me, HI", 3: "c HI"}
    expected = {number: text.replace("HI", '"hi"') for number, text in answers.items()}
    text = written(answers).replace("HI", '"hi"')
    assert read(text) == expected and read(f"```json\n{text}\n```") == expected
    assert read(text[:-2], finish="length").items() <= {1: "a"}.items() | {3: expected[3]}.items()


def test_an_unescaped_quote_in_another_shape_costs_its_own_answer_only() -> None:
    text = json.dumps([{"question_number": n, "text": t} for n, t in {1: "a", 2: "he said HI to me", 3: "c"}.items()])
    result = answers_of(text.replace("HI", '"hi"'))
    assert [item.question_number for item in result.items] == [1, 3]
    assert result.defects == {"malformed": 1}


def test_markdown_is_kept_character_by_character() -> None:
    text = "**Heat** rises.\n\n- a\n  - b\n\n```python\nx = {'a': [1, ]}\n```\n\n1. one\n2. two  \nend"
    assert read(written({4: f"\n {text}\n\n"})) == {4: text}


@pytest.mark.parametrize(("entries", "kept", "defects"), [
    ([(1, "a"), (5, "b")], {1: "a"}, {"unasked": 1}),
    ([(1, "a"), (1, "b"), (2, "c")], {2: "c"}, {"doubled": 1}),
    ([(1, "a"), (1, " a ")], {1: "a"}, {}),
    ([(1, " \n"), (2, None), (3, "c")], {3: "c"}, {"empty": 2}),
    ([(1, "a <think>b</think>"), (2, "a</think> c")], {}, {"thinking": 2}),
    ([(1, "a<|im_end|>"), (2, "b</s>"), (3, "<start_of_turn>c")], {}, {"template": 3}),
    ([(1, "the <s> tag strikes <s>out</s> a word | <|> |")], {1: "the <s> tag strikes <s>out</s> a word | <|> |"}, {}),
    ([(True, "a"), (1.5, "b"), ("one", "c"), (None, "d"), (2, [1]), (3, "\ud83d")], {}, {"malformed": 6}),
    ([(1, "..."), (2, "a\x01b"), (3, "…")], {}, {"empty": 2, "control": 1}),
    ([("2", "a"), (" 3 ", "b")], {2: "a", 3: "b"}, {}),
    ([], {}, {"malformed": 1}),
])  # fmt: skip
def test_each_defect_is_dropped_and_counted(entries: list, kept: dict[int, str], defects: dict[str, int]) -> None:
    result = answers_of(json.dumps([{"question_number": n, "text": t} for n, t in entries]), [1, 2, 3])
    assert {item.question_number: item.text for item in result.items} == kept
    assert result.defects == defects


@pytest.mark.parametrize(("text", "defects"), [
    ("", {"empty": 1}),
    ("I am not sure what you want.", {"malformed": 1}),
    ('{"error": "busy"}', {"malformed": 1}),
    ("null", {"malformed": 1}),
    ("<think>and so on and", {"thinking": 1}),
    ('{"items":[{"question_number":1,"text":"half of', {"cut": 1}),
    ("[" * 100_000, {"malformed": 1}),
    ('{"question_number":' + "9" * 5000 + ',"text":"a"}', {"malformed": 1}),
])  # fmt: skip
def test_a_reply_without_any_answer_says_why(text: str, defects: dict[str, int]) -> None:
    assert answers_of(text, [1]) == ([], defects, {})


def test_an_entry_that_was_cut_is_counted_once() -> None:
    text = written({1: "a", 2: "b", 3: "c"})
    assert answers_of(text[:-8], finish="length").defects == {"cut": 1}
    assert answers_of(text[:-2], finish="length").defects == {}
    assert len(answers_of(text[:-2], finish="length").items) == 3


def test_a_refusal_is_told_for_every_number_asked() -> None:
    result = parse(reply("", "refused", "I cannot help with that."), "answers", [3, 9])
    assert result == ([], {"refused": 1}, {3: "I cannot help with that.", 9: "I cannot help with that."})
    assert parse(reply("", "refused"), "answers", [3]).refused[3]
    assert parse(reply("No.", "refused"), "answers", [3]).refused == {3: "No."}


def test_answers_closed_before_a_filter_stepped_in_are_kept() -> None:
    result = parse(reply(written({1: "a", 2: "b"})[:-6], "refused", "filtered"), "answers", [1, 2])
    assert [item.question_number for item in result.items] == [1]
    assert result.refused == {2: "filtered"}


@pytest.mark.parametrize(("text", "question", "tags", "first", "last"), [
    ("Why?\ntags: Yeast, gas\nparagraphs: 3-5", "Why?", ["yeast", "gas"], 3, 5),
    ("Why?\r\nTags: a; b\r\nParagraphs: [3]-[5]", "Why?", ["a", "b"], 3, 5),
    ("Why?\ntags: a\nparagraphs: 3–5", "Why?", ["a"], 3, 5),
    ("Why?\ntags: a\nparagraphs: 3", "Why?", ["a"], 3, 3),
    ("Why?\ntags: a\nparagraphs: 5 to 3", "Why?", ["a"], 3, 5),
    ("Why?\n**tags:** #a, \"b\"\n**paragraphs:** 0", "Why?", ["a", "b"], 0, 0),
    ("Why? tags: a, b paragraphs: 1-2", "Why?", ["a", "b"], 1, 2),
    ("Why?\\ntags: a\\nparagraphs: 1-2", "Why?", ["a"], 1, 2),
    ("Why?\nparagraphs: 1\ntags: a, b, c, d, a", "Why?", ["a", "b", "c"], 1, 1),
    ("Why?\ntags:\nparagraphs: all of it", "Why?", [], None, None),
    ("7. Why?", "Why?", [], None, None),
    ("Why are\ntwo lines one?", "Why are two lines one?", [], None, None),
    ("What do HTML tags: <b>, <i> do?", "What do HTML tags: <b>, <i> do?", [], None, None),
    ("为什么？\ntags：酵母，糖\nparagraphs：2", "为什么？", ["酵母", "糖"], 2, 2),
])  # fmt: skip
def test_a_question_is_read_with_what_its_other_lines_tell(
    text: str, question: str, tags: list[str], first: int | None, last: int | None
) -> None:
    (item,) = parse(reply(written({7: text})), "questions", []).items
    assert item.question_number == 7
    assert (item.text, item.tags, item.first_paragraph, item.last_paragraph) == (question, tags, first, last)


def test_questions_without_a_first_line_are_dropped() -> None:
    assert parse(reply(written({1: "tags: a\nparagraphs: 1"})), "questions", []).items == []


ANSWERS = {1: "**Heat** leaves.\n\nIt waits.", 2: "A second one.", 3: "And the last."}
SHAPES = {
    "numbers with a point": [{"question_number": f"{n}.", "text": t} for n, t in ANSWERS.items()],
    "numbers with a letter": [{"question_number": f"Q{n}", "text": t} for n, t in ANSWERS.items()],
    "numbers with a word": [{"question_number": f"Question {n}:", "text": t} for n, t in ANSWERS.items()],
    "numbers with a sign": [{"question_number": f"#{n}", "text": t} for n, t in ANSWERS.items()],
    "numbers as floats": [{"question_number": float(n), "text": t} for n, t in ANSWERS.items()],
    "an object by number": {str(n): t for n, t in ANSWERS.items()},
    "a named object by number": {"answers": {f"Q{n}": t for n, t in ANSWERS.items()}},
    "an object of objects": {str(n): {"text": t} for n, t in ANSWERS.items()},
    "other names": [{"questionNumber": n, "answer": t} for n, t in ANSWERS.items()],
    "the only other string": {"items": [{"question_number": n, "reply": t} for n, t in ANSWERS.items()]},
    "with the question": [{"id": n, "question": f"What is {n}?", "answer": t} for n, t in ANSWERS.items()],
    "paragraphs": {"items": [{"question_number": n, "text": t.split("\n\n")} for n, t in ANSWERS.items()]},
    "a string": json.dumps({"items": [{"question_number": n, "text": t} for n, t in ANSWERS.items()]}),
    "nested": [{"question_number": n, "text": t, "meta": {"tags": ["a"]}} for n, t in ANSWERS.items()],
    "a wrapper with an id": {"id": 7, "items": [{"question_number": n, "text": t} for n, t in ANSWERS.items()]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_can_be_read_in_one_way_is_read(shape: str) -> None:
    text = json.dumps(SHAPES[shape])
    assert read(text, [1, 2, 3]) == ANSWERS
    if shape != "a string":
        for around in ("Here they are:\n%s", "```json\n%s\n```", "%s That is all."):
            assert read(around % text, [1, 2, 3]) == ANSWERS


@pytest.mark.parametrize("text", [
    written(ANSWERS).replace('"question_number"', "“question_number”").replace('"text"', "“text”"),
    f'I reply in the form {{"items":[{{"question_number":1,"text":"..."}}]}}:\n{written(ANSWERS)}',
    f"<|channel|>analysis<|message|>{written({1: 'draft'})}<|end|><|start|>assistant<|channel|>final<|message|>"
    + written(ANSWERS),
])  # fmt: skip
def test_what_a_model_says_besides_the_list_is_no_part_of_it(text: str) -> None:
    assert read(text, [1, 2, 3]) == ANSWERS


@pytest.mark.parametrize(("raw", "expected"), [
    (r"$\frac{1}{4}$ and $\theta$ of \text{warm} air", r"$\frac{1}{4}$ and $\theta$ of \text{warm} air"),
    (r"$\alpha$, $\sum x$ and $\beta$", r"$\alpha$, $\sum x$ and $\beta$"),
    (r"$\nabla T \neq 0$, $\nu$ is small", r"$\nabla T \neq 0$, $\nu$ is small"),
    (r"Line one.\nuntil here", "Line one.\nuntil here"),
    (r"a\tb\n\n- one\n- two", "a\tb\n\n- one\n- two"),
    (r"$\\frac{1}{2}$ \u00e9", r"$\frac{1}{2}$ é"),
    (r"It\'s \r\n fine", "It's \r\n fine"),
    (r"In C:\Users\ann\notes\tools.txt it lies.", r"In C:\Users\ann\notes\tools.txt it lies."),
    (r"In C:\\Users\\ann it lies.\n\nThere.", "In C:\\Users\\ann it lies.\n\nThere."),
    (r"It is D:\temp\nThen you look.", "It is D:\\temp\nThen you look."),
    (r"\usr is no code point", r"\usr is no code point"),
])  # fmt: skip
def test_a_single_backslash_is_what_it_was_meant_to_be(raw: str, expected: str) -> None:
    result = answers_of('{"items":[{"question_number":1,"text":"' + raw + '"}]}', [1])
    assert [item.text for item in result.items] == [expected]
    assert result.defects.keys() <= {"escape"}


@pytest.mark.parametrize("question", [r"What does $\nabla T$ mean?", r"Where is C:\temp\new\notes?"])
def test_a_backslash_in_a_question_is_no_line_break(question: str) -> None:
    (item,) = parse(reply(written({1: f"{question}\ntags: a\nparagraphs: 1-2"})), "questions", []).items
    assert (item.text, item.tags) == (question, ["a"])


def test_entities_are_read_outside_code() -> None:
    assert read(written({1: "It&#39;s cheap &amp; quick.", 2: "Write `&amp;` there."})) == {
        1: "It's cheap & quick.",
        2: "Write `&amp;` there.",
    }
