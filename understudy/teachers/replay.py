"""Recorded replies of a real teacher: the same words again, offline and for nothing."""

from pathlib import Path
from typing import Any

from pydantic import Field

from understudy.calls import Transport, prompting
from understudy.calls.chat import ChatTransport
from understudy.calls.model_teacher import ModelOptions, ModelTeacher
from understudy.calls.prices import FREE, Usd
from understudy.calls.recording import PASSES, Header, ReplayServer, read_header
from understudy.errors import ConfigError

ROOT = Path(__file__).parents[2]


class ReplayTeacher(ModelTeacher):
    """A recording, asked over HTTP like the teacher it comes from, whose label, settings and caps it keeps."""

    class Options(ModelOptions):
        """Options under `teacher:` in a preset. What decided the recorded words is as it was recorded."""

        file: str = Field(min_length=1, description="a recording; relative to where you are, or to the checkout")

    VERSION = 1
    INDIFFERENT = {"temperature", "seed", "answer_tokens", "thinking_tokens", "context_window", "max_usd"}

    def __init__(self, options: Options) -> None:
        self.file = Path(options.file) if Path(options.file).exists() else ROOT / options.file
        self._wrong: list[str] = []
        try:
            self.header = read_header(self.file)
        except ConfigError as error:
            self._wrong = error.problems
            self.header = Header(label="replay", model="none", prompts={})
        self.label, self.model = self.header.label, self.header.model
        caps = {"answer_tokens": self.header.answer_tokens, "thinking_tokens": self.header.thinking_tokens}
        super().__init__(options.model_copy(update=caps))
        self._server: ReplayServer | None = None

    def problems(self) -> list[str]:
        """What makes it unusable: no recording there, or one of other prompts than these."""
        found = prompting.problems()
        if found or self._wrong:
            return [*found, *self._wrong]
        changed = [kind for kind in PASSES if self.header.prompts.get(kind) != prompting.sha256(kind)]
        if not changed:
            return []
        return [
            f"teacher.file: the replies in {self.file} were recorded with other prompts for {' and '.join(changed)}; "
            "put those prompt files back, or record the teacher again"
        ]

    def begin(self, folder: Path) -> None:
        """Answer from the recording from now on. Raises ConfigError when it cannot be read."""
        self._stop_server()
        self._server = ReplayServer(self.file, self._given)
        try:
            super().begin(folder)
        except BaseException:
            self._stop_server()
            raise

    def close(self) -> None:
        """Stop the server too."""
        super().close()
        self._stop_server()

    def window(self) -> int | None:
        """What of a talk the recorded teacher took at once, so that the parts are the same."""
        return self.header.window

    def _stop_server(self) -> None:
        if self._server:
            self._server.close()
        self._server = None

    def _given(self, key: str) -> int:
        """How many replies to this key are in the ledger: a run that goes on wants the next one."""
        count = 0
        while self._ledger and self._ledger.reply(key, count):
            count += 1
        return count

    def _transport(self) -> Transport:
        assert self._server, "begin() comes first"
        return ChatTransport(self.model, self._server.url, openai=False)

    def usd(self) -> Usd:
        """Nothing: the words were paid for when they were recorded."""
        return FREE.usd

    def _settings(self) -> dict[str, Any]:
        return self.header.settings
