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
from understudy.calls.refusals import ending, filter_words

_FIELDS = (b":", b"event:", b"id:", b"retry:")
CHARACTERS_PER_TOKEN = 4
BLANKS_AT_MOST = 1000
"""Characters of white space in a row after which a reply is a loop. A model that may write nothing but JSON can fall
into one, and goes on until its cap."""
_BLANKS = " \t\r\n\u00a0\u200b\\nrt"  # white space written as an escape too, whatever pieces it comes in


@dataclass(eq=False)
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
    blanks: int = 0
    """Characters of white space at the end of the text so far."""
    other_lines: list[bytes] = field(default_factory=list)
    rest: bytearray = field(default_factory=bytearray)
    parse: Callable[[bytes], Any] | None = None

    @property
    def started(self) -> bool:
        """True once a token has come, of whatever kind."""
        return bool(self.parts or self.refusals or self.thought_characters)

    @property
    def over(self) -> bool:
        """True when nothing more of the stream is wanted."""
        return self.broken or self.error is not None or self.looping

    @property
    def looping(self) -> bool:
        """True when the model writes nothing but white space any more."""
        return self.blanks > BLANKS_AT_MOST

    def feed(self, chunk: bytes) -> None:
        """Take every whole line of `chunk`."""
        self.rest += chunk
        if b"\n" not in chunk:
            if self.rest[:1] == b" ":  # means nothing at the begin of a line, and may be megabytes
                self.rest = self.rest.lstrip(b" ")
            return
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            if not self.over:
                self._line(bytes(line))

    def finish(self) -> None:
        """Take what stands behind the last line feed, and a body that was never a stream."""
        last, self.rest = bytes(self.rest), bytearray()
        if last and not self.over and not self.done:
            self._line(last, whole=False)
        if not self.events and self.other_lines and self.error is None:
            self._event(b"\n".join(self.other_lines), whole=True)

    def reply(self, request_id: str | None, seconds: float, limits: Limits) -> Reply:
        """Everything as one reply; 'cut' when the server did not get to say how it ended."""
        refusal = "".join(self.refusals) or None
        finish: Finish = "cut"
        if not self.over and (self.finish_reason or self.done):
            finish = ending(self.finish_reason or "")
        if refusal or finish == "refused":
            finish, refusal = "refused", refusal or filter_words(self.finish_reason or "")
        text = "".join(self.parts)
        usage = _usage(self.counts, self.thought_characters, bool(text)) if self.counts else None
        # A connection that drops may leave words behind that are billed all the same.
        whole = finish != "cut" or self.looping or self.error is not None or bool(self.finish_reason)
        return Reply(
            text,
            finish,
            refusal,
            usage,
            self.tier,
            request_id or self.reply_id,
            seconds,
            limits,
            self.output_estimate if usage is None and whole else None,
        )

    @property
    def output_estimate(self) -> int:
        """About how many tokens came, by their bytes."""
        written = sum(len(part.encode(errors="replace")) for part in (*self.parts, *self.refusals))
        return -(-(written + self.thought_characters) // CHARACTERS_PER_TOKEN)

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
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._choose(choices[0])
        usage = event.get("usage")
        self.counts = usage if isinstance(usage, dict) and usage else self.counts
        tier, reply_id = event.get("service_tier"), event.get("id")
        self.tier = tier if isinstance(tier, str) and tier else self.tier
        self.reply_id = self.reply_id or (str(reply_id) if reply_id else None)

    def _choose(self, choice: dict[str, Any]) -> None:
        # "message" stands in a reply of a server that does not stream.
        message = choice.get("delta") or choice.get("message")
        message = message if isinstance(message, dict) else {}
        content = message.get("content")
        if content:
            self._write(content if isinstance(content, str) else self._blocks(content))
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thoughts, str):
            self.thought_characters += len(thoughts)
        if message.get("refusal"):
            self.refusals.append(str(message["refusal"]))
        self.finish_reason = str(choice.get("finish_reason") or "") or self.finish_reason
        if choice.get("error"):
            self.error = {"error": choice["error"]}

    def _write(self, text: str) -> None:
        self.parts.append(text)
        kept = len(text.rstrip(_BLANKS))
        self.blanks = len(text) - kept + (0 if kept else self.blanks)

    def _blocks(self, content: Any) -> str:
        """The text among content blocks; blocks of thinking are counted."""
        blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
        self.thought_characters += sum(len(str(block)) for block in blocks if block.get("type") == "thinking")
        return "".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text")


def _usage(counts: dict[str, Any], thought_characters: int, wrote: bool) -> Usage | None:
    """The server's counts, which no two servers name alike; None where it counted neither prompt nor reply."""
    details, output_details = _table(counts, "prompt_tokens_details"), _table(counts, "completion_tokens_details")
    total, output = _count(counts, "prompt_tokens"), _count(counts, "completion_tokens")
    if not total and not output:
        return None
    cached = min(total, _count(details, "cached_tokens") or _count(counts, "prompt_cache_hit_tokens"))
    written = (
        _count(details, "cache_write_tokens")
        or _count(counts, "cache_write_tokens")
        or _count(counts, "cache_creation_input_tokens")
    )
    thought = -(-thought_characters // CHARACTERS_PER_TOKEN) if wrote or not thought_characters else output
    reasoning = _count(output_details, "reasoning_tokens") or min(output, thought)
    return Usage(total, cached, min(written, total - cached), output, reasoning)


def _table(counts: dict[str, Any], name: str) -> dict[str, Any]:
    value = counts.get(name)
    return value if isinstance(value, dict) else {}


def _count(counts: dict[str, Any], name: str) -> int:
    """A count, also where it came as a string; 0 where it is none."""
    try:
        return max(0, int(float(counts.get(name) or 0)))
    except (TypeError, ValueError, OverflowError):
        return 0
