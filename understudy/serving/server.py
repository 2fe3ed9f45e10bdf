"""
A GGUF file behind OpenAI's API, for programs on this machine only.

    GET  /health                        whether requests can be answered
    GET  /v1/models, /v1/models/{id}    the one model
    POST /v1/chat/completions           an answer, whole or as server-sent events
    POST /v1/completions                the same for a text, without the chat template

No web page can use it: a foreign Host or Origin is refused, and no CORS header is ever sent.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import re
import socket
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.errors import ConfigError, UnderstudyError
from understudy.records import Passage
from understudy.serving import NOTICE, Done, Generate
from understudy.serving.model import Model, RequestRefused
from understudy.serving.requests import ChatRequest, CompletionRequest, TextRequest
from understudy.serving.retrieve import Retriever

log = logging.getLogger("understudy.serving")

ADDRESS, PORT = "127.0.0.1", 8080
NAMES = (ADDRESS, "localhost")
OWN_PAGE = re.compile(rf"https?://({'|'.join(map(re.escape, NAMES))})(:\d+)?", re.IGNORECASE)
LARGEST_BODY_BYTES = 4_000_000
SHUTDOWN_SECONDS = 2
T = TypeVar("T")


class Server:
    """A model that is being served, until it is closed."""

    def __init__(
        self,
        model: Model,
        port: int = PORT,
        token: str | None = None,
        name: str | None = None,
        retriever: Retriever | None = None,
    ) -> None:
        """Answer on `port` or, for 0, on any free one. Raises ConfigError.

        With a `token` only requests that carry it are answered. `name` is the model's id, by default its file's name.
        With a `retriever` the last question of a chat comes with passages, which the reply names in `understudy`.
        """
        self.model, self.name, self.token = model, name or model.file.stem, token
        self.retriever = retriever
        try:
            self._socket = socket.create_server((ADDRESS, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "ports go to 65535"
            raise ConfigError([f"port {port} cannot be used ({why}); give another, or 0 for any free one"]) from None
        self.port = int(self._socket.getsockname()[1])
        quiet: dict[str, Any] = {"log_config": None, "log_level": "critical"}
        settings = {"timeout_graceful_shutdown": SHUTDOWN_SECONDS, "lifespan": "off", "ws": "none", **quiet}
        self._http = uvicorn.Server(uvicorn.Config(self._guard, interface="asgi3", **settings))
        self._app, self._loop = _app(self), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://{ADDRESS}:{self.port}/v1"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work` on the server's own event loop; for any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Stop serving; an answer in progress is cut off."""
        self._http.should_exit = True
        self.model.close()
        self._thread.join()
        self.model.close()  # a request that waited may have started the process again

    def knows(self, name: str) -> bool:
        """Whether a request for the model `name` means this one; a channel's name is enough."""
        return name in ("", self.name) or self.name.startswith(f"{name}-")

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._http.serve(sockets=[self._socket]))

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._refusal(scope["path"], scope["method"], Headers(scope=scope)) or self._app)(scope, receive, send)

    def _refusal(self, path: str, method: str, headers: Headers) -> Response | None:
        if headers.get("host", "").lower() not in {f"{name}:{self.port}" for name in NAMES}:
            return _error(404, f"this server is {self.url} and has no other name")
        if "origin" in headers and not OWN_PAGE.fullmatch(headers["origin"]):
            return _error(403, "web pages of other sites may not use this server")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self.token and path != "/health" and not hmac.compare_digest(bearer.encode(), self.token.encode()):
            return _error(401, "only the program that started this server may use it", "invalid_api_key")
        if method == "POST":
            # A web page may post to any address, but not as JSON without a preflight request, which is refused.
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return _error(415, "the body must be application/json")
            size = headers.get("content-length", "")
            if not size.isdecimal() or int(size) > LARGEST_BODY_BYTES:
                return _error(413, f"Content-Length must be given and at most {LARGEST_BODY_BYTES}")
        return None


def serve(gguf: Path, port: int = PORT, context: int | None = None, retriever: Retriever | None = None) -> int:
    """Serve `gguf` until Ctrl-C; returns the exit status. Raises ConfigError, WorkerFailed."""
    server = Server(Model(gguf, context), port, retriever=retriever)
    try:
        server.run(server.model.load())
        print(f"{server.name} at {server.url} (OpenAI's API; any API key will do). Ctrl-C ends.", flush=True)
        print(NOTICE, flush=True)
        if retriever:
            print(f"Every question comes with passages, out of {len(retriever.index.passages)}.", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.close()
    return 0


def _app(server: Server) -> ASGIApp:
    """The routes, and the error responses."""

    async def health(request: Request) -> Response:
        return _error(503, server.model.broken) if server.model.broken else JSONResponse({"status": "ok"})

    async def models(request: Request) -> Response:
        created = int(server.model.file.stat().st_mtime)
        card = {"id": server.name, "object": "model", "created": created, "owned_by": "understudy"}
        name = request.path_params.get("name")
        if name is None:
            return JSONResponse({"object": "list", "data": [card]})
        return JSONResponse(card) if server.knows(name) else _no_model(server, name)

    async def failed(request: Request, error: Exception) -> Response:
        return _failure(error)

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/models/{name}", models),
            Route("/v1/chat/completions", Endpoint(server, ChatRequest), methods=["POST"]),
            Route("/v1/completions", Endpoint(server, TextRequest), methods=["POST"]),
        ],
        exception_handlers={kind: failed for kind in (HTTPException, ValidationError, UnderstudyError)},
    )


