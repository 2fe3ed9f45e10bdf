"""One talk as far as it is read. Plain records, so that a worker on another machine can return them."""

from typing import Literal, NamedTuple, get_args

from understudy.channel.ledger import Row
from understudy.records import Answers, Document, Entry, Questions
from understudy.text.words import counted

Pass = Literal["document", "questions", "answers"]
PASSES: tuple[Pass, ...] = get_args(Pass)


class ReadTalk(NamedTuple):
    """The records of one talk, and its row of the ledger; None for what is not there yet."""

    entry: Entry
    document: Document | None = None
    questions: Questions | None = None
    answers: Answers | None = None
    row: Row | None = None

    def has(self, until: Pass) -> bool:
        """Whether the talk is read as far as `until`."""
        return getattr(self, until) is not None

    def summary(self, name: Pass) -> str:
        """What a pass came to, in a few words."""
        if name == "document" and self.document:
            return f"{self.document.words:,} words in {len(self.document.paragraphs)} paragraphs"
        if name == "questions" and self.questions:
            return counted(len(self.questions.questions), "question")
        answers = self.answers.answers if self.answers else []
        return f"{sum(answer.answer is not None for answer in answers)} of {len(answers)} questions answered"

    def unanswered(self, reason: str) -> "ReadTalk":
        """The talk with a row that says why the teacher left it out."""
        return self._replace(row=self.row and self.row._replace(status="unanswered", reason=reason))

    def answered(self, answers: Answers) -> "ReadTalk":
        """The talk with its answers; a row no longer says why there were none."""
        row = self.row._replace(status="ok", reason=None) if self.row and self.row.status != "ok" else self.row
        return self._replace(answers=answers, row=row)


class ReadBatch:
    """Talks on their way to a worker and back, and why it read no more of them."""

    # An ordinary class, because Prefect takes tuples and dataclasses apart to look for futures in them.
    def __init__(self, talks: list[ReadTalk], stopped: str | None = None) -> None:
        self.talks, self.stopped = talks, stopped
