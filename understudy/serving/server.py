"""
A GGUF file behind the OpenAI dialect, for programs on this machine only.

    GET  /v1/models             the one model
    POST /v1/chat/completions   an answer, whole or as server-sent events

llama-cpp-python has a server too; it needs uvicorn, fastapi, sse-starlette, starlette-context and
pydantic-settings, two of which nothing else here wants, and it runs llama.cpp in the process that
listens: a crash there is the end of the server. This one is the standard library over LocalChat.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Generator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from understudy.errors import ConfigError, UnderstudyError
from understudy.serving import NOTICE, Asked, LocalChat, TooLong

log = logging.getLogger("understudy.serving")

ADDRESS, PORT = "127.0.0.1", 8080
LARGEST_BODY_BYTES = 4_000_000
IDLE_SECONDS = 60


class _Part(BaseModel):
    type: Literal["text"]
    text: str


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]

    def plain(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class _StreamOptions(BaseModel):
    include_usage: bool = False


class _Schema(BaseModel):
    # Called `schema` on the wire, a name pydantic keeps for itself.
    content: dict[str, Any] = Field(alias="schema")


class _Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: _Schema | None = None


class _Request(BaseModel):
    """What is understood of a request. What would change the answer and is not is refused, the rest ignored."""

    model: str | None = None
    messages: list[_Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    response_format: _Format | None = None
    n: Literal[1] | None = None
    tools: None = None
    logprobs: Literal[False] | None = None

    def asked(self) -> Asked:
        """The settings it gives, ours for the others."""
        wanted, schema = self.response_format, None
        if wanted and wanted.type != "text":
            schema = wanted.json_schema.content if wanted.json_schema else {"type": "object"}
        limit = self.max_completion_tokens or self.max_tokens
        given = {"temperature": self.temperature, "seed": self.seed, "max_tokens": limit, "json_schema": schema}
        return Asked.model_validate({name: value for name, value in given.items() if value is not None})

    def stops(self) -> list[str]:
        """The texts before which an answer ends."""
        return [s for s in ([self.stop] if isinstance(self.stop, str) else self.stop or []) if s]


class Server:
    """A model that is being served."""

    def __init__(self, gguf: Path, port: int = PORT, context: int | None = None) -> None:
        """Answer on `port` or, for 0, on any free one; the model is loaded first. Raises ConfigError, WorkerFailed."""
        self.model = LocalChat(gguf, context)
        try:
            self._http = _Http((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "ports go to 65535"
            raise ConfigError([f"port {port} cannot be used ({why}); give another, or 0 for any free one"]) from None
        try:
            self.model.start()
        except BaseException:
            self._http.server_close()
            raise
        self._http.model, self._http.name, self._http.turn = self.model, gguf.stem, threading.Lock()
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a client calls its base URL."""
        return f"http://{ADDRESS}:{self._http.server_port}/v1"

    def close(self) -> None:
        """Answer no more; an answer that is being written is cut off."""
        self._http.shutdown()
        self._http.server_close()
        self.model.close()
        self._thread.join()


