"""What people change of a preset: the options of `understudy run`, and the first group of a deployment's form."""

from pathlib import Path
from typing import Any

from pydantic import Field

from understudy.channel.ledger import SOURCE, Ledger
from understudy.config import Config, changed
from understudy.errors import ConfigError
from understudy.sections import Settings
from understudy.sources import youtube_address
from understudy.sources.documents import channel_name

KEYS = {
    "teacher": "teacher.use",
    "model": "teacher.model",
    "base": "base",
    "learning_rate": "trainer.learning_rate",
    "epochs": "trainer.epochs",
    "rank": "trainer.rank",
    "questions": "questions.at_most",
}
"""Change > its key in a preset."""


class Changes(Settings):
    """What is left empty stays as the preset has it."""

    documents: str | None = Field(default=None, description="a folder of talks, or one file; data/ is named after it")
    channel: str | None = Field(default=None, description="a YouTube channel, playlist or video: handle or address")
    teacher: str | None = Field(default=None, description="who writes questions and answers: auto, openai, ...")
    model: str | None = Field(default=None, description="the teacher's model")
    base: str | None = Field(default=None, description="the model to tune: a name on the hub, a folder, a .gguf file")
    learning_rate: float | None = Field(default=None, gt=0, description="of the training")
    epochs: float | None = Field(default=None, gt=0, description="how often the training sees each row")
    rank: int | None = Field(default=None, ge=1, description="of the adapter: how much it can learn")
    questions: int | None = Field(default=None, ge=1, description="the most questions of one talk")

    def settings(self, home: Path) -> dict[str, Any]:
        """The same as 'section.key' > value. Raises ConfigError."""
        if self.documents and self.channel:
            raise ConfigError(["documents and channel: take one of them"])
        settings: dict[str, Any] = {}
        if self.documents:
            path = Path(self.documents)
            settings |= {"source": {"use": "documents", "path": str(path.resolve())}, "name": channel_name(path)}
        if self.channel:
            settings |= {"source.use": "youtube", "source.channel": self.channel}
            settings["name"] = _channel_folder(home, self.channel)
        values = {key: getattr(self, name) for name, key in KEYS.items()}
        return settings | {key: value for key, value in values.items() if value is not None}

    def applied(self, config: Config, home: Path) -> Config:
        """`config` with these changes. Raises ConfigError."""
        settings = self.settings(home)
        return changed(config, settings) if settings else config


NOTHING = Changes()


def _channel_folder(home: Path, channel: str) -> str:
    """The name of a channel's folder; one that an older version named keeps its name."""
    name, old = youtube_address.folder_name(channel), youtube_address.old_folder_name(channel)
    if old == name or not (home / "data" / old / "ledger.sqlite").exists() or (home / "data" / name).exists():
        return name
    owner = Ledger(home / "data" / old / "ledger.sqlite").note(SOURCE)
    return old if owner in (None, youtube_address.identity(channel)) else name
