"""The teacher of pairs that are there already: it asks what is asked in them, and answers with their answers."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from understudy.calls.prompting import estimated_tokens
from understudy.interfaces import Progress, ReplyItem, TeacherReply, TeacherRequest

BETWEEN = "\n"


class GivenTeacher:
    """Gives the pairs of a document from the source `pairs`, word for word; costs nothing."""

    class Options(BaseModel):
        """None."""

        model_config = ConfigDict(extra="forbid")

    VERSION = 1
    label, deterministic, prompted, batches = "given", True, False, False

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """Always empty."""
        return []

    def prompt_sha256(self, kind: str) -> str | None:
        """Always None: it reads no prompt."""
        return None

    def begin(self, folder: Path) -> None:
        """Nothing: its replies cost nothing."""

    def submit_batch(self, requests: Iterable[TeacherRequest], progress: Progress) -> int:
        """Nothing: its replies are there."""
        return 0

    def window(self) -> int | None:
        """Always None: a document of any length."""
        return None

    def tokens(self, text: str) -> int:
        """An estimate."""
        return estimated_tokens(text)

    def reply(self, request: TeacherRequest) -> TeacherReply:
        """The document's questions, or their answers."""
        pairs = [paragraph.text.partition(BETWEEN)[::2] for paragraph in request.document.paragraphs]
        if request.kind == "questions":
            return TeacherReply(items=[
                ReplyItem(question_number=at, text=question, first_paragraph=at - 1, last_paragraph=at - 1)
                for at, (question, _) in enumerate(pairs, 1)
            ])  # fmt: skip
        answers = dict(pairs)
        return TeacherReply(items=[
            ReplyItem(question_number=question.question_number, text=answers[question.question])
            for question in request.questions if question.question in answers
        ])  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""