class Endpoint:
    """Answers one kind of request. The work ends when the client disconnects, whether it waits, reads or writes."""

    def __init__(self, server: Server, kind: type[CompletionRequest]) -> None:
        self.server, self.kind = server, kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = self.kind.model_validate_json(await Request(scope, receive).body())
        work = asyncio.ensure_future(self._answer(request, scope, receive, send))
        gone = asyncio.ensure_future(receive())  # the body has been read: the next message is the end of the connection
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            work.cancel()  # which changes nothing when it is done
        with contextlib.suppress(asyncio.CancelledError):
            await work

    async def _answer(self, request: CompletionRequest, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.server.knows(request.model):
            return await _no_model(self.server, request.model)(scope, receive, send)
        generate, passages = self._with_passages(request)
        reply = Reply(self.server.name, isinstance(request, ChatRequest), passages)
        async with contextlib.aclosing(self.server.model.generate(generate)) as pieces:
            if request.stream:
                first = await anext(pieces)  # a refusal is a status, so it must come before the stream
                events = reply.events(first, pieces, request.stream_options.include_usage)
                return await StreamingResponse(events, media_type="text/event-stream")(scope, receive, send)
            return await JSONResponse(await reply.whole(pieces))(scope, receive, send)

    def _with_passages(self, request: CompletionRequest) -> tuple[Generate, list[Passage] | None]:
        """The request with passages before its last question, and which those are; None where there are none to add."""
        generate, retriever = request.generate(), self.server.retriever
        if retriever is None or isinstance(generate.prompt, str):
            return generate, None
        question = next((m.content for m in reversed(generate.prompt) if m.role == "user"), "")
        passages = retriever.find(question)
        return generate.model_copy(update={"prompt": retriever.prompt(question, passages)}), passages


@dataclass
class Reply:
    """An answer in OpenAI's form, of a chat or of a text completion."""

    model: str
    is_chat: bool
    passages: list[Passage] | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    async def whole(self, pieces: AsyncGenerator[str | Done, None]) -> dict[str, Any]:
        """The answer as one object."""
        text = ""
        async for piece in pieces:
            if isinstance(piece, Done):
                content = {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
                return self._object(content | {"finish_reason": piece.finish}) | {"usage": _usage(piece)}
            text += piece
        raise AssertionError("every answer ends with Done")

    async def events(
        self, piece: str | Done, pieces: AsyncGenerator[str | Done, None], include_usage: bool
    ) -> AsyncGenerator[str, None]:
        """The answer as server-sent events from its first piece on; an error that comes too late for a status too."""
        role = {"role": "assistant"}
        try:
            while isinstance(piece, str):
                yield self._chunk({"delta": {**role, "content": piece}} if self.is_chat else {"text": piece})
                role, piece = {}, await anext(pieces)
            yield self._chunk(({"delta": role} if self.is_chat else {"text": ""}) | {"finish_reason": piece.finish})
            if include_usage:
                yield self._chunk(None, {"usage": _usage(piece)})
            yield _event("[DONE]")
        except UnderstudyError as error:
            yield _event(bytes(_failure(error).body).decode())

    def _chunk(self, content: dict[str, Any] | None, more: dict[str, Any] | None = None) -> str:
        return _event(json.dumps(self._object(content, ".chunk") | (more or {})))

    def _object(self, content: dict[str, Any] | None, suffix: str = "") -> dict[str, Any]:
        prefix, kind = ("chatcmpl", f"chat.completion{suffix}") if self.is_chat else ("cmpl", "text_completion")
        choices = [{"index": 0, "logprobs": None, "finish_reason": None, **content}] if content else []
        head = {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model}
        return head | {"choices": choices} | self._shown()

    def _shown(self) -> dict[str, Any]:
        """The passages that the model was shown, for clients that display them."""
        if self.passages is None:
            return {}
        shown = [{"passage_id": p.passage_id, "title": p.title, "heading": p.heading} for p in self.passages]
        return {"understudy": {"passages": shown}}


def _usage(done: Done) -> dict[str, Any]:
    counts = {"prompt_tokens": done.input, "completion_tokens": done.output, "total_tokens": done.input + done.output}
    return counts | {"prompt_tokens_details": {"cached_tokens": done.cached}}


def _event(data: str) -> str:
    return f"data: {data}\n\n"


def _no_model(server: Server, name: str) -> Response:
    return _error(404, f"there is no model {name!r} here, only {server.name!r}", "model_not_found", "model")


def _failure(error: Exception) -> Response:
    """The answer to an error, in OpenAI's form."""
    if isinstance(error, HTTPException):
        return _error(error.status_code, error.detail)
    if isinstance(error, RequestRefused):
        return _error(400, str(error), "context_length_exceeded" if error.too_long else None)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        return _error(400, f"{name}: {reason}" if name else reason, None, name or None)
    log.error("%s", error)
    return _error(503, str(error).splitlines()[0])


def _error(status: int, message: str, code: str | None = None, param: str | None = None) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)
