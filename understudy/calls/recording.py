"""
The replies of a channel as one file, and a server on this machine that gives them again.

A recording is JSON Lines: first a header (who wrote it, with which settings and prompts), then one
line per finished reply, those of one key in their order. It holds no key, header or address, and
nothing of the talks but what the teacher said of them.
"""

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from understudy.calls import Call, Finish, Usage, prompting
from understudy.calls.chat_errors import CAPS
from understudy.calls.ledger import CallLedger
from understudy.errors import AssetError, ConfigError
from understudy.records import Record

PASSES = ("questions", "answers")
_FINISH_REASONS: dict[Finish, str] = {"stop": "stop", "length": "length", "refused": "stop", "cut": "error"}
# Of a request's body: how it is sent, by whom, or a part of the call that is no setting.
_NO_SETTING = {
    "model", "messages", "response_format", "stream", "stream_options", "user", "metadata", "prompt_cache_key",
    "safety_identifier", "store", "service_tier", *CAPS,
}  # fmt: skip
_CHARACTERS_PER_CHUNK = 2000


class Header(Record):
    """The first line of a recording: whatever else decides the keys of its calls."""

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
) -> int:
    """How many replies were written to `file`, under the prompts as they are now.

    `label` is needed only where several teachers wrote. The ledger does not know the other values:
    they are the teacher's (`window` as its `window()` says), and a replay needs them as they were.
    Raises AssetError when there is nothing to record, ConfigError when several teachers wrote.
    """
    rows = [row for row in _rows(ledger) if row["state"] in ("ok", "cut", "refused")]
    label = label or _only_label(rows, ledger.file)
    rows = sorted((row for row in rows if row["label"] == label), key=lambda row: row["attempt"])
    header = Header(
        label=label,
        model=label.partition("/")[2] or label,
        settings={name: value for name, value in (settings or {}).items() if value is not None},
        answer_tokens=answer_tokens,
        thinking_tokens=thinking_tokens,
        window=window,
        prompts={kind: prompting.sha256(kind) for kind in PASSES},
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


class ReplayServer:
    """Answers on this machine from a recording, as the teacher answered; to be used in a `with` or closed."""

    def __init__(self, file: Path, given: Callable[[str], int] = lambda key: 0) -> None:
        """`given` says how many replies to a key its asker has from earlier runs. Raises ConfigError."""
        self.header, self.file = read_header(file), file
        self._replies, self._given = _replies(file), given
        self._next: dict[str, int] = {}
        self._lock = threading.Lock()
        self.requests = self.misses = 0
        self._server = _Listener(("127.0.0.1", 0), _Handler)
        self._server.replay = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="replay", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a client takes as its base_url."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def key_of(self, body: Mapping[str, Any]) -> str:
        """The key of the call that `body` asks for, as the teacher who is recorded would have made it."""
        asked = (body.get("response_format") or {}).get("json_schema") or {}
        call = Call(
            *("", "", self.header.label, self.header.model),  # kind and document decide no reply
            messages=tuple(body["messages"]),
            schema=asked.get("schema"),
            settings={name: value for name, value in body.items() if name not in _NO_SETTING and value is not None},
            max_tokens=next((body[name] for name in CAPS if body.get(name)), 0),
        )
        return call.key

    def reply(self, key: str) -> Line | None:
        """The next reply to `key`, the last one again and again; None when there is none."""
        with self._lock:
            self.requests += 1
            if not (known := self._replies.get(key)):
                self.misses += 1
                return None
            at = self._next[key] if key in self._next else self._given(key)
            self._next[key] = at + 1
            return known[min(at, len(known) - 1)]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    replay: ReplayServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one segment per flush
    server: _Listener

    def do_GET(self) -> None:
        name = self.server.replay.header.model
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "recording"}]
        known = self.path.partition("?")[0].endswith("/models")
        self._json(200, {"object": "list", "data": models}) if known else self._error(404, "there is nothing here")

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self.path.partition("?")[0].endswith("/chat/completions"):
            return self._error(404, "a recording answers chat completions and nothing else")
        try:
            body = json.loads(content)
            key = self.server.replay.key_of(body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return self._error(400, f"this is no chat completion that could be answered: {error!r}")
        line = self.server.replay.reply(key)
        if line is None:
            return self._error(404, _missed(key, self.server.replay))
        if body.get("stream"):
            return self._stream(line)
        self._json(200, _event(line, self.server.replay.header.model, message=_said(line, line.text)) | _counted(line))

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""

    def _stream(self, line: Line) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in _events(line, self.server.replay.header.model):
            self._chunk(f"data: {json.dumps(event)}\n\n")
        self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _json(self, status: int, told: Mapping[str, Any]) -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def _error(self, status: int, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": "invalid_request_error"}})


def _rows(ledger: CallLedger) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        ledger.export(Path(folder) / "calls")
        return [json.loads(line) for line in (Path(folder) / "calls").read_text(encoding="utf-8").split("\n") if line]


def _only_label(rows: list[dict[str, Any]], file: Path) -> str:
    labels = sorted({row["label"] for row in rows})
    if not labels:
        raise AssetError(f"{file} holds no finished reply, so there is nothing to record; run a teacher first")
    if len(labels) > 1:
        raise ConfigError([f"{file} holds replies of {', '.join(labels)}; say which one to record (label=...)"])
    return labels[0]


def _line(row: Mapping[str, Any]) -> Line:
    usage = None if row["input"] is None else {name: row[name] for name in Usage.__dataclass_fields__}
    told = {name: row[name] for name in ("key", "kind", "text", "finish", "refusal", "tier")}
    return Line(**told, usage=usage)


def _replies(file: Path) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for number, text in enumerate(file.read_text(encoding="utf-8").split("\n")[1:], start=2):
        try:
            line = Line.model_validate_json(text) if text else None
        except ValidationError as error:
            raise ConfigError([f"teacher.file: line {number} of {file} is no reply; record it again"]) from error
        if line:
            found.setdefault(line.key, []).append(line)
    return found


def _missed(key: str, replay: ReplayServer) -> str:
    return (
        f"no reply with the digest {key} is in {replay.file.name}: another talk, prompt, setting or cap than those "
        f"recorded. Run {replay.header.label} itself on it and record its calls again (understudy.calls.recording)"
    )


def _events(line: Line, model: str) -> Iterator[dict[str, Any]]:
    """The events of a stream, the finish and the counts in the last."""
    for start in range(0, len(line.text), _CHARACTERS_PER_CHUNK):
        yield _event(line, model, delta={"content": line.text[start : start + _CHARACTERS_PER_CHUNK]}, ended=False)
    yield _event(line, model, delta=_said(line, "")) | _counted(line)


def _event(line: Line, model: str, ended: bool = True, **said: Any) -> dict[str, Any]:
    choice = {"index": 0, **said, "finish_reason": _FINISH_REASONS[line.finish] if ended else None}
    kind = "chat.completion" if "message" in said else "chat.completion.chunk"
    told = {"id": f"replay-{line.key[:16]}", "object": kind, "created": 0, "model": model, "choices": [choice]}
    return told | ({"service_tier": line.tier} if line.tier else {})


def _said(line: Line, text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text} | ({"refusal": line.refusal} if line.refusal else {})


def _counted(line: Line) -> dict[str, Any]:
    if line.usage is None:
        return {}
    used = Usage(**line.usage)
    counts = {"prompt_tokens": used.input, "completion_tokens": used.output, "total_tokens": used.input + used.output}
    given = {"cached_tokens": used.cached, "cache_write_tokens": used.written}
    made = {"reasoning_tokens": used.reasoning}
    return {"usage": counts | {"prompt_tokens_details": given, "completion_tokens_details": made}}
