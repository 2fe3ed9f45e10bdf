"""
Every error this project raises on purpose.

* UnderstudyError
  x ConfigError          a preset, a flag or the machine is not ready; nothing has been written yet
  x Busy                 another run holds this channel
  x Transient            worth retrying: timeout, rate limit, dropped connection
  x SourceError          the source as a whole could not be read
    + Refused            one document cannot be used, and why; the run continues with the others
    + Blocked            the source refuses this machine for now; the other documents wait
  x TeacherError         the teacher refused, timed out or failed, for one talk
    + MalformedReply     a reply came back, but not in the requested format
    + ContentRefused     a filter refused this talk or these questions, in the server's words
    + TalkTooLong        this talk does not fit the model's window
  x TeacherStopped       no further calls are possible: wrong key, quota, budget; paid replies are kept
  x DatasetError         the pairs do not make a dataset that can be trained on
  x AssetError           a file on disk is missing, truncated or differs from its manifest
  x WorkerFailed         a subprocess that trains, exports or scores ended badly
    + Diverged           the loss became NaN: other settings, not another try
  x ExportError          the exported file is not the model it should be
"""

from collections.abc import Sequence


class UnderstudyError(Exception):
    """Base class; catch this to distinguish expected failures from bugs."""


class ConfigError(UnderstudyError):
    """The request is invalid. Lists every problem at once, so that all can be fixed together."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"- {problem}" for problem in problems))
        self.problems = list(problems)

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        """For workers on other machines, whose errors travel: made of its problems again, not of their text."""
        return ConfigError, (self.problems,)


class Busy(UnderstudyError):
    """Another run works on the same channel; the message says which process, since when."""


class Transient(UnderstudyError):
    """Worth retrying. Plugins raise this for timeouts, rate limits and dropped connections."""


class SourceError(UnderstudyError):
    """The source as a whole could not be read."""


class Refused(SourceError):
    """One document cannot be used, now or ever. The message is the reason that the ledger stores."""

    def __init__(self, reason: str, status: str = "refused", retry_seconds: float | None = None) -> None:
        """`status` is its state in the ledger; `retry_seconds` is the wait before the next attempt, None: never."""
        super().__init__(reason)
        self.status, self.retry_seconds = status, retry_seconds


class Blocked(SourceError):
    """The source refuses this machine for now: the rest of its documents wait for a later run."""


class TeacherError(UnderstudyError):
    """The teacher refused, timed out or failed."""


class MalformedReply(TeacherError):
    """The teacher answered, but not in the requested format."""


class ContentRefused(TeacherError):
    """A filter of the provider refused this talk or these questions; the next run tries again."""


class TalkTooLong(TeacherError):
    """One call is larger than the server takes; what it takes is known from then on."""


class TeacherStopped(UnderstudyError):
    """No further call is made in this run: a wrong key, an exhausted quota, the budget, too many bad replies.

    The message says what to do; every reply so far is kept, and the next run continues from there.
    """


class DatasetError(UnderstudyError):
    """The pairs do not make a dataset that can be trained on."""


class AssetError(UnderstudyError):
    """A file on disk is missing, cut short or disagrees with its manifest."""


class WorkerFailed(UnderstudyError):
    """A subprocess ended badly; the message carries the end of its log and where the rest is."""


class Diverged(WorkerFailed):
    """The loss of a training became NaN; the message says when, and what to set lower."""


class ExportError(UnderstudyError):
    """An exported file is not the model it should be."""