def serve(gguf: Path, port: int = PORT, context: int | None = None) -> int:
    """Serve `gguf` until Ctrl-C; returns the exit status. Raises ConfigError, WorkerFailed."""
    server = Server(gguf, port, context)
    print(f"{gguf.stem} at {server.url} (OpenAI's chat completions; any API key will do). Ctrl-C ends.", flush=True)
    print(NOTICE, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.close()
    return 0


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    model: LocalChat
    name: str
    turn: threading.Lock


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server_version, sys_version = "understudy", ""

    def do_GET(self) -> None:
        """The list of models."""
        if not self._for_us() or self.path.rstrip("/") != "/v1/models":
            return self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}; GET /v1/models")
        model = {"id": self.server.name, "object": "model", "created": 0, "owned_by": "understudy"}
        return self._send(HTTPStatus.OK, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        """One answer."""
        size = self.headers.get("Content-Length", "")
        if not self._for_us() or self.path.rstrip("/") != "/v1/chat/completions":
            return self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}; POST /v1/chat/completions")
        # A web page may post to any address, but not as JSON without asking first, and we never consent.
        if self.headers.get_content_type() != "application/json":
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
        if not size.isdecimal() or int(size) > LARGEST_BODY_BYTES:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY_BYTES} bytes")
        try:
            request = _Request.model_validate_json(self.rfile.read(int(size)))
        except ValidationError as error:
            first = error.errors()[0]
            return self._refuse(HTTPStatus.BAD_REQUEST, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        if request.model not in (None, "", self.server.name) and not self.server.name.startswith(f"{request.model}-"):
            why = f"there is no model {request.model!r} here, only {self.server.name!r}"
            return self._refuse(HTTPStatus.NOT_FOUND, why, "model_not_found")
        with self.server.turn:  # one model, one answer at a time
            return self._answer(request)

    def _answer(self, request: _Request) -> None:
        began = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.server.name}
        written = self.server.model.answer([m.plain() for m in request.messages], request.asked())
        pieces, streaming = _before(written, request.stops()), False
        try:
            if not request.stream:
                text = "".join(pieces)
                return self._send(HTTPStatus.OK, self._whole(began, text))
            first = next(pieces, "")  # a refusal is a status, so it must come before the stream
            streaming = True
            return self._stream(began, first, pieces, request)
        except TooLong as reason:
            self._refuse(HTTPStatus.BAD_REQUEST, str(reason), "context_length_exceeded")
        except UnderstudyError as reason:
            log.error("%s", reason)
            if not streaming:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(reason).splitlines()[0])
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True  # nobody reads any more
        finally:
            pieces.close()

    def _whole(self, began: dict[str, Any], text: str) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self._finish()}
        return began | {"object": "chat.completion", "choices": [choice], "usage": self._usage()}

    def _stream(self, began: dict[str, Any], first: str, pieces: Generator[str, None, None], request: _Request) -> None:
        self.close_connection = True  # its length is not known
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()

        def tell(delta: dict[str, str], finish: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            self._event(json.dumps(began | {"object": "chat.completion.chunk", "choices": [choice]}))

        tell({"role": "assistant", "content": first})
        for piece in pieces:
            tell({"content": piece})
        tell({}, self._finish())
        if request.stream_options and request.stream_options.include_usage:
            last = {"object": "chat.completion.chunk", "choices": [], "usage": self._usage()}
            self._event(json.dumps(began | last))
        self._event("[DONE]")

    def _finish(self) -> str:
        ended = self.server.model.ended
        return ended.finish if ended else "stop"  # None: a stop text ended it

    def _usage(self) -> dict[str, Any] | None:
        ended = self.server.model.ended
        if ended is None:
            return None
        counts = {"prompt_tokens": ended.input, "completion_tokens": ended.output}
        details = {"prompt_tokens_details": {"cached_tokens": ended.cached}}
        return counts | {"total_tokens": ended.input + ended.output} | details

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""

    def _for_us(self) -> bool:
        """True when this machine was meant, not a foreign name that somebody pointed at it."""
        port = self.server.server_port
        return self.headers.get("Host") in {f"{name}:{port}" for name in (ADDRESS, "localhost")}

    def _event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def _refuse(self, status: HTTPStatus, why: str, code: str | None = None) -> None:
        self.close_connection = True  # a body may be left unread
        kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        self._send(status, {"error": {"message": why, "type": kind, "param": None, "code": code}})

    def _send(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)


def _before(pieces: Generator[str, None, None], stops: list[str]) -> Generator[str, None, None]:
    """The text up to the first of `stops`, as soon as no stop can begin in it."""
    if not stops:
        yield from pieces
        return
    held, keep = "", max(map(len, stops)) - 1
    try:
        for piece in pieces:
            held += piece
            places = [place for stop in stops if (place := held.find(stop)) >= 0]
            if places:
                yield held[: min(places)]
                return
            ready = len(held) - keep
            if ready > 0:
                yield held[:ready]
                held = held[ready:]
        yield held
    finally:
        pieces.close()
