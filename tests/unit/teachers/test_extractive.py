"""Laws of the teacher that quotes, on a small talk of our own."""

import re

import pytest

from understudy.errors import TeacherError
from understudy.interfaces import TeacherReply, TeacherRequest
from understudy.records import Document, Paragraph, Question
from understudy.registry import build, option_problems
from understudy.text.words import words

TALK = [
    "Welcome back, everyone. [Music] Today I have a kettle beside me, and we are going to talk about limescale.",
    "What is the white crust in a kettle made of? The white crust is chalk that came out of the water. "
    "Limescale is the hard layer of chalk that hot water leaves behind when it loses its gas. Rain picks up the chalk "
    "from the rock it runs through. The chalk stays dissolved as long as the water is cold and holds some gas. "
    "Think of sugar in cold tea that nobody has stirred. Heat drives the gas out, and then the chalk has to settle.",
    "Why does limescale make a kettle slow? Limescale makes a kettle slow because chalk carries heat badly. "
    "A layer as thin as a coin can waste a tenth of the electricity. The metal below the crust gets hotter and hotter, "
    "while the water above it waits. So a clean kettle is also a cheap kettle. Think of wearing a coat in a warm bath. "
    "The warmth is there, but it cannot reach you through the cloth.",
    "How can you remove limescale from a kettle? There are three ways to remove limescale from a kettle. "
    "First, fill it with water and a spoon of citric acid, and leave it for an hour. Second, boil a cup of vinegar "
    "in it, and open the window before you do. Third, scrape the loose flakes away with a wooden spoon. The acid turns "
    "the chalk back into something that dissolves, so rinse twice and drink none of it. A kettle "
    "that is cleaned every month "
    "never needs force.",
    "But why is that? When the water of a town comes from deep rock, every kettle in the street grows a crust. "
    "Soft water is water that holds very little chalk. A filter with resin beads swaps the chalk for salt, "
    "and the kettle stays bright for years. The filter fills up in time, and then it must be washed with strong salt "
    "water. Test your water with a paper strip before you buy one, because soft water needs no filter at all.",
]


@pytest.fixture(scope="module")
def teacher():
    return build("teacher", "extractive", {})


def document(paragraphs: list[str], **more) -> Document:
    fields = {"document_id": "limescale", "title": "Kettles", "locator": "k.txt", "how": "test", "language": "en"}
    return Document(paragraphs=[Paragraph(text=text) for text in paragraphs], **{**fields, **more})


def captions() -> Document:
    """The talk as recognised speech gives it: no capital, no full stop."""
    spoken = " ".join(word for text in TALK for word in words(text.replace("[Music]", "")))
    cut = spoken.split()
    return document([" ".join(cut[at : at + 110]) for at in range(0, len(cut), 110)])


def ask(teacher, talk: Document, count: int = 12) -> list[Question]:
    reply = teacher.reply(TeacherRequest(kind="questions", document=talk, count=count))
    return [
        Question(
            question_number=item.question_number,
            question=item.text,
            tags=item.tags,
            first_paragraph=item.first_paragraph,
            last_paragraph=item.last_paragraph,
        )
        for item in reply.items
    ]


def answer(teacher, talk: Document, questions: list[Question]) -> TeacherReply:
    return teacher.reply(TeacherRequest(kind="answers", document=talk, questions=questions))


@pytest.fixture(scope="module")
def pairs(teacher):
    talk = document(TALK)
    questions = ask(teacher, talk)
    reply = answer(teacher, talk, questions)
    assert questions
    assert not reply.refused
    return [(question, item.text) for question, item in zip(questions, reply.items, strict=True)]


def plain(text: str) -> list[str]:
    return words(re.sub(r"^\d+\. |^- ", "", text, flags=re.M))


def test_the_talks_own_questions_come_out_as_asked(teacher):
    questions = [question.question for question in ask(teacher, document(TALK))]
    assert "What is the white crust in a kettle made of?" in questions
    assert "How can you remove limescale from a kettle?" in questions


def test_a_definition_becomes_what_is(teacher):
    assert "What is soft water?" in [question.question for question in ask(teacher, document(TALK))]


def test_questions_are_numbered_in_the_order_of_the_talk(pairs):
    assert [question.question_number for question, _ in pairs] == list(range(1, len(pairs) + 1))
    places = [question.first_paragraph for question, _ in pairs]
    assert places[0] <= places[-1]


def test_every_question_stands_alone(pairs):
    for question, _ in pairs:
        assert question.question.endswith("?")
        assert not re.search(r"\b(this|these|that is|talk|speaker|video|transcript|lecture)\b", question.question, re.I)
        assert len(words(question.question)) >= 3
        assert 1 <= len(question.tags) <= 3


