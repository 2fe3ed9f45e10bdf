"""
The server's half of the Batch API: files and batches, asked for with patience.

A failure that may pass is tried again; one that does not pass is raised in words for the person who pays.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from understudy.calls.batch_lines import queue_full, queue_size
from understudy.calls.chat_errors import Failure, advice, failure_of_response, hider
from understudy.calls.endpoint import Endpoint
from understudy.calls.prices import is_local
from understudy.errors import TeacherStopped
from understudy.seams import Clock, HttpTransport

if TYPE_CHECKING:
    from openai import OpenAI

FIRST_PAUSE, LAST_PAUSE, PAUSE_GROWTH = 5.0, 60.0, 1.5
PATIENCE_SECONDS, POLL_PATIENCE_SECONDS = 600.0, 6 * 3600.0
REQUEST_SECONDS = 600.0
ENDPOINT: Final = "/v1/chat/completions"
WINDOW: Final = "24h"

log = logging.getLogger("understudy.teacher")
_T = TypeVar("_T")


class NotTaken(TeacherStopped):
    """The server refused one request for good."""


class QueueFull(Exception):
    """More tokens than may wait at once; `limit` is how many may, None where the server does not say."""

    def __init__(self, limit: int | None) -> None:
        super().__init__("too many tokens in batches")
        self.limit = limit


class BatchApi:
    """A server that takes batches. Every method raises TeacherStopped, NotTaken or QueueFull."""

    def __init__(
        self,
        base_url: str | None,
        api_key: str | None,
        api_key_env: str,
        headers: Mapping[str, str] | None,
        clock: Clock,
        http: HttpTransport,
    ) -> None:
        self._endpoint = Endpoint.of(base_url, api_key, api_key_env, headers)
        self.address, self._env = self._endpoint.address, api_key_env
        self.hide = hider(*self._endpoint.secrets)
        self._closed, self._clock, self._http = threading.Event(), clock, http

    def close(self) -> None:
        """Let a thread that waits end with TeacherStopped."""
        self._closed.set()

    def upload(self, content: IO[bytes], model: str) -> str:
        """The id of a new file with the lines in `content`, which ask for `model`."""

        def upload() -> str:
            content.seek(0)
            return self._client.files.create(file=("calls.jsonl", content), purpose="batch").id

        return self._ask(upload, model, PATIENCE_SECONDS)

    def create(self, file: str, model: str, again: bool) -> str:
        """The id of the batch of a file. `again`: it may have begun before, so look first, or it is paid twice."""

        def create() -> str:
            nonlocal again
            existing = self._batch_of(file) if again else None
            again = True
            if existing:
                return existing
            return self._client.batches.create(input_file_id=file, endpoint=ENDPOINT, completion_window=WINDOW).id

        return self._ask(create, model, PATIENCE_SECONDS)

    def _batch_of(self, file: str) -> str | None:
        """The batch the server has made of `file`; None also where it cannot list its batches."""
        import openai

        try:
            return next(
                (batch.id for batch in self._client.batches.list(limit=100) if batch.input_file_id == file), None
            )
        except openai.APIStatusError as error:
            if error.status_code in (404, 405, 501):
                return None
            raise

    def look(self, batch: str, model: str) -> Any:
        """The batch as the server describes it; None when it does not know that name any more."""
        import openai

        def look() -> Any:
            try:
                return self._client.batches.retrieve(batch)
            except openai.NotFoundError:
                return None

        return self._ask(look, model, POLL_PATIENCE_SECONDS)

    def content(self, file: str, model: str) -> bytes:
        """A result file; empty when the server has deleted it, as it does after weeks."""
        import openai

        def fetch() -> bytes:
            try:
                return self._client.files.content(file).content
            except openai.NotFoundError:
                log.warning("%s has deleted the results in %s; its calls are asked again", self.address, file)
                return b""

        return self._ask(fetch, model, POLL_PATIENCE_SECONDS)

    def pause(self, seconds: float) -> None:
        """Wait. Raises TeacherStopped when it is closed meanwhile."""
        self._clock.sleep(seconds, wake=self._closed)
        if self._closed.is_set():
            raise TeacherStopped("the teacher is closed: its batches go on, and the next run finds them again")

    @cached_property
    def _client(self) -> "OpenAI":
        import openai

        timeout = openai.Timeout(REQUEST_SECONDS, connect=10.0)
        # A proxy from the environment cannot reach this machine's own servers.
        http = openai.DefaultHttpxClient(
            trust_env=not is_local(self.address),
            timeout=timeout,
            transport=self._http.blocking(),
            event_hooks={"request": [self._endpoint.prepare]},
        )
        return openai.OpenAI(**self._endpoint.arguments(), max_retries=0, timeout=timeout, http_client=http)

    def _ask(self, what: Callable[[], _T], model: str, patience_seconds: float) -> _T:
        """The result of `what`, which is tried again as long as its failure may pass."""
        import openai

        start, pause = self._clock.monotonic(), FIRST_PAUSE
        while True:
            try:
                return what()
            except openai.APIStatusError as error:
                failure = failure_of_response(error.response, self.hide)
            except openai.APIConnectionError as error:
                failure = Failure(self.hide(str(error.__cause__ or error)))
            if failure.status in (400, 429) and queue_full(failure.text):
                raise QueueFull(queue_size(failure.message))
            if not _passing(failure):
                # Raised outside the handlers: a chained exception could carry what the server echoed.
                raise NotTaken(self._stopped(failure, model))
            if self._clock.monotonic() - start >= patience_seconds:
                raise TeacherStopped(
                    f"{self.address} could not be reached for {patience_seconds / 60:g} minutes ({failure.message}); "
                    "what is under way is noted, and the next run resumes it"
                )
            log.info("%s: %s; asking again in %g s", self.address, failure.message, pause)
            self.pause(pause)
            pause = min(LAST_PAUSE, pause * PAUSE_GROWTH)

    def _stopped(self, failure: Failure, model: str) -> str:
        if failure.out_of_money:
            return f"The provider's quota or credit is used up ({failure.message}). Add credit, then run again."
        if failure.status in (404, 405, 501):
            return f"{self.address} has no Batch API ({failure.status}: {failure.message}); take teacher.mode=direct"
        return advice(failure, self.address, model, self._env, [])


def _passing(failure: Failure) -> bool:
    """True when the same request may well succeed later."""
    if failure.status is None:
        return True
    return not failure.out_of_money and (failure.status in (408, 409, 429) or failure.status >= 500)
