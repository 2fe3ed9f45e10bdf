"""What the files and messages of a Batch API say: each line a reply or a reason, whatever shape it came in."""

import json
import re
from dataclasses import replace
from typing import Any

from understudy.calls import Limits, Reply
from understudy.calls.chat_errors import MESSAGE_CHARACTERS
from understudy.calls.chat_stream import Stream

TIER = "batch"
_QUEUE_FULL = re.compile(r"enqueued[ _]token|token_limit_exceeded", re.IGNORECASE)
_QUEUE_SIZE = re.compile(r"limit:? *(?:of |is )?([\d][\d,_.']*)", re.IGNORECASE)


def queue_full(text: str) -> bool:
    """Whether a batch was refused because too many tokens wait in batches already."""
    return bool(_QUEUE_FULL.search(text))


def fields_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object of one line; None for anything else, such as null or a line that breaks off."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def reply_of(line: dict[str, Any]) -> Reply | None:
    """The reply in one line of an output file; None when the line reports a failure."""
    response = line.get("response")
    if not isinstance(response, dict) or str(response.get("status_code")) != "200":
        return None
    stream = Stream()
    stream.feed(json.dumps(response.get("body")).encode())
    stream.finish()
    request_id = response.get("request_id")
    reply = stream.reply(str(request_id) if request_id else None, 0.0, Limits())
    return None if stream.error or (reply.finish == "cut" and not reply.text) else replace(reply, tier=TIER)


def reason_of(line: dict[str, Any]) -> str:
    """Why a line holds no reply, in the server's words where it has some."""
    response = line.get("response")
    response = response if isinstance(response, dict) else {}
    body = response.get("body")
    error = line.get("error") or (body.get("error") if isinstance(body, dict) else body)
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    status = response.get("status_code")
    return str(error or (f"HTTP {status}" if status else "it says nothing"))[:MESSAGE_CHARACTERS]


def errors_of(batch: Any) -> list[str]:
    """What the server says against a batch as a whole: code and message, and the line where it is about one."""
    errors = (getattr(batch.errors, "data", None) if batch.errors else None) or []
    return [_error_words(error) for error in errors]


def _error_words(error: Any) -> str:
    code, message, line = (getattr(error, name, None) for name in ("code", "message", "line"))
    words = str(message or code or error)
    words = f"line {line}: {words}" if line else words
    return f"{words} ({code})" if code and message and _QUEUE_FULL.search(str(code)) else words


def queue_size(text: str) -> int | None:
    """How many tokens may wait at once, by the words of a refusal."""
    match = _QUEUE_SIZE.search(text)
    return int(re.sub(r"\D", "", match[1])) if match else None
