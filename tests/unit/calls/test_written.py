"""What people wrote as Markdown becomes a recording like a model's; the sample channel's pairs are fit for training."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from understudy.calls.written import WrittenPair, read, read_folder
from understudy.cli import main
from understudy.cli.record import from_markdown
from understudy.config import Config, load
from understudy.errors import ConfigError
from understudy.records import Answers, Document, Pair, Questions
from understudy.sources.documents import DocumentsSource
from understudy.stages import extract_questions, gate, generate_answers
from understudy.teachers.replay import ReplayTeacher
from understudy.text.markdown import well_formatted

ROOT = Path(__file__).resolve().parents[3]
DEPLOYMENTS = ROOT / "deployments"
ANSWERS = DEPLOYMENTS / "sample_channel_answers"
WRITTEN = read_folder(ANSWERS)
EVERY = [(f"{name}#{pair.number}", pair) for name, pairs in WRITTEN.items() for pair in pairs]


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both folders of the sample channel as one."""
    folder = tmp_path_factory.mktemp("talks")
    for file in DEPLOYMENTS.glob("sample_channel/**/[0-9]*.[vs][tr]t"):
        shutil.copy(file, folder)
    return folder


def preset(talks: Path, seconds_per_question: int = 24) -> Config:
    changes = {
        "source": {"use": "documents", "path": str(talks)},
        "questions.seconds_per_question": seconds_per_question,
    }
    return load(DEPLOYMENTS / "presets/demo.yaml", changes)


def documents(talks: Path) -> dict[str, Document]:
    source = DocumentsSource(DocumentsSource.Options(path=talks))
    return {Path(entry.locator).stem: source.fetch(entry) for entry in source.entries()}


def replayed(file: Path, talks: Path, home: Path) -> dict[str, tuple[Document, Questions, Answers]]:
    """Both passes of the teacher `replay` over every talk, by the talk's name."""
    teacher, config = ReplayTeacher(ReplayTeacher.Options(file=str(file))), preset(talks)
    assert teacher.problems() == []
    teacher.begin(home)
    try:
        result = {}
        for name, document in documents(talks).items():
            questions = extract_questions.extract(document, teacher, config.questions)
            answers = generate_answers.answer(document, questions, teacher, config.answers)
            result[name] = document, questions, answers
        return result
    finally:
        teacher.close()


@pytest.fixture(scope="module")
def passes(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Document, Questions, Answers]]:
    home = tmp_path_factory.mktemp("replayed")
    assert from_markdown(home / "replies.jsonl", ANSWERS, preset(talks)) == (2 * len(WRITTEN), "")
    return replayed(home / "replies.jsonl", talks, home)


def test_every_talk_of_the_sample_channel_has_its_answers_and_they_are_many(talks: Path) -> None:
    assert WRITTEN.keys() == documents(talks).keys() and len(WRITTEN) >= 24
    assert all(12 <= len(pairs) <= 14 for pairs in WRITTEN.values()) and len(EVERY) >= 330


def test_a_recording_from_markdown_replays_word_for_word(
    passes: dict[str, tuple[Document, Questions, Answers]],
) -> None:
    for name, (document, questions, answers) in passes.items():
        texts = [(q.question, a.answer) for q, a in zip(questions.questions, answers.answers, strict=True)]
        assert texts == [(pair.question, pair.answer) for pair in WRITTEN[name]] and not answers.repaired
        for question in questions.questions:
            first, last = question.first_paragraph, question.last_paragraph
            assert question.tags and first is not None and last is not None
            assert 0 <= first <= last < len(document.paragraphs)


def test_every_pair_of_the_sample_channel_passes_the_gates_of_the_demo(
    passes: dict[str, tuple[Document, Questions, Answers]], talks: Path
) -> None:
    config = preset(talks)
    texts = {document.document_id: document.text for document, _, _ in passes.values()}
    gates = [(spec.use, config.plugin("gate", spec)) for spec in config.gates]
    for _, one in gates:
        one.text_of = texts.__getitem__
    pairs = [pair for document, *both in passes.values() for pair in gate.join(document, "0" * 64, *both)]
    judged: list[Pair] = gate.judge(pairs, gates, lambda *_: None)
    assert len(judged) == len(EVERY)
    assert [(pair.pair_id, pair.gate, pair.reason) for pair in judged if not pair.kept] == []


