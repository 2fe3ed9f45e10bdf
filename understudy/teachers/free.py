"""What teachers without a model have in common: nothing to set up, to wait for or to pay."""

from collections.abc import Iterable
from pathlib import Path

from understudy.calls.prompting import estimated_tokens
from understudy.interfaces import Progress, TeacherRequest


class FreeTeacher:
    """Reads a talk of any length, and gives the same reply to the same request. A subclass has `label` and `reply`."""

    deterministic, prompted, batches = True, False, False

    def problems(self) -> list[str]:
        """Always empty: there is no key, no network and no model to miss."""
        return []

    def prompt_sha256(self, kind: str) -> str | None:
        """Always None: it reads no prompt."""
        return None

    def begin(self, folder: Path) -> None:
        """Nothing: its replies cost nothing."""

    def submit_batch(self, requests: Iterable[TeacherRequest], progress: Progress) -> int:
        """Nothing: its replies are cheap."""
        return 0

    def window(self) -> int | None:
        """Always None: it reads a talk of any length."""
        return None

    def tokens(self, text: str) -> int:
        """An estimate; it counts no tokens itself."""
        return estimated_tokens(text)

    def close(self) -> None:
        """Nothing is open."""
