"""The teacher of pairs that are there already: it asks what is asked in them, and answers with their answers."""

from pydantic import BaseModel, ConfigDict

from understudy.interfaces import ReplyItem, TeacherReply, TeacherRequest
from understudy.readers.pair_files import BETWEEN
from understudy.teachers.free import FreeTeacher


class GivenTeacher(FreeTeacher):
    """Gives the pairs of a document from the source `pairs`, word for word; costs nothing."""

    class Options(BaseModel):
        """None."""

        model_config = ConfigDict(extra="forbid")

    VERSION = 1
    label = "given"

    def __init__(self, options: Options) -> None:
        self.options = options

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
