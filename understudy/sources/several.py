"""
One teacher in several places: channels, feeds and folders with one ledger and one dataset.

The first source is as it would be alone. The talks of each other one carry its key: behind an @ in their revision, and
in their id where two folders may have files of one name. So a source can be added to a home, and nothing is read again.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from understudy import registry
from understudy.config import Config
from understudy.errors import Refused
from understudy.interfaces import Source
from understudy.records import Document, Entry
from understudy.sources.sections import Sections

SOUND = "sound"
"""The folder of a channel with what was written down from sound, and sound that is being written down."""


class Part:
    """A source that is not the first: everything of it, but for the ids and revisions of its talks."""

    def __init__(self, source: Any, key: str) -> None:
        self._source, self._key = source, key

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @property
    def is_known(self) -> Callable[[str], bool]:
        """Whether an id is in the ledger."""
        return cast(Callable[[str], bool], self._source.is_known)

    @is_known.setter
    def is_known(self, known: Callable[[str], bool]) -> None:
        self._source.is_known = lambda document_id: known(self._with_key(document_id))

    def list_talks(self) -> Iterator[tuple[Entry, Refused | None]]:
        """As the source lists them, with its key."""
        for entry, refusal in self._source.list_talks():
            changes = {
                "document_id": self._with_key(entry.document_id),
                "revision": f"{entry.revision}@{self._key}",
            }
            yield entry.model_copy(update=changes), refusal

    def fetch(self, entry: Entry) -> Document:
        """As the source fetches it."""
        document: Document = self._source.fetch(self._plain(entry))
        return document.model_copy(update={"document_id": entry.document_id})

    def seconds_of_sound(self, entry: Entry) -> float | None:
        """As the source says it; None where it cannot."""
        known = getattr(self._source, "seconds_of_sound", None)
        return known(self._plain(entry)) if known else None

    def _with_key(self, document_id: str) -> str:
        return document_id if getattr(self._source, "ids_are_global", False) else f"{document_id}-{self._key}"

    def _plain(self, entry: Entry) -> Entry:
        revision = entry.revision.partition("@")[0]
        document_id = entry.document_id.removesuffix(f"-{self._key}")
        return entry.model_copy(update={"document_id": document_id, "revision": revision})


def built(config: Config, folder: Path) -> dict[str, Source]:
    """The sources of a preset by their keys, in its order. Those of one kind keep one pace. Raises ConfigError.

    `folder` is the channel's: what is written down from sound is kept there.
    """
    sources, paces = dict[str, Source](), dict[str, Any]()
    for key, spec in config.sources_by_key.items():
        source = registry.build("source", spec.use, spec.options)
        if hasattr(source, "sound_folder"):
            source.sound_folder = folder / SOUND
        if hasattr(source, "pace"):
            source.pace = paces.setdefault(spec.use, source.pace)
        if (reading := config.reading) is not None and source.complete:
            source = Sections(source, reading, folder, key)
        sources[key] = cast(Source, Part(source, key)) if key else source
    return sources
