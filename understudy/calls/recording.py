"""
The replies of a channel as one file, and a transport that gives them again.

A recording is JSON Lines: first a header (who wrote it, with which settings and prompts), then one
line per finished reply, those of one key in their order. It holds no key, header or address, and
nothing of the talks but what the teacher said of them.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from understudy.calls import Call, CapTooLarge, Finish, Reply, Usage, prompting
from understudy.calls.ledger import CallLedger
from understudy.errors import AssetError, ConfigError, TeacherStopped
from understudy.records import Record

PASSES = ("questions", "answers")


class Header(Record):
    """The first line of a recording: what decides the keys of its calls besides the talks."""

    recording: Literal[1] = Field(default=1, description="version of the format")
    label: str = Field(description="who wrote the replies")
    model: str
    settings: dict[str, Any] = Field(default={}, description="temperature, seed, reasoning_effort where they were set")
    answer_tokens: int = Field(default=900, description="cap of one answer")
    thinking_tokens: int = 0
    window: int | None = Field(default=None, description="tokens of a talk that were taken at once")
    prompts: dict[str, str] = Field(description="pass > digest of its prompt")


class Line(Record):
    """One finished reply."""

    key: str = Field(description="of the call, as in the ledger")
    kind: str
    text: str
    finish: Finish
    refusal: str | None = None
    usage: dict[str, int] | None = None
    tier: str | None = None


def record(
    ledger: CallLedger,
    file: Path,
    *,
    label: str | None = None,
    settings: Mapping[str, Any] | None = None,
    answer_tokens: int = 900,
    thinking_tokens: int = 0,
    window: int | None = None,
    prompts: Mapping[str, str] | None = None,
) -> int:
    """How many replies were written to `file`, under the built-in prompts as they are now or those given.

    `label` is needed only where several teachers wrote. The ledger does not know the other values:
    they are the teacher's (`window` as its `window()` says), and a replay needs them as they were.
    Raises AssetError when there is nothing to record, ConfigError when several teachers wrote.
    """
    rows = [row for row in ledger.rows() if row["state"] in ("ok", "cut", "refused")]
    label = label or _only_label(rows, ledger.file)
    rows = sorted((row for row in rows if row["label"] == label), key=lambda row: row["attempt"])
    header = Header(
        label=label,
        model=label.partition("/")[2] or label,
        settings={name: value for name, value in (settings or {}).items() if value is not None},
        answer_tokens=answer_tokens,
        thinking_tokens=thinking_tokens,
        window=window,
        prompts=dict(prompts or {kind: prompting.sha256(kind) for kind in PASSES}),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    lines = [header.model_dump_json(), *(_line(row).model_dump_json(exclude_none=True) for row in rows)]
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(file)
    return len(rows)


def read_header(file: Path) -> Header:
    """Who wrote the recording, and how. Raises ConfigError when it is none."""
    try:
        with file.open(encoding="utf-8") as lines:
            return Header.model_validate_json(lines.readline())
    except OSError as error:
        raise ConfigError([f"teacher.file: {file} cannot be read ({error.strerror}); name a recording"]) from error
    except ValueError as error:
        how = "make one with understudy.calls.recording.record"
        raise ConfigError([f"teacher.file: {file} is not a recording; {how}"]) from error


class ReplayTransport:
    """Gives the recorded replies again, without a server; meant for one event loop, for as long as it lives."""

    def __init__(self, file: Path, offset: Callable[[str], int] = lambda key: 0) -> None:
        """`offset` is how many replies to a key its caller has from earlier runs. Raises ConfigError."""
        self.header, self.file = read_header(file), file
        self._replies, self._offset = _replies(file), offset
        self._next: dict[str, int] = {}

    async def send(self, call: Call) -> Reply:
        """The next reply to `call`, the last one again and again. Raises TeacherStopped when there is none."""
        key = call.key
        lines = self._replies.get(key)
        if not lines and call.kind == "answers" and len(call.numbers) > 1:
            # The recorded model may have been asked in several calls, each within the limits it had.
            raise CapTooLarge(f"no reply to {len(call.numbers)} questions at once was recorded", call.max_tokens - 1)
        if not lines:
            raise TeacherStopped(
                f"no reply with the digest {key} is in {self.file.name}: another talk, prompt, setting or cap than "
                f"those recorded. Run {self.header.label} itself on it and record its calls again "
                "(understudy.calls.recording)"
            )
        at = self._next[key] if key in self._next else self._offset(key)
        self._next[key] = at + 1
        line = lines[min(at, len(lines) - 1)]
        usage = Usage(**line.usage) if line.usage else None
        return Reply(line.text, line.finish, line.refusal, usage, line.tier)


def _only_label(rows: list[dict[str, Any]], file: Path) -> str:
    labels = sorted({row["label"] for row in rows})
    if not labels:
        raise AssetError(f"{file} holds no finished reply, so there is nothing to record; run a teacher first")
    if len(labels) > 1:
        raise ConfigError([f"{file} holds replies of {', '.join(labels)}; say which one to record (label=...)"])
    return str(labels[0])


def _line(row: Mapping[str, Any]) -> Line:
    usage = None if row["input"] is None else {name: row[name] for name in Usage.__dataclass_fields__}
    return Line(**{name: row[name] for name in Line.model_fields if name != "usage"}, usage=usage)


def _replies(file: Path) -> dict[str, list[Line]]:
    replies: dict[str, list[Line]] = {}
    for number, text in enumerate(file.read_text(encoding="utf-8").split("\n")[1:], start=2):
        try:
            line = Line.model_validate_json(text) if text else None
        except ValidationError as error:
            raise ConfigError([f"teacher.file: line {number} of {file} is no reply; record it again"]) from error
        if line:
            replies.setdefault(line.key, []).append(line)
    return replies