def test_a_question_without_a_referent_is_not_asked(teacher):
    assert not [q for q in ask(teacher, document(TALK)) if "that?" in q.question]


def test_answers_keep_to_the_length_of_the_options(pairs):
    for question, text in pairs:
        assert 60 <= len(plain(text)) <= 160, question.question


def test_answers_are_paragraphs_with_bold_terms_and_an_end(pairs):
    for question, text in pairs:
        blocks = text.split("\n\n")
        assert 2 <= len(blocks) <= 4, question.question
        bold = re.findall(r"\*\*([^*]+)\*\*", text)
        assert 1 <= len(bold) <= 4
        assert all(re.fullmatch(r"[\w'’ -]+", term) for term in bold)
        assert text.count("**") == 2 * len(bold)
        assert text.rstrip("*")[-1] in '.!"”'


def test_an_enumeration_is_a_numbered_list(teacher):
    talk = document(TALK)
    questions = [q for q in ask(teacher, talk) if q.question == "How can you remove limescale from a kettle?"]
    text = answer(teacher, talk, questions).items[0].text
    assert re.findall(r"^(\d)\. [A-Z]", text, re.M) == ["1", "2", "3"]
    assert "First" not in text


def test_answers_only_quote(teacher):
    talk = document(TALK)
    spoken = " ".join(plain(talk.text))
    for item in answer(teacher, talk, ask(teacher, talk)).items:
        for line in re.split(r"(?<=[.!?])\s+", re.sub(r"\*\*|^\d+\. ", "", item.text, flags=re.M)):
            assert " ".join(words(line)) in spoken


def test_greetings_and_noise_are_never_quoted(pairs):
    for _, text in pairs:
        assert "welcome" not in text.lower()
        assert "Music" not in text


def test_no_sentence_is_in_more_than_two_answers_and_no_two_answers_are_equal(pairs):
    texts = [text.replace("**", "") for _, text in pairs]
    assert len(set(texts)) == len(texts)
    seen: dict[str, int] = {}
    for text in texts:
        for line in set(re.split(r"(?<=[.!?])\s+", re.sub(r"^\d+\. ", "", text, flags=re.M))):
            seen[line] = seen.get(line, 0) + 1
    assert max(seen.values()) <= 2


def test_the_same_request_gets_the_same_reply(teacher):
    talk = document(TALK)
    request = TeacherRequest(kind="questions", document=talk, count=6)
    assert teacher.reply(request) == build("teacher", "extractive", {}).reply(request)


def test_a_change_of_the_text_is_seen_under_the_same_id(teacher):
    changed = [text.replace("limescale", "rust").replace("Limescale", "Rust") for text in TALK]
    assert ask(teacher, document(changed)) != ask(teacher, document(TALK))


def test_no_more_questions_than_wanted(teacher):
    assert len(ask(teacher, document(TALK), count=2)) == 2


def test_a_talk_too_short_for_one_answer_has_no_question(teacher):
    assert ask(teacher, document(["Welcome back.", "What is rust? Rust is iron that has met damp air."])) == []


def test_a_question_of_somebody_else_is_answered_or_refused_in_words(teacher):
    talk = document(TALK)
    fine = Question(question_number=7, question="Does a filter keep the kettle bright?")
    reply = answer(teacher, talk, [fine])
    assert [item.question_number for item in reply.items] == [7] or "words" in reply.refused[7]


@pytest.mark.parametrize("text", ["[Music]", "...", "um", "WELCOME", "42 17 (", "?"])
def test_a_talk_without_a_sentence_is_no_error(teacher, text):
    talk = document([text])
    assert ask(teacher, talk) == []
    assert list(answer(teacher, talk, [Question(question_number=3, question="What is rust?")]).refused) == [3]


def test_captions_without_full_stops_are_refused_with_the_reason(teacher):
    with pytest.raises(TeacherError, match="no full stops"):
        ask(teacher, captions())


def test_another_language_is_refused_by_name(teacher):
    with pytest.raises(TeacherError, match="'de'"):
        ask(teacher, document(TALK, language="de"))


def test_a_long_talk_is_asked_as_many_questions_as_wanted(teacher):
    # Each copy has nouns of its own, or nearly all questions would be duplicates.
    copies = "abcdefghijklmnopqr"
    long = [re.sub("(kettle|water|chalk|crust)", rf"\1{copy}", text) for copy in copies for text in TALK]
    talk = document(long)
    assert talk.words > 6000
    questions = ask(teacher, talk, count=40)
    assert len(questions) == len(answer(teacher, talk, questions).items) == 40


def test_options_that_leave_no_room_are_named():
    problems = option_problems("teacher", "extractive", {"min_answer_words": 100, "max_answer_words": 110})
    assert problems
    assert "must exceed" in problems[0]