def test_no_question_is_asked_twice() -> None:
    counts = Counter(" ".join(re.findall(r"\w+", pair.question.casefold())) for _, pair in EVERY)
    assert [question for question, count in counts.items() if count > 1] == []


def test_no_answer_repeats_a_sentence_of_another() -> None:
    places: dict[str, set[str]] = {}
    for name, pair in EVERY:
        plain = re.sub(r"\*\*|^(?:[0-9]+\.|-) ", "", pair.answer, flags=re.MULTILINE)
        for sentence in re.split(r"(?<=[.!?])\s+", plain):
            places.setdefault(sentence, set()).add(name)
    assert {sentence: names for sentence, names in places.items() if len(names) > 1} == {}


def test_every_answer_has_the_form_that_the_student_is_to_learn() -> None:
    for name, pair in EVERY:
        assert 60 <= len(pair.answer.split()) <= 130 and well_formatted(pair.answer), name
        assert 1 <= pair.answer.count("**") / 2 <= 3 and pair.answer.endswith("."), name


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# Nothing\n", "has no question"),
        ("## 1. Why?\n\nSo.\n\n## 3. How?\n\nLike this.\n", r"the numbers are \[1, 3\]"),
        ("## 1. Why?\ntags: a\nparagraphs: 1-2\n\n## 2. How?\n\nSo.\n", "question 1 has no answer"),
    ],
)
def test_a_gap_or_a_missing_answer_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(text)
    (tmp_path / "b.md").write_text("## 2. Why?\n\nSo.\n")
    with pytest.raises(ConfigError, match=problem) as error:
        read_folder(tmp_path)
    assert len(error.value.problems) == 2


def test_tags_and_paragraphs_may_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("# A\n\n## 1. Why?\n\nSo.\n\n## Not a question\n\nMore.\n## 2. How?\nparagraphs: 1-2\n\n- Like.\n")
    assert read(file) == [
        WrittenPair(1, "Why?", "", "So.\n\n## Not a question\n\nMore."),
        WrittenPair(2, "How?", "paragraphs: 1-2", "- Like."),
    ]


def test_a_question_that_pass_1_would_drop_is_refused_before_it_is_lost(talks: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"02-.*keeps 10 of 13 questions .*more than asked for"):
        from_markdown(tmp_path / "replies.jsonl", ANSWERS, preset(talks, seconds_per_question=30))
    assert not (tmp_path / "replies.jsonl").exists()


def test_the_verb_names_a_talk_without_markdown(
    talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = tmp_path / "answers"
    some.mkdir()
    shutil.copy(ANSWERS / "01-why-tea-cools.md", some)
    file = str(tmp_path / "replies.jsonl")
    assert main(["record", file, "--from-markdown", str(some), "--documents", str(talks)]) == 2
    assert "no file 02-how-a-lever-multiplies-force.md" in capsys.readouterr().err


def test_the_verb_names_markdown_without_a_talk(
    talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "01-why-tea-cools.md").write_text("## 1. Why does tea cool?\n\nBecause **heat** leaves it.\n")
    shutil.copy(ANSWERS / "26-how-a-clock-keeps-time.md", tmp_path)
    source = ["--from-markdown", str(tmp_path), "--documents", str(talks / "01-why-tea-cools.vtt")]
    assert main(["record", str(tmp_path / "replies.jsonl"), *source]) == 0
    assert "(without a talk in this source: 26-how-a-clock-keeps-time.md)" in capsys.readouterr().out


def test_the_recording_that_ships_is_what_the_markdown_gives(tmp_path: Path) -> None:
    """After a change of the prompts, talks or answers: `understudy record` as the README beside them says."""
    assert main(["record", str(tmp_path / "replies.jsonl"), "--from-markdown", str(ANSWERS)]) == 0
    assert (tmp_path / "replies.jsonl").read_bytes() == (DEPLOYMENTS / "sample_replies.jsonl").read_bytes()
