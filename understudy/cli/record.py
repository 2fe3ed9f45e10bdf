"""Write the replies of a channel's teacher, or questions and answers from Markdown, to a file for the teacher `replay`.

With --from-markdown no model is asked: each file of that folder holds the questions and answers of one talk of the
preset and has its name. Run it again after a change of the prompts, the talks or the Markdown.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from understudy import config
from understudy.calls import recording
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS, RECORDING
from understudy.calls.written import WrittenPair, WrittenTeacher, read_folder
from understudy.cli import Result, channels
from understudy.config import Config
from understudy.deployments import packaged
from understudy.errors import ConfigError, Refused
from understudy.records import Answers, Document, Questions
from understudy.stages import extract_questions, generate_answers

EXAMPLE = "understudy record replies.jsonl --channel my-channel"


def options(p: ArgumentParser) -> None:
    p.add_argument("file", type=Path, metavar="FILE", help="where to, e.g. replies.jsonl")
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--channel", metavar="NAME", help="a folder under data/ whose teacher was called")
    source.add_argument("--from-markdown", type=Path, metavar="DIR", help="a folder of questions and answers")
    p.add_argument("--of", choices=("teacher", "verify", "judge"), default="teacher",
                   help="with --channel: whose replies (default: teacher)")  # fmt: skip
    p.add_argument("--preset", metavar="NAME|FILE", default="demo",
                   help="with --from-markdown: whose talks, and how many questions (default: demo)")  # fmt: skip
    p.add_argument("--documents", type=Path, metavar="PATH", help="with --from-markdown: the talks in this folder")


def main(args: Namespace) -> Result:
    """Write the file."""
    if args.from_markdown:
        path = {"source": {"use": "documents", "path": str(args.documents.resolve())}} if args.documents else {}
        count, note = from_markdown(args.file, args.from_markdown, config.load(packaged.preset(args.preset), path))
    else:
        folder, note = channels.folder(args.home, args.channel), ""
        with channels.locked(folder):
            count = _recorded(folder if args.of == "teacher" else folder / args.of, args.file)
    section = "evaluate.judge" if args.of == "judge" else args.of
    play = f"--set '{section}={{use: replay, file: {args.file}}}'"
    return Result(f"{count} replies in {args.file}{note}; replay them with: {play}", {"replies": count})


def from_markdown(file: Path, folder: Path, preset: Config) -> tuple[int, str]:
    """How many replies about the talks of `preset` were written to `file`, and which Markdown has no talk, in words.

    Raises ConfigError when a talk has no Markdown or loses a question or an answer on the way.
    """
    written = read_folder(folder)
    documents = {Path(document.locator).stem: document for document in _documents(preset)}
    missing = [name for name in documents if name not in written]
    if missing:
        raise ConfigError([f"{folder} has no file {name}.md for the talk of that name" for name in missing])
    with TemporaryDirectory() as home:
        _reply(Path(home), documents, written, preset)
        count = _recorded(Path(home), file)
    extra = [f"{name}.md" for name in written if name not in documents]
    return count, f" (without a talk in this source: {', '.join(extra)})" if extra else ""


def _documents(preset: Config) -> list[Document]:
    source = preset.plugin("source", preset.source)
    if problems := source.problems():
        raise ConfigError(problems)
    documents = []
    for entry, _ in source.list_talks():
        try:
            documents.append(source.fetch(entry))
        except Refused:
            continue  # a run refuses it too, and asks nothing about it
    return documents


def _reply(
    home: Path, documents: Mapping[str, Document], written: Mapping[str, Sequence[WrittenPair]], preset: Config
) -> None:
    """Let both passes over each talk ask for what is written, and keep the calls in `home`."""
    teacher = WrittenTeacher({document.document_id: written[name] for name, document in documents.items()})
    teacher.begin(home)
    lost: list[str] = []
    try:
        for name, document in documents.items():
            questions = extract_questions.extract(document, teacher, preset.questions)
            answers = generate_answers.answer(document, questions, teacher, preset.answers)
            lost += _lost(name, len(written[name]), questions, answers)
    finally:
        teacher.close()
    if lost:
        raise ConfigError(lost)


def _lost(name: str, count: int, questions: Questions, answers: Answers) -> list[str]:
    """What of the `count` pairs did not come back as pairs."""
    failed = [f"{name}.md: answer {a.question_number}: {a.failed}" for a in answers.answers if a.failed]
    if (kept := len(questions.questions)) == count:
        return failed
    why = ", ".join(f"{number} {reason}" for reason, number in questions.dropped.items())
    advice = "; lower questions.seconds_per_question" if "more than asked for" in questions.dropped else ""
    return [f"{name}.md: pass 1 keeps {kept} of {count} questions ({why}){advice}", *failed]


def _recorded(folder: Path, file: Path) -> int:
    ledger = CallLedger(folder / CALLS)
    try:
        return recording.record(ledger, file, **json.loads(ledger.note(RECORDING) or "{}"))
    finally:
        ledger.close()
