"""What people change of a preset: the options of `understudy run`, and the first group of a deployment's form."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, WithJsonSchema, model_serializer

from understudy.channel.ledger import SOURCE, Ledger
from understudy.config import Config, changed
from understudy.errors import ConfigError
from understudy.sections import Settings
from understudy.sources import youtube_address
from understudy.sources.documents import channel_name
from understudy.sources.podcast import feed_name

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


Words = Annotated[str | None, WithJsonSchema({"type": "string"})]
Number = Annotated[float | None, WithJsonSchema({"type": "number"})]
Count = Annotated[int | None, WithJsonSchema({"type": "integer"})]
"""Not `anyOf` with null, for which a form has two buttons: a field that is left empty is not sent."""


def _may_be_left_out(schema: dict[str, Any]) -> None:
    del schema["default"]


def _change(description: str, **limits: Any) -> Any:
    return Field(default=None, description=description, json_schema_extra=_may_be_left_out, **limits)


MOST_PAIRS = 1000  # of one talk, for pairs that are there already


class Changes(Settings):
    """What is left empty stays as the preset has it."""

    documents: Words = _change("a folder of talks, or one file; data/ is named after it")
    pairs: Words = _change("questions and answers that are there already: .jsonl, .json, .csv, .tsv, or a folder")
    channel: Words = _change("a YouTube channel, playlist or video: handle or address; several with spaces between")
    podcast: Words = _change("a podcast: the address of its feed")
    teacher: Words = _change("who writes questions and answers: auto, openai, ...")
    model: Words = _change("the teacher's model")
    base: Words = _change("the model to tune: a name on the hub, a folder, a .gguf file")
    learning_rate: Number = _change("of the training", gt=0)
    epochs: Number = _change("how often the training sees each row", gt=0)
    rank: Count = _change("of the adapter: how much it can learn", ge=1)
    questions: Count = _change("the most questions of one talk", ge=1)

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    def settings(self, home: Path) -> dict[str, Any]:
        """The same as 'section.key' > value. Raises ConfigError."""
        others = [name for name in ("channel", "podcast", "documents") if getattr(self, name)]
        if self.pairs and others:
            raise ConfigError([f"pairs and {' and '.join(others)}: pairs are there already, talks have none; take one"])
        settings = self._of_sources(home)
        if self.pairs:
            path = Path(self.pairs)
            settings |= {"source": {"use": "pairs", "path": str(path.resolve())}, "name": channel_name(path)}
            settings |= {"teacher": {"use": "given"}, "questions": {"seconds_per_question": 1, "at_most": MOST_PAIRS}}
        values = {key: getattr(self, name) for name, key in KEYS.items()}
        return settings | {key: value for key, value in values.items() if value not in (None, "")}

    def _of_sources(self, home: Path) -> dict[str, Any]:
        """Channels, feed and folder in this order: the first gives its name to the home's folder."""
        channels = list(dict.fromkeys((self.channel or "").split()))
        found = [({"use": "youtube", "channel": one}, _channel_folder(home, one)) for one in channels]
        if self.podcast:
            found.append(({"use": "podcast", "feed": self.podcast}, feed_name(self.podcast)))
        if self.documents:
            path = Path(self.documents)
            found.append(({"use": "documents", "path": str(path.resolve())}, channel_name(path)))
        if not found:
            return {}
        name = found[0][1]
        if len(found) > 1:
            return {"sources": [source for source, _ in found], "source": found[0][0], "name": name}
        source = found[0][0]
        if source["use"] == "youtube":  # its other options stay as the preset has them
            return {f"source.{key}": value for key, value in source.items()} | {"name": name}
        return {"source": source, "name": name}

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
