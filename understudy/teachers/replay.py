"""Recorded replies of a real teacher: the same words again, offline and for nothing."""

from typing import Any

from pydantic import Field

from understudy.calls import Transport, prompting
from understudy.calls.model_teacher import ModelOptions, ModelTeacher
from understudy.calls.prices import FREE, Usd
from understudy.calls.recording import PASSES, Header, ReplayTransport, read_header
from understudy.errors import ConfigError
from understudy.sections import located


class ReplayTeacher(ModelTeacher):
    """A recording under the label, settings and caps of the teacher it comes from."""

    class Options(ModelOptions):
        """Options under `teacher:` in a preset. What decided the recorded words is as it was recorded."""

        file: str = Field(min_length=1, description="a recording; relative to the current folder; or package:NAME/FILE")

    VERSION = 1
    INDIFFERENT = {"temperature", "seed", "answer_tokens", "thinking_tokens", "context_window", "max_usd"}

    def __init__(self, options: Options) -> None:
        self.file = located(options.file)
        self._wrong: list[str] = []
        try:
            self.header = read_header(self.file)
        except ConfigError as error:
            self._wrong = error.problems
            self.header = Header(label="replay", model="none", prompts={})
        self.label, self.model = self.header.label, self.header.model
        caps = {"answer_tokens": self.header.answer_tokens, "thinking_tokens": self.header.thinking_tokens}
        super().__init__(options.model_copy(update=caps))

    def problems(self) -> list[str]:
        """What makes it unusable: no recording there, or one of other prompts than these."""
        if problems := [*prompting.problems(self.prompts), *self._wrong]:
            return problems
        changed = [kind for kind in PASSES if self.header.prompts.get(kind) != prompting.sha256(kind, self.prompts)]
        if not changed:
            return []
        return [
            f"teacher.file: the replies in {self.file} were recorded with other prompts for {' and '.join(changed)}; "
            "put those prompt files back, or record the teacher again"
        ]

    def window(self) -> int | None:
        """What of a talk the recorded teacher took at once, so that the parts are the same."""
        return self.header.window

    def _kept(self, key: str) -> int:
        """How many replies to this key are in the ledger: a run that resumes wants the next one."""
        count = 0
        while self._ledger and self._ledger.reply(key, count):
            count += 1
        return count

    def _transport(self) -> Transport:
        return ReplayTransport(self.file, self._kept)

    def usd(self) -> Usd:
        """Nothing: the words were paid for when they were recorded."""
        return FREE.usd

    def _settings(self) -> dict[str, Any]:
        return self.header.settings
