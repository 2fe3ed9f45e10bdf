"""The process that runs llama.cpp for `model`: an Opening, then Requests on stdin, Events on stdout."""

import codecs
import os
import queue
import select
import sys
import threading
import traceback
from collections.abc import Callable

from understudy.serving import Done, Event, Generate, Opening, Request
from understudy.serving.gguf import Gguf, Unusable


class Cancelled(Exception):
    """The client of this answer has disconnected."""


class Worker:
    """One GGUF file; the weights are loaded when they are first needed."""

    def __init__(self, opening: Opening, send: Callable[[Event], None]) -> None:
        self.opening, self.send = opening, send
        self.gguf, self.loaded = Gguf(opening.file), False
        self.context = opening.context or self.gguf.largest_context
        self.cancelled: set[int] = set()

    def answer(self, request: Request) -> None:
        """Do what a request asks for. Raises Unusable."""
        if request.kind != "open" and not self.loaded:
            o = self.opening
            self.gguf, self.loaded = Gguf(o.file, self.context, o.threads, o.gpu_layers), True
        try:
            if request.generate:
                self.send(self._generate(request.id, request.generate))
            else:
                self.send(Event(id=request.id, kind="number", number=self.context))
        except Cancelled:
            self.cancelled.discard(request.id)

    def count(self, request: Request) -> None:
        """Count tokens; for any thread."""
        self.send(Event(id=request.id, kind="number", number=len(self.gguf.tokens(request.text))))

    def _generate(self, id: int, params: Generate) -> Event:
        if isinstance(params.prompt, str):
            prompt = self.gguf.tokens(params.prompt, add_bos=True)
        else:
            prompt = self.gguf.prompt([message.model_dump() for message in params.prompt])
        room = self.context - len(prompt)
        if room < 1 or not prompt:
            size = f"the prompt has {len(prompt):,} tokens, the model's context is {self.context:,}"
            return Event(id=id, kind="too_long", text=f"{size}: shorten it")
        try:
            grammar = self.gguf.grammar(params.json_schema) if params.json_schema is not None else None
        except ValueError as error:
            return Event(id=id, kind="bad_schema", text=f"response_format: the schema cannot be used ({error})")

        def progress(tokens: int) -> None:
            self._check(id)
            self.send(Event(id=id, kind="read", number=tokens))

        progress(0)
        cached = self.gguf.read(prompt, progress)
        limit, output, ended = min(params.max_tokens, room), 0, False
        letters = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a letter may take several tokens
        text = Stops(params.stop, lambda piece: self.send(Event(id=id, kind="text", text=piece)))
        for token in self.gguf.generate(prompt, params.sampling, grammar):
            self._check(id)
            output, ended = output + 1, self.gguf.is_end(token)
            text.add("" if ended else letters.decode(self.gguf.piece(token)))
            if ended or text.stopped or output == limit:
                break
        text.close(letters.decode(b"", final=True))
        finish = "stop" if ended or text.stopped else "length"
        done = Done(finish=finish, input=len(prompt), cached=cached, output=output)
        return Event(id=id, kind="done", done=done)

    def _check(self, id: int) -> None:
        if id in self.cancelled:
            raise Cancelled


class Stops:
    """Passes text on as soon as it cannot be the start of a stop text, up to the first stop text."""

    def __init__(self, stops: list[str], send: Callable[[str], None]) -> None:
        self.stops, self.send = [stop for stop in stops if stop], send
        self.held, self.stopped = "", False

    def add(self, text: str) -> None:
        """Take the next piece; a stop text that was met ends everything."""
        self.held += text
        places = [place for stop in self.stops if (place := self.held.find(stop)) >= 0]
        self.stopped = bool(places)
        begun = (length for stop in self.stops for length in range(1, len(stop)) if self.held.endswith(stop[:length]))
        ready = min(places) if places else len(self.held) - max(begun, default=0)
        if ready:
            self.send(self.held[:ready])
        self.held = self.held[ready:]

    def close(self, text: str) -> None:
        """Take the last piece, and pass on what was held back."""
        if not self.stopped:
            self.add(text)
        if not self.stopped and self.held:
            self.send(self.held)


def main() -> None:
    """Answer the lines of stdin until it ends."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # anything a library prints must not end up between the lines of JSON
    lock = threading.Lock()

    def send(event: Event) -> None:
        with lock:
            lines.write(event.model_dump_json(exclude_defaults=True) + "\n")

    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        worker = Worker(Opening.model_validate_json(sys.stdin.readline()), send)
        threading.Thread(target=_listen, args=(worker, requests), daemon=True).start()
        while True:
            worker.answer(requests.get())
    except Unusable as why:
        send(Event(id=0, kind="failed", text=str(why)))


def _listen(worker: Worker, requests: "queue.SimpleQueue[Request]") -> None:
    """Keep reading while the model works; the end of stdin means that there are no more requests."""
    try:
        for line in sys.stdin:
            request = Request.model_validate_json(line)
            if request.kind == "cancel":
                worker.cancelled.add(request.id)
            elif request.kind == "count":
                worker.count(request)
            else:
                requests.put(request)
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


def _end_with(parent: int) -> None:
    """End when `parent` does, on Linux even if a process it forked still holds our stdin.

    Not PR_SET_PDEATHSIG: that one fires when the thread that started us ends, which a task's thread does.
    """
    if hasattr(os, "pidfd_open"):
        try:
            watched = os.pidfd_open(parent)
        except OSError:  # it is gone, or this kernel cannot; the end of stdin remains
            return
        select.select([watched], [], [])
        os._exit(0)


if __name__ == "__main__":
    main()
