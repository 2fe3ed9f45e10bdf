"""
The events of a streamed reply, read from bytes.

Lines end at a line feed and nowhere else: the client's own line reader also splits at U+2028, which
servers send unescaped inside a JSON string. One event costs a few microseconds this way, against
about a hundred through the client's typed events.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from understudy.calls import Finish, Limits, Reply, Usage

_FINISH: dict[str, Finish] = {"length": "length", "max_tokens": "length", "content_filter": "refused", "error": "cut"}
_FIELDS = (b":", b"event:", b"id:", b"retry:")
CHARACTERS_PER_TOKEN = 4


@dataclass
class Stream:
    """What of a stream has come so far; feed it bytes as they come, then `finish` it."""

    parts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    thought_characters: int = 0
    """Reasoning is counted and dropped: it never belongs to the text."""
    finish_reason: str | None = None
    """The server's finish_reason."""
    done: bool = False
    error: Any = None
    """The body of an error the server sent inside the stream."""
    broken: bool = False
    """True when an event could not be read: what follows cannot be trusted to be whole."""
    events: int = 0
    counts: dict[str, Any] | None = None
    tier: str | None = None
    reply_id: str | None = None
    other_lines: list[bytes] = field(default_factory=list)
    rest: bytes = b""
    parse: Callable[[bytes], Any] | None = None

    @property
    def started(self) -> bool:
        """True once a token has come, of whatever kind."""
        return bool(self.parts or self.refusals or self.thought_characters)

    @property
    def over(self) -> bool:
        """True when nothing more of the stream is wanted."""
        return self.broken or self.error is not None

    def feed(self, chunk: bytes) -> None:
        """Take every whole line of `chunk`."""
        lines = (self.rest + chunk).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if not self.over:
                self._line(line)

    def finish(self) -> None:
        """Take what stands behind the last line feed, and a body that was never a stream."""
        last, self.rest = self.rest, b""
        if last and not self.over and not self.done:
            self._line(last, whole=False)
        if not self.events and self.other_lines and self.error is None:
            self._event(b"\n".join(self.other_lines), whole=True)

    def reply(self, request_id: str | None, seconds: float, limits: Limits) -> Reply:
        """Everything as one reply; 'cut' when the server did not get to say how it ended."""
        refusal = "".join(self.refusals) or None
        finish: Finish = "cut"
        if not self.over and (self.finish_reason or self.done):
            finish = _FINISH.get(self.finish_reason or "", "stop")
        if refusal or finish == "refused":
            finish, refusal = "refused", refusal or "stopped by the provider's content filter"
        usage = _usage(self.counts, self.thought_characters) if self.counts else None
        return Reply(
            "".join(self.parts), finish, refusal, usage, self.tier, request_id or self.reply_id, seconds, limits
        )

    def _line(self, line: bytes, whole: bool = True) -> None:
        line = line.rstrip(b"\r")
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                self.done = True
            elif data:
                self._event(data, whole)
        elif line and not line.startswith(_FIELDS):
            self.other_lines.append(line)

    def _event(self, data: bytes, whole: bool) -> None:
        if self.parse is None:
            import jiter

            self.parse = jiter.from_json
        try:
            event = self.parse(data)
        except ValueError:
            # The end of a dropped connection is no defect of its own: the missing finish_reason shows it.
            self.broken = whole and bool(self.events)
            return
        if not isinstance(event, dict):
            self.broken = True
            return
        if event.get("error") or event.get("object") == "error":
            self.error = event
            return
        self.events += 1
        self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        choices = event.get("choices")
        if choices:
            choice = choices[0]
            # "message" stands in a reply of a server that does not stream.
            message = choice.get("delta") or choice.get("message") or {}
            content = message.get("content")
            if content:
                self.parts.append(content if isinstance(content, str) else self._blocks(content))
            thoughts = message.get("reasoning_content") or message.get("reasoning")
            if isinstance(thoughts, str):
                self.thought_characters += len(thoughts)
            if message.get("refusal"):
                self.refusals.append(message["refusal"])
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self.counts = event.get("usage") or self.counts
        self.tier = event.get("service_tier") or self.tier
        self.reply_id = self.reply_id or event.get("id")

    def _blocks(self, content: list[dict[str, Any]]) -> str:
        """The text among content blocks; blocks of thinking are counted."""
        self.thought_characters += sum(len(str(block)) for block in content if block.get("type") == "thinking")
        return "".join(block.get("text", "") for block in content if block.get("type") == "text")


def _usage(counts: dict[str, Any], thought_characters: int) -> Usage:
    """The server's counts, which no two servers name alike."""
    details = counts.get("prompt_tokens_details") or {}
    output_details = counts.get("completion_tokens_details") or {}
    total, output = counts.get("prompt_tokens") or 0, counts.get("completion_tokens") or 0
    cached = details.get("cached_tokens") or counts.get("prompt_cache_hit_tokens") or 0
    written = (
        details.get("cache_write_tokens")
        or counts.get("cache_write_tokens")
        or counts.get("cache_creation_input_tokens")
        or 0
    )
    estimate = -(-thought_characters // CHARACTERS_PER_TOKEN)
    reasoning = output_details.get("reasoning_tokens") or min(output, estimate)
    cached = min(cached, total)
    return Usage(total, cached, min(written, total - cached), output, reasoning)
